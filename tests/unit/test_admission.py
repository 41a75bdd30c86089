"""Admission: calls are refused where too many wait, and only there."""

from __future__ import annotations

import asyncio
import time

from podroute_router.api.admission import LEAST_WAITING, Admission

WORK_S = 0.001


def work() -> None:
    """The work of a call: it takes processor time, which is what admission looks at."""
    until_s = time.thread_time() + WORK_S
    while time.thread_time() < until_s:
        pass


async def offered(admission: Admission, calls: int, at_a_time: int) -> tuple[int, int]:
    """So many calls are served and refused, of those that come in groups of `at_a_time`; each keeps the loop busy."""
    served = 0

    async def serve() -> None:
        nonlocal served
        if admission.is_metered:
            await admission.turn()
        work()
        served += 1

    refused, tasks = 0, []
    for number in range(calls):
        if admission.refuses():
            refused += 1
        else:
            tasks.append(asyncio.create_task(serve()))
        if number % at_a_time == 0:
            await asyncio.sleep(0)
    await asyncio.gather(*tasks)
    return served, refused


async def test_calls_that_would_wait_too_long_are_refused() -> None:
    admission = Admission(queue_s=0.05)
    admission.start()
    try:
        served, refused = await offered(admission, 3_000, 4)
        assert served + refused == 3_000
        assert refused > 1_000
        assert served > LEAST_WAITING
    finally:
        admission.close()
    assert not admission.is_metered


async def test_a_busy_router_with_few_callers_refuses_none() -> None:
    admission = Admission(queue_s=0.001)
    admission.start()
    try:
        for _ in range(10):
            assert await offered(admission, LEAST_WAITING, LEAST_WAITING) == (LEAST_WAITING, 0)
    finally:
        admission.close()


async def test_those_that_wait_begin_when_it_is_closed() -> None:
    admission = Admission(queue_s=1)
    turns = [asyncio.create_task(admission.turn()) for _ in range(100)]
    await asyncio.sleep(0)
    admission.close()
    await asyncio.wait_for(asyncio.gather(*turns), 1)
