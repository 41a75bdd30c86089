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


async def order_of(calls: dict[str, float], *, wait_s: float) -> list[str]:
    """Who had its turn when, of calls that have so many seconds and begin to be served after some."""
    slots = Slots(1, unheard)
    taken: list[str] = []

    async def take(name: str, seconds: float) -> None:
        await slots.take(time.monotonic() + seconds)
        taken.append(name)

    await slots.take(LATER)
    waiting = [asyncio.create_task(take(name, seconds)) for name, seconds in calls.items()]
    await asyncio.sleep(wait_s)
    for _ in calls:
        slots.release()
        await asyncio.sleep(0)
        await asyncio.sleep(0)
    await asyncio.gather(*waiting)
    return taken


async def test_calls_have_their_turns_in_the_order_in_which_they_came() -> None:
    assert await order_of({"a": 9, "b": 8, "c": math.inf}, wait_s=0.01) == ["a", "b", "c"]


async def test_calls_whose_time_is_short_come_after_the_others_the_newest_first() -> None:
    assert await order_of({"older": 0.1, "newer": 0.1, "a": 9, "b": 9}, wait_s=0.095) == ["a", "b", "newer", "older"]


async def test_a_call_that_gives_up_as_its_turn_comes_passes_it_on() -> None:
    slots = Slots(1, unheard)
    await slots.take(LATER)
    first, second = (asyncio.create_task(slots.take(LATER)) for _ in range(2))
    await asyncio.sleep(0)
    slots.release()
    first.cancel()
    await asyncio.wait_for(second, 1)
    assert first.cancelled()
    assert (slots.taken, slots.waiting) == (1, 0)


async def test_nothing_is_kept_of_calls_that_gave_up() -> None:
    slots = Slots(1, unheard)
    await slots.take(LATER)
    calls = [asyncio.create_task(slots.take(time.monotonic() + seconds)) for seconds in (0.01, 0.01, 9, 9, 9)]
    await asyncio.sleep(0.02)
    slots.release()  # those whose time is short are passed over
    await asyncio.sleep(0)
    left = [call for call in calls if not call.done()]
    for call in left:
        call.cancel()
    await asyncio.gather(*left, return_exceptions=True)
    assert len(left) == 4
    assert not slots._queue
    assert not slots._short
    assert slots.waiting == 0
