"""A search finds the nearest records, under every metric, with what was asked to be included."""

from __future__ import annotations

import asyncio
import math

import numpy as np
import pytest
from podroute_memory.distances import distances
from podroute_router.domain import (
    Collection,
    Index,
    IndexProgress,
    Match,
    Metric,
    Query,
    Record,
    SearchParams,
    WantedIndex,
)
from podroute_router.errors import Unsupported
from podroute_router.filters import Comparison, Operator

from .harness import Harness
from .judgement import canonical, check_search, in_order, tolerance

METRICS = pytest.mark.parametrize("metric", list(Metric), ids=lambda metric: metric.value)
EXACT = SearchParams(exact=True)


def vector(*components: float) -> np.ndarray:
    return np.array(components, np.float32)


def record(record_id: str, *components: float, metadata: str = "{}") -> Record:
    return Record(id=record_id, vector=vector(*components), metadata=metadata)


def random_records(count: int, dimension: int) -> list[Record]:
    vectors = np.random.default_rng(7).normal(size=(count, dimension)).astype(np.float32)
    return [
        Record(id=f"r{number}", vector=components, metadata=f'{{"n": {number}, "shard": {number % 25}}}')
        for number, components in enumerate(vectors)
    ]


async def find(harness: Harness, collection: Collection, query: Query) -> list[Match]:
    """The matches in order, once all of them came."""
    result = await harness.backend.query(collection, query, harness.deadline())
    assert result.complete
    return in_order(result.matches)


def check_nearest(matches: list[Match], records: list[Record], query: Query) -> None:
    true = distances(query.metric, np.stack([r.vector for r in records]), query.vector)
    check_search(
        matches,
        {r.id: distance for r, distance in zip(records, true.tolist(), strict=True)},
        query.limit,
        {r.id: tolerance(query.metric, r.vector, query.vector) for r in records},
    )


@pytest.mark.parametrize(
    ("metric", "expected"),
    [
        (Metric.COSINE, {"same": 0.0, "right angle": 1.0, "opposite": 2.0, "between": 1 - 4 / 5}),
        (Metric.L2, {"same": 2.0, "right angle": math.sqrt(20), "opposite": 8.0, "between": 3.0}),
        (Metric.INNER_PRODUCT, {"same": -8.0, "right angle": 0.0, "opposite": 16.0, "between": -16.0}),
        (Metric.L1, {"same": 2.0, "right angle": 6.0, "opposite": 8.0, "between": 3.0}),
    ],
    ids=lambda value: value.value if isinstance(value, Metric) else "",
)
async def test_distances_are_those_that_pgvector_defines(
    harness: Harness, metric: Metric, expected: dict[str, float]
) -> None:
    records = [record("same", 2, 0), record("right angle", 0, 2), record("opposite", -4, 0), record("between", 4, 3)]
    async with harness.collection(2, records) as collection:
        found = await find(harness, collection, Query(vector=vector(4, 0), limit=10, metric=metric, params=EXACT))
        assert {match.id: match.distance for match in found} == pytest.approx(expected, abs=1e-6)


@METRICS
async def test_exact_search_finds_the_nearest(harness: Harness, metric: Metric) -> None:
    records = random_records(300, 16)
    async with harness.collection(16, records) as collection:
        for limit in (1, 10, 299, 300, 1000):
            query = Query(vector=records[limit % 300].vector * 2 + 1, limit=limit, metric=metric, params=EXACT)
            check_nearest(await find(harness, collection, query), records, query)


@METRICS
async def test_a_filter_narrows_the_search(harness: Harness, metric: Metric) -> None:
    records = random_records(300, 8)
    shard = Comparison(("shard",), Operator.EQ, (3,))
    async with harness.collection(8, records) as collection:
        query = Query(vector=records[0].vector, limit=10, metric=metric, filter=shard, params=EXACT)
        check_nearest(await find(harness, collection, query), records[3::25], query)


async def test_nothing_more_than_asked_is_included(harness: Harness, collection: Collection) -> None:
    stored = record("a", 1, 2, 3, metadata='{"k": [1, null]}')
    await harness.backend.upsert(collection, [stored], harness.deadline())
    for include_metadata in (False, True):
        for include_vector in (False, True):
            query = Query(
                vector=vector(1, 2, 3),
                limit=1,
                metric=Metric.L2,
                include_metadata=include_metadata,
                include_vector=include_vector,
            )
            [match] = await find(harness, collection, query)
            if include_metadata:
                assert match.metadata is not None
                assert canonical(match.metadata) == canonical(stored.metadata)
            else:
                assert match.metadata is None
            if include_vector:
                assert match.vector is not None
                assert match.vector.dtype == np.float32
                assert np.array_equal(match.vector, stored.vector)
            else:
                assert match.vector is None


async def test_ties_fill_the_limit(harness: Harness, collection: Collection) -> None:
    ids = ["b", "a", "B", "é", "😀", "\ufffd", "10", "9"]
    await harness.backend.upsert(collection, [record(i, 1, 1, 1) for i in ids], harness.deadline())
    query = Query(vector=vector(0, 0, 1), limit=100, metric=Metric.COSINE, params=EXACT)
    assert [match.id for match in await find(harness, collection, query)] == sorted(ids)
    query = Query(vector=vector(0, 0, 1), limit=3, metric=Metric.COSINE, params=EXACT)
    assert len(await find(harness, collection, query)) == 3


async def test_a_vector_of_zeros_has_no_cosine_distance_and_comes_last(
    harness: Harness, collection: Collection
) -> None:
    records = [record("zero", 0, 0, 0), record("far", -1, 0, 0), record("near", 1, 0, 0)]
    await harness.backend.upsert(collection, records, harness.deadline())
    query = Query(vector=vector(1, 0, 0), limit=10, metric=Metric.COSINE, params=EXACT)
    found = await find(harness, collection, query)
    assert [match.id for match in found] == ["near", "far", "zero"]
    assert math.isnan(found[-1].distance)
    query = Query(vector=vector(1, 0, 0), limit=2, metric=Metric.COSINE, params=EXACT)
    assert [match.id for match in await find(harness, collection, query)] == ["near", "far"]


async def test_searching_from_a_vector_of_zeros_finds_everything(harness: Harness, collection: Collection) -> None:
    await harness.backend.upsert(collection, [record("a", 1, 0, 0), record("b", 0, 0, 0)], harness.deadline())
    query = Query(vector=vector(0, 0, 0), limit=10, metric=Metric.COSINE, params=EXACT)
    found = await find(harness, collection, query)
    assert [match.id for match in found] == ["a", "b"]
    assert all(math.isnan(match.distance) for match in found)


@METRICS
async def test_a_vector_of_zeros_has_the_other_distances(harness: Harness, metric: Metric) -> None:
    records = [record("zero", 0, 0), record("unit", 0, 1), record("far", 30, 40)]
    async with harness.collection(2, records) as collection:
        query = Query(vector=vector(3, 4), limit=10, metric=metric, params=EXACT)
        check_nearest(await find(harness, collection, query), records, query)


async def test_many_searches_go_on_at_once(harness: Harness) -> None:
    records = random_records(100, 8)

    async def search(number: int) -> None:
        query = Query(vector=records[number].vector, limit=3, metric=Metric.L2, params=EXACT)
        check_nearest(await find(harness, collection, query), records, query)

    async with harness.collection(8, records) as collection:
        await asyncio.gather(*(search(number) for number in range(50)))


@METRICS
async def test_an_index_changes_no_promise(harness: Harness, metric: Metric) -> None:
    records = random_records(1500, 8)
    shard = Comparison(("shard",), Operator.EQ, (3,))
    async with harness.collection(8, records) as collection:
        await build_index(harness, collection, metric)
        query = Query(vector=records[0].vector, limit=20, metric=metric, params=EXACT)
        check_nearest(await find(harness, collection, query), records, query)
        target = np.full(8, 0.25, np.float32)
        for condition, limit, expected in ((None, 20, 20), (shard, 40, 40), (shard, 100, 60)):
            query = Query(vector=target, limit=limit, metric=metric, filter=condition)
            found = await find(harness, collection, query)
            assert len(found) == expected, "as many as exist, up to the limit"
            candidates = {r.id for r in (records if condition is None else records[3::25])}
            assert {match.id for match in found} <= candidates


async def build_index(harness: Harness, collection: Collection, metric: Metric) -> None:
    try:
        wanted = WantedIndex(metric=metric)
        events = [event async for event in harness.store.create_index(collection, wanted, harness.deadline())]
    except Unsupported:
        return  # a backend without indexes promises the same
    assert all(isinstance(event, IndexProgress) for event in events[:-1])
    assert isinstance(events[-1], Index)
    assert events[-1].metric is metric
