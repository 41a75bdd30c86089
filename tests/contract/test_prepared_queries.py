"""A plain query that was prepared finds what the ordinary one finds."""

from __future__ import annotations

import asyncio

import numpy as np
import pytest
from podroute_router.backend import PreparedQuery, QueryPreparer
from podroute_router.domain import Collection, Match, Metric, PlainQuery, Query, Record
from podroute_router.errors import PodrouteError

from .harness import Harness
from .judgement import in_order

PATIENCE_S = 10.0
"""A connection is made on the side; until it is there the ordinary way serves."""


def records(count: int, dimension: int) -> list[Record]:
    vectors = np.random.default_rng(11).normal(size=(count, dimension)).astype(np.float32)
    return [Record(id=f"r{n}", vector=vector, metadata=f'{{"n": {n}}}') for n, vector in enumerate(vectors)]


def ordinary(query: PlainQuery, vector: np.ndarray) -> Query:
    return Query(vector=vector, limit=query.limit, metric=query.metric, include_metadata=query.include_metadata)


def on_the_wire(vector: np.ndarray) -> bytes:
    return vector.astype(">f4").tobytes()


async def prepared(harness: Harness, collection: Collection, query: PlainQuery) -> PreparedQuery:
    """The query prepared, once the backend has seen an ordinary one like it."""
    assert isinstance(harness.backend, QueryPreparer)
    probe = ordinary(query, np.ones(collection.dimension, np.float32))
    await harness.backend.query(collection, probe, harness.deadline())
    found = harness.backend.prepare_query(collection, query)
    assert found is not None
    return found


async def run(harness: Harness, query: PreparedQuery, vector: np.ndarray) -> list[Match]:
    async with asyncio.timeout(PATIENCE_S):
        while (matches := await query.run(on_the_wire(vector), harness.deadline())) is None:
            await asyncio.sleep(0.01)
    return in_order(matches)


@pytest.mark.parametrize("metric", list(Metric), ids=lambda metric: metric.value)
@pytest.mark.parametrize("include_metadata", [False, True])
async def test_it_finds_what_the_ordinary_query_finds(harness: Harness, metric: Metric, include_metadata: bool) -> None:
    async with harness.collection(16, records(200, 16)) as collection:
        for limit in (1, 10, 100):
            query = PlainQuery(limit=limit, metric=metric, include_metadata=include_metadata)
            ready = await prepared(harness, collection, query)
            for record in records(5, 16):
                vector = record.vector * 3 - 1
                found = await harness.backend.query(collection, ordinary(query, vector), harness.deadline())
                assert await run(harness, ready, vector) == in_order(found.matches)


async def test_many_at_a_time_get_their_own_answers(harness: Harness) -> None:
    stored = records(200, 16)
    async with harness.collection(16, stored) as collection:
        ready = await prepared(harness, collection, PlainQuery(limit=1, metric=Metric.L2, include_metadata=False))
        found = await asyncio.gather(*(run(harness, ready, record.vector) for record in stored))
        assert [matches[0].id for matches in found] == [record.id for record in stored]


async def test_without_enough_records_it_gives_all_or_leaves_it_to_the_ordinary_query(harness: Harness) -> None:
    async with harness.collection(4, records(3, 4)) as collection:
        ready = await prepared(harness, collection, PlainQuery(limit=10, metric=Metric.L2, include_metadata=False))
        for _ in range(20):
            matches = await ready.run(on_the_wire(np.ones(4, np.float32)), harness.deadline())
            assert matches is None or len(matches) == 3
            await asyncio.sleep(0.01)


async def test_a_collection_that_is_gone_is_an_error_or_left_to_the_ordinary_query(harness: Harness) -> None:
    collection = await harness.make_collection(4)
    await harness.backend.upsert(collection, records(3, 4), harness.deadline())
    ready = await prepared(harness, collection, PlainQuery(limit=2, metric=Metric.L2, include_metadata=False))
    assert len(await run(harness, ready, np.ones(4, np.float32))) == 2
    await harness.drop_collection(collection)
    found: list[Match] | PodrouteError | None
    try:
        found = await ready.run(on_the_wire(np.ones(4, np.float32)), harness.deadline())
    except PodrouteError as error:
        found = error
    assert found is None or isinstance(found, PodrouteError)
