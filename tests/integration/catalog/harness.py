"""A database prepared for a catalog, and routers that read, change and follow it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import psycopg
from podroute_router.catalog.store import CatalogStore
from podroute_router.catalog.watcher import ShardMapSource
from podroute_router.config import Database, Timeouts
from podroute_router.domain import Collection, Deadline, Metric, Placement
from podroute_router.embedded.server import Server
from podroute_router.postgres.pool import Pool
from podroute_router.shard_map import ShardMap
from pydantic import SecretStr

PASSWORD = "a password of the tests"
PODS = ["alpha", "beta"]
NEVER_S = 600.0


def soon(seconds: float = 10.0) -> Deadline:
    return Deadline.after(seconds)


def make(name: str, pod: str = "alpha", *, table: str | None = None) -> Collection:
    placement = Placement(pod=pod, schema="vecs", table=table or name)
    return Collection(name=name, dimension=3, metric=Metric.COSINE, placement=placement)


async def until(condition: Callable[[], object], timeout_s: float = 10.0) -> float:
    """Seconds until the condition held; fails where it does not in time."""
    began = time.monotonic()
    while not condition():
        assert time.monotonic() < began + timeout_s, "it did not happen in time"
        await asyncio.sleep(0.005)
    return time.monotonic() - began


class CountingStore(CatalogStore):
    """A store that counts its loads."""

    loads = 0

    async def load(self, base: ShardMap, deadline: Deadline, *, full: bool = False) -> ShardMap:
        self.loads += 1
        return await super().load(base, deadline, full=full)


@dataclass
class Catalog:
    """A database of its own, prepared for a catalog, and routers of it."""

    server: Server
    name: str

    @property
    def database(self) -> Database:
        return Database(dsn=self.server.conninfo("podroute", self.name), password=SecretStr(PASSWORD))

    def admin(self, statement: str, *values: object) -> list[tuple[object, ...]]:
        with psycopg.connect(self.server.admin_conninfo(self.name), autocommit=True) as connection:
            cursor = connection.execute(statement.encode(), values)
            return cursor.fetchall() if cursor.description else []

    @asynccontextmanager
    async def store(self, size: int = 8) -> AsyncIterator[CountingStore]:
        pool = Pool(self.database, size=size, linger_s=1.0, connect_timeout_s=2.0, facts={"on": "catalog"})
        try:
            yield CountingStore(pool)
        finally:
            await pool.close()

    @asynccontextmanager
    async def source(
        self, *, poll_interval_s: float = NEVER_S, path: Path | None = None, started: bool = True
    ) -> AsyncIterator[ShardMapSource]:
        timeouts = Timeouts(connect_s=1.0, default_s=2.0, poll_interval_s=poll_interval_s)
        async with self.store() as store:
            source = ShardMapSource(database=self.database, store=store, timeouts=timeouts, saved_map=path)
            try:
                if started:
                    await source.start(5.0)
                    await self.wait_for_listeners(1)
                    # It loads once more as soon as it listens; what follows is seen by other means.
                    await until(lambda: store.loads >= 2)
                    await source.refresh(soon())
                yield source
            finally:
                await source.close()

    async def wait_for_listeners(self, least: int) -> None:
        await until(lambda: len(self.listeners()) >= least)

    def listeners(self) -> list[tuple[object, ...]]:
        return self.admin(
            "select pid from pg_stat_activity where datname = current_database() and query like 'listen%%'"
        )

    def drop_listeners(self) -> None:
        self.admin(
            "select pg_terminate_backend(pid) from pg_stat_activity "
            "where datname = current_database() and query like 'listen%%'"
        )
