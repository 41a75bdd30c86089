"""Whatever the records and filters, a backend answers as the oracle does.

PODROUTE_EXAMPLES=1000 looks further than the fixed examples that every run tries.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace

import numpy as np
import pytest_asyncio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from podroute_memory.backend import MemoryBackend
from podroute_router.domain import (
    Collection,
    MetadataUpdate,
    Metric,
    Query,
    Record,
    ScanPage,
    SearchParams,
    Selection,
    UpdateMode,
    UpsertMode,
)
from podroute_router.filters import Comparison, Filter, Negated, Operator, Scalar, check_filter

from .harness import Harness
from .judgement import check_records, check_search, tolerance
from .strategies import document_with, every_comparison, filters, ids, metadata, operands, paths, records, vectors

_EXAMPLES = os.environ.get("PODROUTE_EXAMPLES")
THOROUGHLY = settings(
    derandomize=_EXAMPLES is None,
    database=None,
    deadline=None,
    max_examples=int(_EXAMPLES or 40),
    suppress_health_check=[HealthCheck.too_slow],
)

DIMENSIONS = (1, 3, 8)
EXACT = SearchParams(exact=True)
EVERYTHING = 1000


class Pair:
    """The backend under test and the oracle, holding the same records in collections that examples share."""

    def __init__(self, harness: Harness, oracle: MemoryBackend, collections: Sequence[Collection]) -> None:
        self.harness = harness
        self.backend = harness.backend
        self.oracle = oracle
        self.collections = {collection.dimension: collection for collection in collections}

    async def load(self, collection: Collection, records: Sequence[Record]) -> None:
        """Makes these the collection's only records, in both."""
        anywhere = Comparison(("a",), Operator.EXISTS)
        for leftover in (anywhere, Negated(anywhere)):
            await self.delete(collection, Selection(filter=leftover))
        assert await self.backend.count(collection, None, self.harness.deadline()) == 0
        await self.upsert(collection, records)

    async def upsert(
        self, collection: Collection, records: Sequence[Record], mode: UpsertMode = UpsertMode.REPLACE
    ) -> None:
        """Upserts in both; they agree on how many. A request without records never reaches a backend."""
        if records:
            expected = await self.oracle.upsert(collection, records, self.harness.deadline(), mode)
            assert await self.backend.upsert(collection, records, self.harness.deadline(), mode) == expected

    async def update_metadata(self, collection: Collection, update: MetadataUpdate) -> None:
        """Updates in both; they agree on how many."""
        expected = await self.oracle.update_metadata(collection, update, self.harness.deadline())
        assert await self.backend.update_metadata(collection, update, self.harness.deadline()) == expected

    async def delete(self, collection: Collection, selection: Selection) -> None:
        """Deletes from both; they agree on how many."""
        expected = await self.oracle.delete(collection, selection, self.harness.deadline())
        assert await self.backend.delete(collection, selection, self.harness.deadline()) == expected

    async def check_count(self, collection: Collection, filter: Filter | None) -> None:
        """They agree on how many match."""
        expected = await self.oracle.count(collection, filter, self.harness.deadline())
        assert await self.backend.count(collection, filter, self.harness.deadline()) == expected

    async def check_scan(self, collection: Collection, page: ScanPage) -> None:
        """They agree on the records of a page, and on their order."""
        expected = await self.oracle.scan(collection, page, self.harness.deadline())
        found = await self.backend.scan(collection, page, self.harness.deadline())
        assert [record.id for record in found] == [record.id for record in expected]

    async def check_query(self, collection: Collection, query: Query, stored: Sequence[Record]) -> None:
        """They agree on the nearest records, and on their order outside ties."""
        everything = replace(query, limit=EVERYTHING)
        true = await self.oracle.query(collection, everything, self.harness.deadline())
        found = await self.backend.query(collection, query, self.harness.deadline())
        assert found.complete
        check_search(
            found.matches,
            {match.id: match.distance for match in true.matches},
            query.limit,
            {record.id: tolerance(query.metric, record.vector, query.vector) for record in stored},
        )


@pytest_asyncio.fixture(scope="module")
async def pair(harness: Harness) -> AsyncIterator[Pair]:
    oracle = MemoryBackend()
    collections = [await harness.make_collection(dimension) for dimension in DIMENSIONS]
    for collection in collections:
        await oracle.create_collection(collection, harness.deadline())
    yield Pair(harness, oracle, collections)
    for collection in collections:
        await harness.drop_collection(collection)


@THOROUGHLY
@given(data=st.data())
async def test_the_nearest_records_are_the_oracles(pair: Pair, data: st.DataObject) -> None:
    dimension = data.draw(st.sampled_from(DIMENSIONS))
    collection = pair.collections[dimension]
    stored = data.draw(records(dimension))
    await pair.load(collection, stored)
    target = data.draw(vectors(dimension))
    limit = data.draw(st.integers(1, len(stored) + 1))
    condition = data.draw(st.none() | filters)
    for metric in Metric:
        query = Query(vector=target, limit=limit, metric=metric, filter=condition, params=EXACT)
        await pair.check_query(collection, query, stored)


@THOROUGHLY
@given(
    texts=st.lists(metadata, max_size=10),
    path=paths,
    values=st.lists(operands, min_size=2, max_size=5),
    tree=filters,
)
async def test_filters_select_what_the_oracle_selects(
    pair: Pair, texts: list[str], path: tuple[str, ...], values: list[Scalar], tree: Filter
) -> None:
    collection = pair.collections[1]
    target = np.ones(1, np.float32)
    # Documents made to match, lest random ones seldom do.
    telling = [document_with(path, value) for value in (*values, values)]
    stored = [Record(id=str(number), vector=target, metadata=text) for number, text in enumerate([*texts, *telling])]
    await pair.load(collection, stored)
    for condition in (*every_comparison(path, values), tree, Negated(tree)):
        check_filter(condition)
        query = Query(vector=target, limit=EVERYTHING, metric=Metric.L2, filter=condition, params=EXACT)
        await pair.check_query(collection, query, stored)
    await pair.check_count(collection, tree)
    await pair.delete(collection, Selection(filter=tree))
    await pair.check_count(collection, None)


_SELECTIONS = st.one_of(
    st.lists(ids, min_size=1, max_size=4).map(lambda chosen: Selection(ids=tuple(chosen))),
    filters.map(lambda condition: Selection(filter=condition)),
)
_WRITES = st.one_of(
    st.tuples(records(3, max_size=5), st.sampled_from(UpsertMode)),
    _SELECTIONS,
    st.builds(MetadataUpdate, selection=_SELECTIONS, metadata=metadata, mode=st.sampled_from(UpdateMode)),
)


@THOROUGHLY
@given(writes=st.lists(_WRITES, max_size=6), after=st.just("") | ids, limit=st.integers(1, 10), condition=filters)
async def test_any_course_of_writes_ends_as_the_oracle_ends(
    pair: Pair,
    writes: list[tuple[Sequence[Record], UpsertMode] | Selection | MetadataUpdate],
    after: str,
    limit: int,
    condition: Filter,
) -> None:
    collection = pair.collections[3]
    await pair.load(collection, [])
    mentioned: set[str] = {"never written"}
    for write in writes:
        if isinstance(write, Selection):
            await pair.delete(collection, write)
            mentioned.update(write.ids or ())
        elif isinstance(write, MetadataUpdate):
            await pair.update_metadata(collection, write)
        else:
            written, mode = write
            await pair.upsert(collection, written, mode)
            mentioned.update(record.id for record in written)
        await pair.check_count(collection, None)
    await pair.check_scan(collection, ScanPage(after=after, limit=limit))
    await pair.check_scan(collection, ScanPage(after=after, limit=limit, filter=condition))
    deadline = pair.harness.deadline()
    expected = await pair.oracle.fetch(collection, sorted(mentioned), deadline)
    check_records(await pair.backend.fetch(collection, sorted(mentioned), deadline), expected)
