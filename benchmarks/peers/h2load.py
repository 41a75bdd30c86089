"""h2load: a gRPC load generator in C that leaves the machine to the server. It sends one fixed request again and again.

What its calls find is not varied, so the pod's caches serve it better than callers with queries of their own: its
figures are compared among themselves only, or named as what they are.
"""

from __future__ import annotations

import re
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc

from benchmarks.children import ChildFailed
from benchmarks.closed_loop import CALL_TIMEOUT_S, Outcome, Window
from benchmarks.peers.program import Program
from benchmarks.processes.caller import METHOD, payload
from benchmarks.stage import Filled

H2LOAD = "h2load"
MISSING = "h2load is not installed (Debian: nghttp2-client)"

_REQUESTS = re.compile(r"requests: .* (\d+) done, (\d+) succeeded, (\d+) failed, (\d+) errored, (\d+) timeout")
_TRAFFIC = re.compile(r"\((\d+)\) data")
_FRAME_HEADER = 5


class H2loadCallers:
    """See `Callers`; each caller is a connection with one request at a time.

    Args:
        program: runs it.
        path: of h2load.
        filled: the collection that is asked, with its first query.
        target: the server, and what the request names.
    """

    def __init__(self, program: Program, path: Path, filled: Filled, target: dict[str, Any]) -> None:
        self._program = program
        self._path = path
        self._address = target["address"]
        self._folder = filled.stage.folder / H2LOAD
        self._folder.mkdir(exist_ok=True)
        message = payload(target, filled.dataset.queries[0])
        # gRPC over HTTP/2: one byte says that it is not compressed, four say how long it is.
        self._request = self._folder / f"{target['address']}{target['path']}".replace(":", "_")
        self._request.write_bytes(b"\0" + len(message).to_bytes(4, "big") + message)
        with grpc.insecure_channel(target["address"]) as channel:
            rpc: Callable[..., bytes] = channel.unary_unary(METHOD)
            answer = rpc(message, timeout=CALL_TIMEOUT_S)
        self._least_bytes = _FRAME_HEADER + len(answer)
        self._checked = filled.grpc_callers(target["address"], target["path"])

    def answers(self) -> list[list[str]]:
        """See `Callers`: the server's, to Python callers; h2load does not look at answers."""
        return self._checked.answers()

    def offer(self, callers: int, window: Window) -> Outcome:
        """See `Callers`."""
        logs = self._folder / "logs"
        shutil.rmtree(logs, ignore_errors=True)
        logs.mkdir()
        left_ms = round((window.end - time.monotonic()) * 1e3) + 50
        self._program.start(
            [
                *(str(self._path), "--clients", str(callers), "--max-concurrent-streams=1", "--threads=1"),
                *("--duration", f"{left_ms}ms", "--warm-up-time=1ms", "--log-file=calls"),
                *("--data", str(self._request), "--header=content-type: application/grpc", "--header=te: trailers"),
                f"http://{self._address}{METHOD}",
            ],
            folder=logs,
        )

        def outcome() -> list[float]:
            said = self._program.finish(window, logs)
            counts, traffic = _REQUESTS.search(said), _TRAFFIC.search(said)
            if counts is None or traffic is None:
                raise ChildFailed(f"h2load said something else: {said.strip()[-500:]}")
            done, _, *troubles = map(int, counts.groups())
            # An error of gRPC has status 200 and no data; all answers are alike.
            if any(troubles) or int(traffic[1]) < done * self._least_bytes:
                raise ChildFailed(f"calls of h2load failed: {said.strip()[-500:]}")
            # start in µs since the epoch, status, µs
            calls = []
            for line in (logs / "calls").read_text(encoding="ascii").splitlines():
                started, status, took = map(int, line.split()[:3])
                if status == 200:
                    calls.append(((started + took) / 1e6, took / 1e6))
            return window.ended_within(calls)

        return outcome
