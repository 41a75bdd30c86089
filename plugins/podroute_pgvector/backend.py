"""The DIRECT backend: one pool of connections for each pod."""

from __future__ import annotations

import math
from collections.abc import AsyncGenerator, Sequence
from functools import partial

from podroute_router.config import Config
from podroute_router.domain import (
    Collection,
    Deadline,
    HnswIndex,
    Index,
    IndexProgress,
    Query,
    QueryResult,
    Record,
    Selection,
)
from podroute_router.errors import Unavailable
from podroute_router.filters import Filter
from podroute_router.postgres.access import LOCAL_SETTINGS, SESSION_SETTINGS, Relations, TableAccess
from podroute_router.postgres.extension import ready
from podroute_router.postgres.pool import Pool
from podroute_router.postgres.prepare import COLLECTIONS

from podroute_pgvector import indexes, tables

LINGER_S = 1.0
"""A pod that does not end a left statement harms only itself, so the place is given on soon."""


class PgvectorBackend:
    """Serves collections over the router's own connections to their pods; also makes and indexes them."""

    def __init__(self, config: Config) -> None:
        self._pools: dict[str, Pool] = {}
        self._access: dict[str, TableAccess] = {}
        settings = SESSION_SETTINGS | {
            "jit": "off",  # compiling takes longer than these statements
            "search_path": "",
            "statement_timeout": f"{math.ceil(config.timeouts.statement_s * 1000)}ms",
        }
        for name in config.pods:
            database = config.pod_database(name)
            if database is None:
                continue
            facts = {"pod": name, "path": "direct"}
            pool = Pool(
                database,
                size=config.limits.connections_per_pod,
                linger_s=LINGER_S,
                connect_timeout_s=config.timeouts.connect_s,
                facts=facts,
                setup=partial(ready, settings=settings, facts=facts),
            )
            self._pools[name] = pool
            self._access[name] = TableAccess(pool, exact_pass_s=config.timeouts.exact_pass_s)

    async def upsert(self, collection: Collection, records: Sequence[Record], deadline: Deadline) -> int:
        """See `backend.Backend`."""
        return await self._of(collection).upsert(_relations(collection), records, deadline)

    async def query(self, collection: Collection, query: Query, deadline: Deadline) -> QueryResult:
        """See `backend.Backend`."""
        return await self._of(collection).query(_relations(collection), query, deadline)

    async def fetch(self, collection: Collection, ids: Sequence[str], deadline: Deadline) -> list[Record]:
        """See `backend.Backend`."""
        return await self._of(collection).fetch(_relations(collection), ids, deadline)

    async def delete(self, collection: Collection, selection: Selection, deadline: Deadline) -> int:
        """See `backend.Backend`."""
        return await self._of(collection).delete(_relations(collection), selection, deadline)

    async def count(self, collection: Collection, filter: Filter | None, deadline: Deadline) -> int:
        """See `backend.Backend`."""
        return await self._of(collection).count(_relations(collection), filter, deadline)

    async def create_collection(self, collection: Collection, deadline: Deadline) -> None:
        """See `backend.CollectionStore`."""
        async with self._pool(collection.placement.pod).connection(deadline) as connection:
            await tables.create(connection, collection)

    async def drop_collection(self, collection: Collection, deadline: Deadline) -> None:
        """See `backend.CollectionStore`."""
        async with self._pool(collection.placement.pod).connection(deadline) as connection:
            await tables.drop(connection, collection)

    def create_index(
        self, collection: Collection, index: HnswIndex, deadline: Deadline
    ) -> AsyncGenerator[IndexProgress | Index]:
        """See `backend.CollectionStore`."""
        return indexes.build(self._pool(collection.placement.pod), collection, index, deadline)

    async def record_estimate(self, pod: str, deadline: Deadline) -> int:
        """See `backend.CollectionStore`."""
        async with self._pool(pod).connection(deadline) as connection:
            return await tables.record_estimate(connection, COLLECTIONS)

    async def probe(self, pod: str, deadline: Deadline) -> None:
        """See `backend.CollectionStore`."""
        async with self._pool(pod).connection(deadline) as connection:
            await connection.execute("select 1")

    async def close(self) -> None:
        """See `backend.Backend`."""
        for pool in self._pools.values():
            await pool.close()

    def _pool(self, pod: str) -> Pool:
        return self._pools[_configured(pod, self._pools)]

    def _of(self, collection: Collection) -> TableAccess:
        return self._access[_configured(collection.placement.pod, self._access)]


def _configured(pod: str, known: dict[str, Pool] | dict[str, TableAccess]) -> str:
    if pod not in known:
        raise Unavailable("POD_UNCONFIGURED", f"this router has no address for pod {pod!r}", facts={"pod": pod})
    return pod


def _relations(collection: Collection) -> Relations:
    base = tables.table(collection)
    return Relations(read=base, upsert=base, upsert_through_rule=False, apply_settings=LOCAL_SETTINGS)
