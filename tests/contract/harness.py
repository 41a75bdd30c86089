"""Opens each backend for the contract suite, and makes collections for it."""

from __future__ import annotations

import importlib
import itertools
import os
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import pytest
from podroute_fdw.backend import FdwBackend
from podroute_memory.backend import MemoryBackend
from podroute_pgvector.backend import PgvectorBackend
from podroute_router.backend import Backend, CollectionStore, MapFollower
from podroute_router.config import Config
from podroute_router.domain import Collection, Deadline, Metric, Placement, Record
from podroute_router.shard_map import Change, ShardMap
from servers import POD_ON_PRIMARY

POD_APART = "alpha"
"""A pod that is not the primary."""

CALL_TIMEOUT_S = 20.0
"""Far more than any call takes: a test that waits so long has failed."""

_revisions = itertools.count(1)
"""Of the shard maps of all harnesses, which share a primary: an earlier revision than was followed is passed over."""


class Harness:
    """A backend under test.

    Args:
        name: of the backend, for messages.
        backend: opened.
        store: makes the backend's collections; the backend itself where it can.
        pod: name of the pod that takes them.
        follower: told of every change of the shard map; None where the backend keeps no objects.
    """

    def __init__(
        self, *, name: str, backend: Backend, store: CollectionStore, pod: str, follower: MapFollower | None = None
    ) -> None:
        self.name = name
        self.backend = backend
        self.store = store
        self.pod = pod
        self._follower = follower
        self._shard_map = ShardMap(pods=frozenset({pod}))
        self._numbers = itertools.count(1)

    def deadline(self) -> Deadline:
        """A deadline for one call."""
        return Deadline.after(CALL_TIMEOUT_S)

    def name_collection(self, dimension: int, metric: Metric = Metric.COSINE) -> Collection:
        """A collection of a name not used before, which has no table yet."""
        name = f"contract_{os.getpid()}_{next(self._numbers)}"
        placement = Placement(pod=self.pod, schema="vecs", table=name)
        return Collection(name=name, dimension=dimension, metric=metric, placement=placement)

    async def make_collection(self, dimension: int, metric: Metric = Metric.COSINE) -> Collection:
        """A new and empty collection that the backend serves."""
        collection = self.name_collection(dimension, metric)
        await self.store.create_collection(collection, self.deadline())
        await self.follow(collection)
        return collection

    async def follow(self, collection: Collection) -> None:
        """Lets the backend know of a collection that stands."""
        await self._follow(Change(collection.name, collection))

    async def drop_collection(self, collection: Collection) -> None:
        """Drops it, and lets the backend know."""
        await self._follow(Change(collection.name, None))
        await self.store.drop_collection(collection, self.deadline())

    @asynccontextmanager
    async def collection(self, dimension: int, records: Sequence[Record] = ()) -> AsyncIterator[Collection]:
        """A collection that holds the records, dropped at the end."""
        collection = await self.make_collection(dimension)
        try:
            if records:
                await self.backend.upsert(collection, records, self.deadline())
            yield collection
        finally:
            await self.drop_collection(collection)

    async def _follow(self, change: Change) -> None:
        revision = next(_revisions)
        self._shard_map = self._shard_map.changed(revision, self._shard_map.pods, [change])
        if self._follower is not None:
            await self._follower.follow(self._shard_map, self.deadline())


Opening = Callable[[pytest.FixtureRequest], AbstractAsyncContextManager[Harness]]
"""Opens a backend, and closes it after the session. Of the request it may use session fixtures that are not async."""


@asynccontextmanager
async def open_memory(request: pytest.FixtureRequest) -> AsyncIterator[Harness]:
    """The oracle itself."""
    backend = MemoryBackend()
    yield Harness(name="memory", backend=backend, store=backend, pod="memory")
    await backend.close()


def _open_sql(name: str, *, pod: str, through_primary: bool) -> Opening:
    """Opens a backend of ours on the session's cluster, which starts when the first one is opened."""

    @asynccontextmanager
    async def opened(request: pytest.FixtureRequest) -> AsyncIterator[Harness]:
        config: Config = request.getfixturevalue("contract_config")
        store = PgvectorBackend(config)
        if not through_primary:
            yield Harness(name=name, backend=store, store=store, pod=pod)
        elif config.primary is not None:
            fdw = FdwBackend(config, config.primary)
            yield Harness(name=name, backend=fdw, store=store, pod=pod, follower=fdw)
            await fdw.close()
        await store.close()

    return opened


BUILT_IN: Mapping[str, Opening] = {
    "memory": open_memory,
    "pgvector": _open_sql("pgvector", pod=POD_APART, through_primary=False),
    "fdw": _open_sql("fdw", pod=POD_APART, through_primary=True),
    "fdw_on_primary": _open_sql("fdw_on_primary", pod=POD_ON_PRIMARY, through_primary=True),
}


def openings() -> Mapping[str, Opening]:
    """The backends to test: ours, or the one that PODROUTE_CONTRACT_OPENING names as `module:function`."""
    named = os.environ.get("PODROUTE_CONTRACT_OPENING")
    if named is None:
        return BUILT_IN
    module, _, function = named.partition(":")
    return {named: getattr(importlib.import_module(module), function)}
