"""A long conversion lets other calls run."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator

from podroute_router.api.slices import in_slices

PIECES = 40
PIECE_S = 0.003


def slow_pieces() -> Iterator[int]:
    for piece in range(PIECES):
        time.sleep(PIECE_S)
        yield piece


async def test_other_tasks_have_their_turns_in_a_long_conversion() -> None:
    conversion = asyncio.create_task(in_slices(slow_pieces()))
    turns = 0
    while not conversion.done():
        turns += 1
        await asyncio.sleep(0)
    assert await conversion == list(range(PIECES))
    assert turns > 5
