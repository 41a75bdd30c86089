"""The places of a pool: how many are taken, how many calls wait for one, and for how long."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Final

SHORT: Final = 0.1
"""A share of the time that a call had when it came."""


class Slots(asyncio.Semaphore):
    """A semaphore that can be asked.

    Args:
        size: how many places there are.
        waited: is told how many seconds each taker waited.
    """

    def __init__(self, size: int, waited: Callable[[float], None]) -> None:
        super().__init__(size)
        self.size = size
        self.taken = 0
        """Places that are taken now."""
        self.waiting = 0
        """Those who wait for one now."""
        self._waited = waited

    async def take(self, until: float) -> None:
        """Takes a place, and waits for one where all are taken; who gives up has waited, too.

        One whose time is short by then goes behind the others, once. Where nothing moves, as on a pod that hangs, all
        come up just before their time is over: each would begin something and break it off, at a cost to everybody.

        Args:
            until: when the taker's time is over, on the monotonic clock.
        """
        began = time.monotonic()
        self.waiting += 1
        try:
            await self.acquire()
            if self.waiting > 1 and until - time.monotonic() < SHORT * (until - began):
                super().release()
                await self.acquire()
            self.taken += 1
        finally:
            self.waiting -= 1
            self._waited(time.monotonic() - began)

    def release(self) -> None:
        """Gives a place back."""
        self.taken -= 1
        super().release()
