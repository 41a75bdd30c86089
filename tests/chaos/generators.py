"""Processes of flood.py: load that takes nothing from the event loop of the tests, nor one load from another's."""

from __future__ import annotations

import asyncio
import base64
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from subprocess import DEVNULL, PIPE, Popen
from typing import Any, NamedTuple

from google.protobuf.message import Message

FLOOD = Path(__file__).with_name("flood.py")
QUERY = "/podroute.v1.VectorService/Query"


class Call(NamedTuple):
    """How a call of an open loop ended: its code and reason, whether with a RetryInfo, and after how long."""

    code: str
    reason: str
    has_retry_info: bool
    seconds: float


class Generator:
    """One process, with a connection of its own.

    Args:
        address: of the router that it calls.
        request: the query that it sends.
        options: of its channel.
    """

    def __init__(self, address: str, request: Message, options: Mapping[str, Any]) -> None:
        self._command = {"method": QUERY, "request": base64.b64encode(request.SerializeToString()).decode()}
        argument = json.dumps({**options, "grpc.use_local_subchannel_pool": 1})
        self._process = Popen([sys.executable, FLOOD, address, argument], stdin=PIPE, stdout=PIPE, stderr=DEVNULL)

    @property
    def pid(self) -> int:
        """The process id."""
        return self._process.pid

    async def closed_loop(self, *, callers: int, seconds: float) -> tuple[int, int]:
        """Each caller calls again when it has its answer: calls that were served in time, and that ended."""
        answer = await self._ask(callers=callers, seconds=seconds)
        return answer["served"], answer["ended"]

    async def open_loop(self, *, rate: float, seconds: float, timeout_s: float | None = None) -> list[Call]:
        """Calls come at the rate, at random moments, whatever becomes of them."""
        answer = await self._ask(rate=rate, seconds=seconds, timeout_s=timeout_s)
        return [Call(*call) for call in answer["calls"]]

    def close(self) -> None:
        """Ends the process."""
        self._process.kill()
        self._process.communicate()

    async def _ask(self, **command: object) -> dict[str, Any]:
        def ask() -> dict[str, Any]:
            assert self._process.stdin is not None
            assert self._process.stdout is not None
            self._process.stdin.write(json.dumps(self._command | command).encode() + b"\n")
            self._process.stdin.flush()
            answer: dict[str, Any] = json.loads(self._process.stdout.readline())
            return answer

        return await asyncio.to_thread(ask)
