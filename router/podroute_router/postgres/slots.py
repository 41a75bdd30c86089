"""The places of a pool: how many are taken, how many calls wait for one, and who is next.

Calls are served in the order in which they came, but for those whose time is short: they come after the others, the
one with the most time left first. Where nothing moves, as on a pod that hangs, every call would else come up just
before its time is over, begin a login or a statement, and break it off, at a cost to all calls of all pods.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import Final, NamedTuple

SHORT: Final = 0.5
"""A call's time is short when less than this share of what it had when it came is left."""


class _Waiter(NamedTuple):
    turn: asyncio.Future[None]
    short_at: float


class Slots:
    """Places, each for one call at a time.

    Args:
        size: how many there are.
        waited: is told how many seconds each taker waited, also who gave up.
    """

    def __init__(self, size: int, waited: Callable[[float], None]) -> None:
        self.size = size
        self.taken = 0
        """Places that are taken now."""
        self.waiting = 0
        """Those who wait for one now."""
        self._waited = waited
        self._queue: deque[_Waiter] = deque()
        self._short: list[_Waiter] = []

    @property
    def are_taken(self) -> bool:
        """Whoever comes now has to wait."""
        return self.taken >= self.size

    async def take(self, until: float) -> bool:
        """Takes a place, and waits for one where all are taken; True where the taker's time is short by then.

        Args:
            until: when the taker's time is over, on the monotonic clock.
        """
        if not self.are_taken:
            self.taken += 1
            self._waited(0.0)
            return False
        began = time.monotonic()
        turn = asyncio.get_running_loop().create_future()
        waiter = _Waiter(turn, until - SHORT * (until - began))
        self._queue.append(waiter)
        self.waiting += 1
        try:
            await turn
        except asyncio.CancelledError:
            if not turn.cancelled():  # its turn had come
                self.release()
            else:
                self._forget(waiter)
            raise
        finally:
            self.waiting -= 1
            self._waited(time.monotonic() - began)
        return time.monotonic() >= waiter.short_at

    def release(self) -> None:
        """Gives a place back: it is the next one's who waits."""
        waiter = self._next()
        if waiter is None:
            self.taken -= 1
        else:
            waiter.turn.set_result(None)

    def _next(self) -> _Waiter | None:
        now = time.monotonic()
        while self._queue:
            waiter = self._queue.popleft()
            if now < waiter.short_at and not waiter.turn.done():
                return waiter
            self._short.append(waiter)
        while self._short:
            waiter = self._short.pop()
            if not waiter.turn.done():  # else it is about to be forgotten
                return waiter
        return None

    def _forget(self, waiter: _Waiter) -> None:
        for line in (self._queue, self._short):
            with suppress(ValueError):
                line.remove(waiter)
