"""Long conversions in slices, so that other calls are not kept waiting by one large request."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable
from typing import TypeVar

SLICE_S = 0.001

T = TypeVar("T")


async def in_slices(items: Iterable[T]) -> list[T]:
    """Takes the items one by one, and lets other calls run every millisecond: each needs several turns."""
    taken = []
    end = time.monotonic() + SLICE_S
    for item in items:
        taken.append(item)
        if time.monotonic() > end:
            await asyncio.sleep(0)
            end = time.monotonic() + SLICE_S
    return taken
