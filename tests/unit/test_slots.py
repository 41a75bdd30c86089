"""Places of a pool are taken in turn, but for those whose time is short."""

from __future__ import annotations

import asyncio
import math
import time

from podroute_router.postgres.slots import Slots

LATER = math.inf


def unheard(_: float) -> None:
    pass


async def test_slots_tell_who_waits_and_for_how_long() -> None:
    waits: list[float] = []
    slots = Slots(1, waits.append)
    await slots.take(LATER)
    second, third = (asyncio.create_task(slots.take(LATER)) for _ in range(2))
    await asyncio.sleep(0.02)
    assert (slots.taken, slots.waiting, len(waits)) == (1, 2, 1)
    third.cancel()
    await asyncio.gather(third, return_exceptions=True)
    assert (slots.taken, slots.waiting) == (1, 1)
    slots.release()
    await second
    assert (slots.taken, slots.waiting) == (1, 0)
    slots.release()
    assert (slots.taken, slots.waiting) == (0, 0)
    assert waits[0] < 0.02 <= min(waits[1:])
    assert len(waits) == 3


async def test_who_has_waited_for_most_of_its_time_lets_others_go_first_once() -> None:
    slots = Slots(1, unheard)
    taken: list[str] = []

    async def take(name: str, seconds: float) -> None:
        await slots.take(time.monotonic() + seconds)
        taken.append(name)

    await slots.take(LATER)
    calls = [asyncio.create_task(take(name, seconds)) for name, seconds in (("short", 0.1), ("a", 9), ("b", 9))]
    await asyncio.sleep(0.095)
    for count in range(3):
        assert len(taken) == count
        slots.release()
        await asyncio.sleep(0.01)
    assert taken == ["a", "b", "short"]
    await asyncio.gather(*calls)


async def test_who_waits_alone_is_served_however_short_its_time() -> None:
    slots = Slots(1, unheard)
    await slots.take(LATER)
    call = asyncio.create_task(slots.take(time.monotonic() + 0.05))
    await asyncio.sleep(0.049)
    slots.release()
    await asyncio.wait_for(call, 1)
    assert slots.taken == 1
