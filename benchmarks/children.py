"""Child processes that take a command as a line of JSON and answer with another. They end when their stdin does."""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
import time
from collections.abc import Iterable
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Self

ROOT = Path(__file__).resolve().parents[1]
VECS_PYTHON = ROOT / ".venv-vecs" / "bin" / "python"
"""The interpreter of the environment that has vecs, made by `make bench`; it has neither podroute nor psycopg 3."""
START_TIMEOUT_S = 60.0
END_TIMEOUT_S = 10.0


class ChildFailed(Exception):
    """A child ended, or did not answer in time; its own stderr says why."""


class Child:
    """A module of this package, run as a process of its own.

    Args:
        module: its name within `benchmarks.processes`; it says one line as soon as it is ready.
        arguments: what it is started with.
        python: the interpreter; None takes our own.
    """

    def __init__(self, module: str, *arguments: str, python: Path | None = None) -> None:
        self.module = module
        # Settings of the user's own routers are not for ours.
        environment = {name: value for name, value in os.environ.items() if not name.startswith("PODROUTE_")}
        # Its remarks on servers that end before their clients are no errors.
        environment.setdefault("GRPC_VERBOSITY", "ERROR")
        self._process = subprocess.Popen(
            [str(python or sys.executable), "-m", f"benchmarks.processes.{module}", *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            bufsize=0,
            cwd=ROOT,
            env=environment,
            start_new_session=True,  # Ctrl-C is for the parent, which then ends its children
        )
        self._heard = b""

    @property
    def pid(self) -> int:
        """The id of the process."""
        return self._process.pid

    def tell(self, command: dict[str, Any]) -> None:
        """Sends a command and does not wait."""
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps(command).encode() + b"\n")
        except BrokenPipeError:
            raise ChildFailed(f"{self.module} has ended") from None

    def hear(self, timeout_s: float) -> dict[str, Any]:
        """The next line that the child says."""
        assert self._process.stdout is not None
        pipe = self._process.stdout.fileno()
        deadline = time.monotonic() + timeout_s
        parts = [self._heard]
        while b"\n" not in parts[-1]:
            if not select.select([pipe], [], [], max(0.0, deadline - time.monotonic()))[0]:
                raise ChildFailed(f"{self.module} did not answer within {timeout_s:g} s")
            part = os.read(pipe, 1 << 20)
            if not part:
                raise ChildFailed(f"{self.module} has ended")
            parts.append(part)
        line, _, self._heard = b"".join(parts).partition(b"\n")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def ask(self, command: dict[str, Any], timeout_s: float = START_TIMEOUT_S) -> dict[str, Any]:
        """Sends a command and returns the answer."""
        self.tell(command)
        return self.hear(timeout_s)

    def hang_up(self) -> None:
        """Tells the process to end, and does not wait."""
        assert self._process.stdin is not None
        self._process.stdin.close()

    def close(self) -> None:
        """Ends the process, by force where it does not by itself."""
        assert self._process.stdout is not None
        self.hang_up()
        try:
            self._process.wait(END_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process.stdout.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def start_all(stack: ExitStack, module: str, *arguments: str, count: int, python: Path | None = None) -> list[Child]:
    """So many children of one kind, ready; they start and end side by side. The stack ends them."""
    children = launch_all(stack, module, *arguments, count=count, python=python)
    wait_ready(children)
    return children


def launch_all(stack: ExitStack, module: str, *arguments: str, count: int, python: Path | None = None) -> list[Child]:
    """As `start_all`, but they are not ready yet; `wait_ready` follows."""
    children = [stack.enter_context(Child(module, *arguments, python=python)) for _ in range(count)]
    for child in children:
        stack.callback(child.hang_up)
    return children


def wait_ready(children: Iterable[Child]) -> None:
    """Hears from each of them that it is ready."""
    for child in children:
        child.hear(START_TIMEOUT_S)


def say(answer: dict[str, Any]) -> None:
    """A child's answer to its parent."""
    sys.stdout.write(json.dumps(answer) + "\n")
    sys.stdout.flush()
