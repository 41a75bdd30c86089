"""Open-loop load: calls have their time, whether or not those before are answered, and are timed from it.

So a server that stalls is charged with all the calls that it kept waiting, not just with those that it was sent
(no "coordinated omission"). Arrivals are random and independent of each other (a Poisson process), seeded.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, Self


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """When calls are to start. Times are on the monotonic clock, which all processes share."""

    start: float
    """The first call may start; what ends up before `begin` is warm-up and does not count."""
    begin: float
    end: float
    """No call starts afterwards: those that are still due then are `missed`, so that an overload ends by itself."""
    rate_per_s: float
    seed: int

    @classmethod
    def from_command(cls, values: dict[str, Any]) -> Self:
        """As it comes over a pipe."""
        return cls(**values)

    def arrivals(self) -> list[float]:
        """The times of all calls."""
        draw = random.Random(self.seed)
        times, at = [], self.start
        while (at := at + draw.expovariate(self.rate_per_s)) < self.end:
            times.append(at)
        return times

    def share(self, number: int, of: int) -> list[float]:
        """The times of one of several callers, who take the calls in turn."""
        return self.arrivals()[number::of]


@dataclass(frozen=True, slots=True)
class Kept:
    """How a share of a schedule was kept. Only calls that were due from `begin` on are in it."""

    seconds: list[float]
    """Of each call that was answered, from when it was due."""
    missed: list[float]
    """Of each that could not even start before the end: how long it had waited by then."""

    def as_answer(self) -> dict[str, Any]:
        """As it goes over a pipe."""
        return {"seconds": self.seconds, "missed": self.missed}


def follow(schedule: Schedule, times: Sequence[float], call: Callable[[int], object]) -> Kept:
    """Makes a call at each of the times, or as soon after it as the one before is answered."""
    kept = Kept([], [])
    for number, due in enumerate(times):
        if (wait_s := due - time.monotonic()) > 0:
            time.sleep(wait_s)
        if time.monotonic() < schedule.end:
            call(number)
            _note(kept.seconds, schedule, due, time.monotonic())
        else:
            _note(kept.missed, schedule, due, schedule.end)
    return kept


async def follow_async(schedule: Schedule, times: Sequence[float], call: Callable[[int], Awaitable[object]]) -> Kept:
    """As `follow`, for a caller that shares its process with others."""
    kept = Kept([], [])
    for number, due in enumerate(times):
        if (wait_s := due - time.monotonic()) > 0:
            await asyncio.sleep(wait_s)
        if time.monotonic() < schedule.end:
            await call(number)
            _note(kept.seconds, schedule, due, time.monotonic())
        else:
            _note(kept.missed, schedule, due, schedule.end)
    return kept


def _note(times: list[float], schedule: Schedule, due: float, done: float) -> None:
    if due >= schedule.begin:
        times.append(done - due)
