"""A search finds as many as were asked for, or says why not; and of the metadata what was asked for."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator, Sequence

import numpy as np
import pytest
import pytest_asyncio
from podroute_router.domain import (
    Collection,
    IncompleteReason,
    IterativeScan,
    Metric,
    Query,
    Record,
    SearchParams,
    WantedIndex,
)
from podroute_router.errors import Unsupported
from podroute_router.filters import Comparison, Operator

from .harness import Harness
from .judgement import canonical

DIMENSION = 8
RECORDS = 10_000
ONE_PERCENT = Comparison(("percent",), Operator.EQ, (7,))
MATCHING = {f"r{number}" for number in range(7, RECORDS, 100)}
TARGET = np.full(DIMENSION, 0.25, np.float32)

DOCUMENT = '{"a": 1.50, "b": {"a": [1, {"c": null}]}, "null": null, "é": "ü", "a.b": true, "big": 12345678901234567890}'


@pytest_asyncio.fixture(scope="module")
async def indexed(harness: Harness) -> AsyncIterator[Collection]:
    """Many records, with an index where the backend has any."""
    vectors = np.random.default_rng(5).normal(size=(RECORDS, DIMENSION)).astype(np.float32)
    records = [
        Record(id=f"r{number}", vector=vector, metadata=f'{{"percent": {number % 100}}}')
        for number, vector in enumerate(vectors)
    ]
    async with harness.collection(DIMENSION, records) as collection:
        try:
            async for _ in harness.store.create_index(collection, WantedIndex(metric=Metric.L2), harness.deadline()):
                pass
        except Unsupported:
            pass
        yield collection


def rare(limit: int, params: SearchParams) -> Query:
    return Query(vector=TARGET, limit=limit, metric=Metric.L2, filter=ONE_PERCENT, params=params)


@pytest.mark.parametrize(
    "params",
    [
        SearchParams(),
        SearchParams(exact=True),
        SearchParams(ef_search=1),
        SearchParams(ef_search=1000, probes=32_768),
        SearchParams(iterative_scan=IterativeScan.STRICT),
        SearchParams(exact=True, iterative_scan=IterativeScan.OFF, max_scan_tuples=1),
    ],
    ids=str,
)
async def test_a_filter_of_one_percent_finds_a_hundred(
    harness: Harness, indexed: Collection, params: SearchParams
) -> None:
    result = await harness.backend.query(indexed, rare(100, params), harness.deadline())
    assert {match.id for match in result.matches} == MATCHING
    assert result.complete


@pytest.mark.parametrize(
    "params",
    [
        SearchParams(iterative_scan=scan, ef_search=ef_search, max_scan_tuples=most)
        for scan, ef_search, most in itertools.product(IterativeScan, (None, 10), (None, 200, 2**31 - 1))
    ],
    ids=str,
)
async def test_where_fewer_are_found_it_says_why(harness: Harness, indexed: Collection, params: SearchParams) -> None:
    result = await harness.backend.query(indexed, rare(100, params), harness.deadline())
    found = {match.id for match in result.matches}
    assert found <= MATCHING
    assert len(found) == len(result.matches)
    if len(found) < 100:
        assert params.limits_scan
        assert result.incomplete_reason is IncompleteReason.SCAN_LIMITED
    else:
        assert result.complete


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        (("a",), '{"a": 1.50}'),
        (("missing",), "{}"),
        (("null", "missing"), '{"null": null}'),
        (("b", "big"), '{"b": {"a": [1, {"c": null}]}, "big": 12345678901234567890}'),
        (("é", "a.b", "c"), '{"é": "ü", "a.b": true}'),
        (("a", "b", "null", "é", "a.b", "big"), DOCUMENT),
        ((*(f"k{number}" for number in range(63)), "a"), '{"a": 1.50}'),
        (("'; --", '"', "\\", "$", "%s", "{}"), "{}"),
    ],
    ids=["one", "missing", "null", "nested", "odd", "all", "many", "hostile"],
)
async def test_only_the_keys_asked_for_are_returned(
    harness: Harness, collection: Collection, keys: Sequence[str], expected: str
) -> None:
    stored = Record(id="a", vector=np.ones(3, np.float32), metadata=DOCUMENT)
    bare = Record(id="b", vector=np.zeros(3, np.float32))
    await harness.backend.upsert(collection, [stored, bare], harness.deadline())
    has_a = Comparison(("a",), Operator.EXISTS)
    for condition, exact, include_vector in itertools.product((None, has_a), (False, True), (False, True)):
        query = Query(
            vector=stored.vector,
            limit=5,
            metric=Metric.L2,
            filter=condition,
            params=SearchParams(exact=exact),
            include_metadata=True,
            metadata_keys=tuple(keys),
            include_vector=include_vector,
        )
        found = await harness.backend.query(collection, query, harness.deadline())
        by_id = {match.id: match for match in found.matches}
        assert by_id.keys() == ({"a", "b"} if condition is None else {"a"})
        assert canonical(by_id["a"].metadata or "") == canonical(expected)
        assert by_id["a"].distance == 0.0
        assert condition is not None or canonical(by_id["b"].metadata or "") == canonical("{}")
        assert (by_id["a"].vector is not None) == include_vector
