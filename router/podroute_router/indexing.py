"""The control plane of indexes: has them built, listed and dropped."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing

from podroute_router.backend import CollectionStore
from podroute_router.domain import (
    Deadline,
    Hnsw,
    Index,
    IndexMethod,
    IndexProgress,
    IvfFlat,
    MetadataGin,
    Metric,
    WantedIndex,
)
from podroute_router.errors import DeadlineExceeded, InvalidArgument
from podroute_router.map_source import MapSource, find_collection
from podroute_router.wrappers import within

INDEX_MAX_DIMENSION = 2000
"""pgvector's bound for indexes over float32 vectors."""

_LEAVE_S = 1.0
"""Bound on leaving a build."""


class Indexing:
    """Serves the indexes of collections.

    Args:
        maps: the shard map.
        store: has the indexes.
    """

    def __init__(self, maps: MapSource, store: CollectionStore) -> None:
        self._maps = maps
        self._store = store

    async def create(
        self, name: str, metric: Metric | None, method: IndexMethod, deadline: Deadline, *, replace: bool
    ) -> AsyncGenerator[IndexProgress | Index]:
        """Builds an index of a collection: progress any number of times, then the index."""
        found, _ = await find_collection(self._maps, name, deadline)
        of_metadata = isinstance(method, MetadataGin)
        if of_metadata and metric is not None:
            raise InvalidArgument("METRIC_UNUSED", "metric", "goes with indexes of vectors only")
        if found.dimension > INDEX_MAX_DIMENSION and not of_metadata:
            raise InvalidArgument(
                "DIMENSION_NOT_INDEXABLE",
                "hnsw" if isinstance(method, Hnsw) else "ivfflat",
                f"indexes vectors of at most {INDEX_MAX_DIMENSION} components; collection {name!r} has "
                f"{found.dimension}",
                limit=INDEX_MAX_DIMENSION,
            )
        metric = None if of_metadata else metric or found.metric
        if isinstance(method, IvfFlat) and metric is Metric.L1:
            raise InvalidArgument("METRIC_NOT_INDEXABLE", "metric", "ivfflat has none for L1; hnsw has")
        index = WantedIndex(metric=metric, method=method, replace=replace)
        async with aclosing(self._store.create_index(found, index, deadline)) as events:
            while (event := await _next_within(deadline, events)) is not None:
                yield event

    async def list(self, name: str, deadline: Deadline) -> list[Index]:
        """The collection's indexes by name."""
        found, _ = await find_collection(self._maps, name, deadline)
        return await within(deadline, self._store.list_indexes(found, deadline))

    async def drop(self, name: str, index: str, deadline: Deadline) -> None:
        """Drops an index of the collection."""
        found, _ = await find_collection(self._maps, name, deadline)
        await within(deadline, self._store.drop_index(found, index, deadline))


async def _next_within(
    deadline: Deadline, events: AsyncIterator[IndexProgress | Index]
) -> IndexProgress | Index | None:
    """The next event; None after the last. Unlike `within` it sees a step end, so that the generator can be closed."""
    step = asyncio.ensure_future(anext(events, None))
    try:
        done, _ = await asyncio.wait({step}, timeout=deadline.remaining_s())
    finally:
        if not step.done():
            step.cancel()
            await asyncio.wait({step}, timeout=_LEAVE_S)
    if not done:
        raise DeadlineExceeded("DEADLINE_EXCEEDED", "the index was not built by the deadline")
    return step.result()
