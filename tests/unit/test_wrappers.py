"""Wrappers keep the deadline around any backend, and bound the calls in flight for each pod."""

from __future__ import annotations

import asyncio
import time

import numpy as np
import pytest
from podroute_memory.backend import MemoryBackend
from podroute_router.domain import Collection, Deadline, Metric, Placement, Record
from podroute_router.errors import DeadlineExceeded, ResourceExhausted, Unavailable
from podroute_router.filters import Filter
from podroute_router.wrappers import CallsBounded, DeadlineKept, within


def collection(pod: str = "alpha") -> Collection:
    return Collection(
        name="docs", dimension=1, metric=Metric.L2, placement=Placement(pod=pod, schema="vecs", table="docs")
    )


class Stubborn(MemoryBackend):
    """A backend of somebody else's, which takes its time even when it is cancelled."""

    leaves_at_once = False

    async def count(self, collection: Collection, filter: Filter | None, deadline: Deadline) -> int:
        try:
            await asyncio.sleep(10)
        except asyncio.CancelledError:
            await asyncio.sleep(1)
        return 0


class Slow(MemoryBackend):
    """A backend that waits, and leaves when it is cancelled."""

    async def count(self, collection: Collection, filter: Filter | None, deadline: Deadline) -> int:
        await asyncio.sleep(10)
        return 0


@pytest.mark.parametrize("backend", [Stubborn(), Slow()], ids=["stubborn", "slow"])
async def test_the_deadline_is_kept_whatever_the_backend_does(backend: MemoryBackend) -> None:
    began = time.perf_counter()
    with pytest.raises(DeadlineExceeded) as late:
        await DeadlineKept(backend).count(collection(), None, Deadline.after(0.1))
    assert 0.1 <= time.perf_counter() - began < 0.6
    assert late.value.facts == {"collection": "docs", "pod": "alpha"}


@pytest.mark.parametrize("backend", [Stubborn(), Slow()], ids=["stubborn", "slow"])
async def test_a_caller_that_goes_is_let_go_at_once(backend: MemoryBackend) -> None:
    call = asyncio.create_task(DeadlineKept(backend).count(collection(), None, Deadline.after(30)))
    await asyncio.sleep(0.01)
    began = time.perf_counter()
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    assert time.perf_counter() - began < 0.5


async def test_results_and_errors_pass_through() -> None:
    backend = MemoryBackend()
    wrapped = DeadlineKept(CallsBounded(backend, limit=1))
    await backend.create_collection(collection(), Deadline.after(1))
    record = Record(id="a", vector=np.ones(1, dtype=np.float32))
    assert await wrapped.upsert(collection(), [record], Deadline.after(1)) == 1
    assert await wrapped.count(collection(), None, Deadline.after(1)) == 1
    await backend.drop_collection(collection(), Deadline.after(1))
    with pytest.raises(Unavailable):
        await wrapped.count(collection(), None, Deadline.after(1))


async def test_calls_beyond_the_bound_are_refused_for_their_pod_only() -> None:
    backend = Slow()
    bounded = CallsBounded(backend, limit=2)
    calls = [asyncio.create_task(bounded.count(collection(), None, Deadline.after(30))) for _ in range(2)]
    await asyncio.sleep(0)
    with pytest.raises(ResourceExhausted) as refused:
        await bounded.count(collection(), None, Deadline.after(30))
    assert (refused.value.reason, refused.value.facts) == ("POD_BUSY", {"pod": "alpha", "limit": "2"})
    other = asyncio.create_task(bounded.count(collection("beta"), None, Deadline.after(30)))
    await asyncio.sleep(0)
    assert not other.done()
    for call in (*calls, other):
        call.cancel()
    await asyncio.gather(*calls, other, return_exceptions=True)
    again = asyncio.create_task(bounded.count(collection(), None, Deadline.after(30)))
    await asyncio.sleep(0)
    assert not again.done()  # the places are free
    again.cancel()


async def test_within_hands_the_result_on() -> None:
    async def answer() -> int:
        return 42

    assert await within(Deadline.after(1), answer()) == 42
