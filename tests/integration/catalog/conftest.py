"""A server of these tests' own, and its catalogs: unprepared, empty, or of two pods."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import psycopg
import pytest
from podroute_router.embedded.cluster import Cluster
from podroute_router.embedded.server import Server
from psycopg import sql

from .harness import PASSWORD, PODS, Catalog, CountingStore, soon


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    """A server of this module's own, as tests kill and freeze it."""
    settings = {"synchronous_commit": "on"}  # what was committed must outlive a kill
    with Cluster(pods=(), ephemeral=True, fsync=False, settings=settings) as cluster:
        with psycopg.connect(cluster.primary.admin_conninfo(), autocommit=True) as connection:
            connection.execute("create role podroute_owner nologin")
            connection.execute(
                sql.SQL("create role podroute login password {} in role podroute_owner").format(sql.Literal(PASSWORD))
            )
        yield cluster.primary


@pytest.fixture
def unprepared(server: Server) -> Iterator[Catalog]:
    """A database without a catalog; afterwards the server serves again, whatever the test did to it."""
    catalog = Catalog(server, server.database)
    catalog.admin("drop schema if exists podroute_catalog cascade")
    yield catalog
    if not server.is_running:
        server.start()
    server.thaw()


@pytest.fixture
def catalog(unprepared: Catalog) -> Catalog:
    unprepared.admin("create schema podroute_catalog authorization podroute_owner")
    return unprepared


@pytest.fixture
async def store(catalog: Catalog) -> AsyncIterator[CountingStore]:
    """The store of a catalog that knows two pods and is at revision 1."""
    async with catalog.store() as store:
        await store.migrate(soon())
        await store.register_pods(PODS, soon())
        yield store
