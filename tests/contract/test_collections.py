"""A store makes and drops collections, and never takes over what is not empty."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import numpy as np
import pytest
from podroute_router.domain import Metric, Query, Record
from podroute_router.errors import Aborted, AlreadyExists, PodrouteError, Unavailable

from .harness import Harness

RECORD = Record(id="a", vector=np.zeros(3, np.float32))


async def test_dropping_a_collection_twice_is_no_error(harness: Harness) -> None:
    collection = await harness.make_collection(3)
    await harness.drop_collection(collection)
    await harness.drop_collection(collection)


async def test_dropping_what_never_was_is_no_error(harness: Harness) -> None:
    await harness.drop_collection(harness.name_collection(3))


async def test_a_dropped_collection_serves_no_calls(harness: Harness) -> None:
    collection = await harness.make_collection(3)
    await harness.drop_collection(collection)
    with pytest.raises(PodrouteError):
        await harness.backend.count(collection, None, harness.deadline())
    with pytest.raises(PodrouteError):
        await harness.backend.upsert(collection, [RECORD], harness.deadline())


async def test_a_collection_made_again_is_empty(harness: Harness) -> None:
    async with harness.collection(3, [RECORD]) as collection:
        await harness.drop_collection(collection)
        again = replace(collection, metric=Metric.L2)
        await harness.store.create_collection(again, harness.deadline())
        await harness.follow(again)
        assert await harness.backend.count(again, None, harness.deadline()) == 0


async def test_an_empty_table_that_stands_already_is_taken(harness: Harness) -> None:
    async with harness.collection(3) as collection:
        await harness.store.create_collection(collection, harness.deadline())
        assert await harness.backend.upsert(collection, [RECORD], harness.deadline()) == 1


async def test_a_table_that_holds_records_is_not_taken(harness: Harness) -> None:
    async with harness.collection(3, [RECORD]) as collection:
        with pytest.raises(AlreadyExists):
            await harness.store.create_collection(collection, harness.deadline())
        assert await harness.backend.count(collection, None, harness.deadline()) == 1


async def test_an_empty_table_of_another_dimension_is_made_anew(harness: Harness) -> None:
    async with harness.collection(4) as leftover:
        collection = replace(leftover, dimension=3)
        await harness.store.create_collection(collection, harness.deadline())
        await harness.follow(collection)
        assert await harness.backend.upsert(collection, [RECORD], harness.deadline()) == 1


async def test_a_collection_made_anew_with_another_dimension_is_read_over_warm_connections(harness: Harness) -> None:
    async with harness.collection(4) as first:
        for dimension in (4, 3, 5):
            collection = replace(first, dimension=dimension)
            await harness.store.drop_collection(first, harness.deadline())
            await harness.store.create_collection(collection, harness.deadline())
            await harness.follow(collection)
            record = Record(id="a", vector=np.ones(dimension, dtype=np.float32))
            await harness.backend.upsert(collection, [record], harness.deadline())
            query = Query(vector=record.vector, limit=1, metric=Metric.L2, include_vector=True)
            for _ in range(12):  # more than there are connections
                result = await harness.backend.query(collection, query, harness.deadline())
                fetched = await harness.backend.fetch(collection, ["a"], harness.deadline())
                assert [len(match.vector) for match in (*result.matches, *fetched)] == [dimension] * 2


async def test_a_collection_that_cannot_be_registered_is_not_made(harness: Harness) -> None:
    collection = harness.name_collection(3)

    async def fail() -> None:
        raise Aborted("LOST", "another call was first")

    with pytest.raises(Aborted):
        await harness.store.create_collection(collection, harness.deadline(), fail)
    await harness.follow(collection)
    with pytest.raises(PodrouteError):
        await harness.backend.count(collection, None, harness.deadline())


async def test_a_collection_that_cannot_be_registered_leaves_the_one_that_stands_as_it_is(harness: Harness) -> None:
    async with harness.collection(3) as collection:

        async def fail() -> None:
            raise Aborted("LOST", "another call was first")

        with pytest.raises(Aborted):
            await harness.store.create_collection(replace(collection, dimension=4), harness.deadline(), fail)
        assert await harness.backend.upsert(collection, [RECORD], harness.deadline()) == 1


@pytest.mark.parametrize("confirmed", [True, False])
async def test_a_table_is_dropped_only_where_that_is_confirmed(harness: Harness, confirmed: bool) -> None:
    async with harness.collection(3, [RECORD]) as collection:

        async def confirm() -> bool:
            return confirmed

        await harness.store.drop_collection(collection, harness.deadline(), confirm)
        if confirmed:
            await harness.store.create_collection(collection, harness.deadline())
        assert await harness.backend.count(collection, None, harness.deadline()) == (not confirmed)


async def test_what_cannot_be_confirmed_stays(harness: Harness) -> None:
    async with harness.collection(3, [RECORD]) as collection:

        async def fail() -> bool:
            raise Unavailable("UNREACHABLE", "the database cannot be reached")

        with pytest.raises(Unavailable):
            await harness.store.drop_collection(collection, harness.deadline(), fail)
        assert await harness.backend.count(collection, None, harness.deadline()) == 1


async def test_callers_who_make_one_collection_at_once_are_told_apart(harness: Harness) -> None:
    collection = harness.name_collection(3)
    outcomes = await asyncio.gather(
        *(harness.store.create_collection(collection, harness.deadline()) for _ in range(8)), return_exceptions=True
    )
    assert None in outcomes
    assert all(outcome is None or isinstance(outcome, (AlreadyExists, Unavailable)) for outcome in outcomes)
    await harness.store.drop_collection(collection, harness.deadline())


async def test_a_pod_that_stands_is_probed_and_estimated(harness: Harness) -> None:
    async with harness.collection(3, [RECORD]):
        await harness.store.probe(harness.pod, harness.deadline())
        assert await harness.store.record_estimate(harness.pod, harness.deadline()) >= 0
