"""The places of a pool: how many are taken, how many calls wait for one, and for how long."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Literal


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

    async def acquire(self) -> Literal[True]:
        """Takes a place, and waits for one where all are taken; who gives up has waited, too."""
        began = time.monotonic()
        self.waiting += 1
        try:
            await super().acquire()
            self.taken += 1
        finally:
            self.waiting -= 1
            self._waited(time.monotonic() - began)
        return True

    def release(self) -> None:
        """Gives a place back."""
        self.taken -= 1
        super().release()
