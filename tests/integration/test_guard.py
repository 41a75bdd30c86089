"""The FDW path refuses what the primary would fetch a table for, and looks at a statement's plan once only."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import NamedTuple

import numpy as np
import psycopg
import pytest
import pytest_asyncio
from podroute_fdw import watch
from podroute_fdw.backend import FdwBackend
from podroute_pgvector.backend import PgvectorBackend
from podroute_router.config import Config, make_config
from podroute_router.domain import (
    Collection,
    Deadline,
    Metric,
    Placement,
    PlainQuery,
    Query,
    Record,
    SearchParams,
    Selection,
)
from podroute_router.embedded import Cluster
from podroute_router.errors import FailedPrecondition, PodrouteError
from podroute_router.filters import Comparison, Operator
from podroute_router.postgres import guard
from podroute_router.shard_map import Change, ShardMap
from servers import router_values, separate_primary

VECTOR = np.array([1, 2, 3], dtype=np.float32)
QUERY = Query(vector=VECTOR, limit=3, metric=Metric.L2)
PLAIN = PlainQuery(limit=3, metric=Metric.L2, include_metadata=False)
FILTER = Comparison(("n",), Operator.GTE, (0,))

_numbers = itertools.count()


def deadline() -> Deadline:
    return Deadline.after(20)


class Primary(NamedTuple):
    """A primary of the test's own, and an administrator who spoils it."""

    config: Config
    admin: psycopg.Connection

    def drop_extensions(self) -> None:
        """What the common recipes for postgres_fdw leave out."""
        self.admin.execute("alter server podroute_alpha options (drop extensions)")

    def add_extensions(self) -> None:
        self.admin.execute("alter server podroute_alpha options (add extensions 'vector')")


@pytest.fixture
def primary(cluster: Cluster) -> Iterator[Primary]:
    name = separate_primary(cluster)
    with psycopg.connect(cluster.primary.admin_conninfo(name), autocommit=True) as admin:
        yield Primary(make_config(router_values(cluster, primary=name)), admin)


class Opened(NamedTuple):
    """A backend, and a collection of 50 records that it serves."""

    backend: FdwBackend
    collection: Collection


@pytest_asyncio.fixture
async def opened(primary: Primary, cluster_config: Config) -> AsyncIterator[Opened]:
    store = PgvectorBackend(cluster_config)
    assert primary.config.primary is not None
    backend = FdwBackend(primary.config, primary.config.primary)
    name = f"guarded_{next(_numbers)}"
    made = Collection(
        name=name, dimension=3, metric=Metric.L2, placement=Placement(pod="alpha", schema="vecs", table=name)
    )
    await store.create_collection(made, deadline())
    await backend.follow(ShardMap().changed(1, ["alpha"], [Change(name, made)]), deadline())
    records = [Record(id=str(i), vector=VECTOR * i, metadata=f'{{"n": {i}}}') for i in range(50)]
    await backend.upsert(made, records, deadline())
    yield Opened(backend, made)
    await store.drop_collection(made, deadline())
    await backend.close()
    await store.close()


@asynccontextmanager
async def refused(*findings: str) -> AsyncIterator[None]:
    with pytest.raises(FailedPrecondition) as error:
        yield
    assert error.value.reason == "NOT_PUSHED_DOWN"
    assert set(findings) <= set(error.value.facts["findings"].split(","))
    assert error.value.facts["pod"] == "alpha"


async def test_a_query_that_would_ship_the_table_is_refused(primary: Primary, opened: Opened) -> None:
    backend, collection = opened
    primary.drop_extensions()
    for params in (SearchParams(), SearchParams(exact=True), SearchParams(ef_search=50)):
        query = Query(vector=VECTOR, limit=3, metric=Metric.L2, filter=FILTER, params=params)
        async with refused("ORDER_NOT_PUSHED_DOWN"):
            await backend.query(collection, query, deadline())
    explained = await backend.explain(collection, QUERY, deadline())
    assert {"ORDER_NOT_PUSHED_DOWN", "LIMIT_NOT_PUSHED_DOWN"} == {finding.reason for finding in explained.findings}
    assert any(finding.blocking for finding in explained.findings)
    assert "ORDER BY" not in explained.remote_sql[0]


async def test_what_needs_no_extension_is_served_still(primary: Primary, opened: Opened) -> None:
    """jsonb is PostgreSQL's own, and shipped without any option."""
    backend, collection = opened
    primary.drop_extensions()
    assert await backend.count(collection, FILTER, deadline()) == 50
    assert len(await backend.fetch(collection, ["1", "2"], deadline())) == 2
    assert await backend.delete(collection, Selection(filter=FILTER), deadline()) == 50


async def test_a_limit_that_stays_on_the_primary_is_no_reason(primary: Primary, opened: Opened) -> None:
    """As before PostgreSQL 18, where a foreign table cannot be told to have more rows than a limit."""
    backend, collection = opened
    primary.admin.execute("select pg_clear_relation_stats('podroute_fdw', %s)", (collection.name,))
    query = Query(vector=VECTOR, limit=1000, metric=Metric.L2)
    [finding] = (await backend.explain(collection, query, deadline())).findings
    assert (finding.reason, finding.blocking) == ("LIMIT_NOT_PUSHED_DOWN", False)
    assert len((await backend.query(collection, query, deadline())).matches) == 50


async def test_it_is_served_as_soon_as_the_cause_is_mended(primary: Primary, opened: Opened) -> None:
    backend, collection = opened
    primary.drop_extensions()
    async with refused():
        await backend.query(collection, QUERY, deadline())
    primary.add_extensions()
    assert len((await backend.query(collection, QUERY, deadline())).matches) == 3


async def test_a_change_of_the_server_is_noticed_by_calls_that_went_well(
    primary: Primary, opened: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those on lanes too, which look at nothing."""
    monkeypatch.setattr(watch, "INTERVAL_S", 0.05)
    backend, collection = opened
    prepared = None
    await backend.query(collection, QUERY, deadline())
    async with asyncio.timeout(20):
        while prepared is None or await prepared.run(VECTOR.astype(">f4").tobytes(), deadline()) is None:
            await backend.query(collection, QUERY, deadline())
            prepared = backend.prepare_query(collection, PLAIN)
            await asyncio.sleep(0.05)
        primary.drop_extensions()
        while await prepared.run(VECTOR.astype(">f4").tobytes(), deadline()) is not None:
            await asyncio.sleep(0.01)
    async with refused():
        await backend.query(collection, QUERY, deadline())


async def test_a_plan_is_looked_at_once(opened: Opened, monkeypatch: pytest.MonkeyPatch) -> None:
    backend, collection = opened
    looked_at: list[str] = []
    look = guard.generic_plan

    async def counting(connection: object, statement: str, parameter_count: int) -> object:
        looked_at.append(statement)
        return await look(connection, statement, parameter_count)  # type: ignore[arg-type]

    monkeypatch.setattr(guard, "generic_plan", counting)
    for _ in range(20):
        await backend.query(collection, QUERY, deadline())
        await backend.count(collection, FILTER, deadline())
    assert len(looked_at) == len(set(looked_at)) == 2


async def test_servers_are_watched_even_while_their_objects_cannot_be_brought_to_the_map(
    primary: Primary, opened: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watch, "INTERVAL_S", 0.05)
    _, collection = opened
    assert primary.config.primary is not None
    primary.admin.execute('create table podroute_fdw."held:upsert" ()')  # in the way
    held = Collection(
        name="held", dimension=3, metric=Metric.L2, placement=Placement(pod="alpha", schema="vecs", table="held")
    )
    changes = [Change(each.name, each) for each in (collection, held)]
    backend = FdwBackend(primary.config, primary.config.primary)
    with pytest.raises(PodrouteError):
        await backend.follow(ShardMap().changed(2, ["alpha"], changes), deadline())
    assert len((await backend.query(collection, QUERY, deadline())).matches) == 3
    primary.drop_extensions()

    async def until_refused() -> None:
        while True:
            await backend.query(collection, QUERY, deadline())
            await asyncio.sleep(0.01)

    async with refused(), asyncio.timeout(20):
        await until_refused()
    await backend.close()


async def test_a_watch_that_cannot_look_says_so_once_and_goes_on(
    primary: Primary, opened: Opened, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(watch, "INTERVAL_S", 0.05)
    backend, collection = opened
    caplog.set_level("INFO")

    async def told(words: str) -> None:
        async with asyncio.timeout(20):
            while words not in caplog.text:
                await asyncio.sleep(0.05)

    primary.admin.execute("revoke select on pg_foreign_server from public")
    await told("the foreign servers cannot be looked at")
    await asyncio.sleep(0.3)
    assert caplog.text.count("the foreign servers cannot be looked at") == 1
    primary.admin.execute("grant select on pg_foreign_server to public")
    await told("the foreign servers are looked at again")
    await backend.query(collection, QUERY, deadline())
    primary.drop_extensions()
    await told("server podroute_alpha or pgvector has changed")
    async with refused():
        await backend.query(collection, QUERY, deadline())
