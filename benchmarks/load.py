"""Closed-loop load: each caller makes its next call when it has the answer to the one before."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from benchmarks.children import Child

ANSWER_TIMEOUT_S = 30.0
CALL_TIMEOUT_S = 10.0
"""Deadline of each call; one that fails ends the run."""

Outcome = Callable[[], list[float]]
"""Waits for the end of a load and returns the seconds of each call that ended within its window."""


@dataclass(frozen=True, slots=True)
class Window:
    """The time in which calls count, on the monotonic clock, which all processes share. Callers warm up before it."""

    begin: float
    end: float

    @classmethod
    def after(cls, warm_up_s: float, seconds: float) -> Window:
        """A window that opens when the callers have warmed up."""
        begin = time.monotonic() + warm_up_s
        return cls(begin, begin + seconds)

    def timed(self, call: Callable[[int], object], first: int) -> list[float]:
        """Calls with `first`, `first + 1` … until the window ends; the seconds of each that ended within it."""
        taken = []
        number, done = first, time.monotonic()
        while done < self.end:
            started = done
            call(number)
            done = time.monotonic()
            if self.begin <= done < self.end:
                taken.append(done - started)
            number += 1
        return taken

    async def timed_async(self, call: Callable[[int], Awaitable[object]], first: int) -> list[float]:
        """As `timed`, for a caller that shares its process with others."""
        taken = []
        number, done = first, time.monotonic()
        while done < self.end:
            started = done
            await call(number)
            done = time.monotonic()
            if self.begin <= done < self.end:
                taken.append(done - started)
            number += 1
        return taken


def first_query(caller: int, callers: int, queries: int) -> int:
    """Where a caller begins, so that no two ask the same at the same time."""
    return caller * queries // callers


class Callers(Protocol):
    """What puts load on a case."""

    def answers(self) -> list[list[str]]:
        """The ids that each query finds, every query once."""
        ...

    def offer(self, callers: int, window: Window) -> Outcome:
        """Starts the load of so many concurrent callers and returns at once."""
        ...


class GrpcCallers:
    """Processes that call a gRPC server, one caller in each.

    Args:
        processes: running `caller` modules.
        target: the server's `address`, and what the requests name: `collection`, `path`, `limit`.
    """

    def __init__(self, processes: Sequence[Child], target: dict[str, Any]) -> None:
        self._processes = processes
        self._target = target

    def answers(self) -> list[list[str]]:
        """See `Callers`."""
        ids: list[list[str]] = self._processes[0].ask({"target": self._target}, ANSWER_TIMEOUT_S)["ids"]
        return ids

    def offer(self, callers: int, window: Window) -> Outcome:
        """See `Callers`."""
        called = self._processes[:callers]
        for process in called:
            process.tell({"target": self._target, "window": [window.begin, window.end]})
        return lambda: [seconds for process in called for seconds in _outcome(process, window)]


class BareCallers:
    """One process with concurrent callers, each with a connection to the pod of its own."""

    def __init__(self, process: Child) -> None:
        self._process = process

    def answers(self) -> list[list[str]]:
        """See `Callers`."""
        ids: list[list[str]] = self._process.ask({}, ANSWER_TIMEOUT_S)["ids"]
        return ids

    def offer(self, callers: int, window: Window) -> Outcome:
        """See `Callers`."""
        self._process.tell({"callers": callers, "window": [window.begin, window.end]})
        return lambda: _outcome(self._process, window)


def _outcome(process: Child, window: Window) -> list[float]:
    left_s = max(0.0, window.end - time.monotonic())
    seconds: list[float] = process.hear(left_s + CALL_TIMEOUT_S + ANSWER_TIMEOUT_S)["seconds"]
    return seconds
