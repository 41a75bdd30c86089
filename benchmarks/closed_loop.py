"""Closed-loop load: each caller makes its next call when it has the answer to the one before."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from benchmarks.children import Child

ANSWER_TIMEOUT_S = 120.0
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

    def ended_within(self, calls: Iterable[tuple[float, float]]) -> list[float]:
        """The seconds of those calls that ended within the window.

        Args:
            calls: when each ended, in seconds since the epoch as a program's log has it, and how many seconds it took.
        """
        since_epoch = time.time() - time.monotonic()
        return [seconds for ended, seconds in calls if self.begin <= ended - since_epoch < self.end]


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


class ProcessCallers:
    """Processes with one blocking caller in each.

    Args:
        processes: running children that take `{**command, first, window}` and answer `{seconds}`, and that answer
            `command` alone with `{ids}`.
        command: what each is told, such as the server to call.
        queries: how many there are, so that no two callers ask the same at the same time.
    """

    def __init__(self, processes: Sequence[Child], command: dict[str, Any], *, queries: int) -> None:
        self._processes = processes
        self._command = command
        self._queries = queries

    def answers(self) -> list[list[str]]:
        """See `Callers`."""
        ids: list[list[str]] = self._processes[0].ask(self._command, ANSWER_TIMEOUT_S)["ids"]
        return ids

    def offer(self, callers: int, window: Window) -> Outcome:
        """See `Callers`."""
        called = self._processes[:callers]
        for number, process in enumerate(called):
            first = first_query(number, len(called), self._queries)
            process.tell(self._command | {"first": first, "window": [window.begin, window.end]})
        return lambda: [seconds for process in called for seconds in heard(process, window.end)["seconds"]]

    def follow(self, schedule: dict[str, Any], end: float) -> list[dict[str, Any]]:
        """Gives each process its share of an open-loop schedule; see `benchmarks.open_loop`. Answers when all are done.

        Args:
            schedule: a `Schedule`, as a dict.
            end: when it ends, on the monotonic clock.
        """
        for number, process in enumerate(self._processes):
            process.tell(self._command | {"schedule": schedule, "share": [number, len(self._processes)]})
        return [heard(process, end) for process in self._processes]


class BareCallers:
    """One process with concurrent callers, each with a connection of its own.

    Args:
        process: a running `bare` module.
        settings: of each session, set before the load.
    """

    def __init__(self, process: Child, settings: dict[str, str] | None = None) -> None:
        self._process = process
        self._command = {"settings": settings or {}}

    def answers(self) -> list[list[str]]:
        """See `Callers`."""
        ids: list[list[str]] = self._process.ask(self._command, ANSWER_TIMEOUT_S)["ids"]
        return ids

    def offer(self, callers: int, window: Window) -> Outcome:
        """See `Callers`."""
        self._process.tell(self._command | {"callers": callers, "window": [window.begin, window.end]})
        return lambda: list(heard(self._process, window.end)["seconds"])

    def follow(self, schedule: dict[str, Any], end: float) -> list[dict[str, Any]]:
        """As those of `ProcessCallers`: a caller takes a share."""
        self._process.tell(self._command | {"schedule": schedule})
        return [heard(self._process, end)]


def heard(process: Child, end: float) -> dict[str, Any]:
    """What a process answers after a load that ends then, on the monotonic clock."""
    return process.hear(max(0.0, end - time.monotonic()) + CALL_TIMEOUT_S + ANSWER_TIMEOUT_S)
