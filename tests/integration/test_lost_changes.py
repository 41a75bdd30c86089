"""A change of an index whose connection is lost may have happened: its caller is told so."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable

import numpy as np
import pytest
import pytest_asyncio
from pod_sessions import ask, last, old_snapshot
from podroute_pgvector.backend import PgvectorBackend
from podroute_router.config import Config
from podroute_router.domain import Collection, Deadline, Index, Metric, Placement, Record, WantedIndex
from podroute_router.embedded import Cluster
from podroute_router.errors import Unavailable

NAME = "lost_changes"
INDEX = WantedIndex(metric=Metric.L2)


def soon() -> Deadline:
    return Deadline.after(20)


@pytest_asyncio.fixture
async def store(cluster_config: Config) -> AsyncIterator[PgvectorBackend]:
    opened = PgvectorBackend(cluster_config)
    yield opened
    await opened.close()


@pytest_asyncio.fixture
async def collection(store: PgvectorBackend) -> AsyncIterator[Collection]:
    made = Collection(
        name=NAME, dimension=3, metric=Metric.L2, placement=Placement(pod="alpha", schema="vecs", table=NAME)
    )
    await store.create_collection(made, soon())
    await store.upsert(made, [Record(id="a", vector=np.ones(3, np.float32))], soon())
    yield made
    await store.drop_collection(made, soon())


async def build(store: PgvectorBackend, collection: Collection) -> None:
    await last(store.create_index(collection, INDEX, soon()))


async def drop(store: PgvectorBackend, collection: Collection) -> None:
    built = await last(store.create_index(collection, INDEX, soon()))
    assert isinstance(built, Index)
    await store.drop_index(collection, built.name, soon())


@pytest.mark.parametrize(("change", "begins"), [(build, "create index"), (drop, "drop index")])
async def test_a_change_of_an_index_that_was_cut_off_is_of_unknown_outcome(
    cluster: Cluster,
    store: PgvectorBackend,
    collection: Collection,
    change: Callable[[PgvectorBackend, Collection], Awaitable[None]],
    begins: str,
) -> None:
    if change is drop:
        await build(store, collection)
    with old_snapshot(cluster, NAME):  # either waits for it
        changing = asyncio.create_task(change(store, collection))
        await asyncio.to_thread(end_statement, cluster, begins)
        with pytest.raises(Unavailable) as lost:
            await changing
    assert lost.value.reason == "OUTCOME_UNKNOWN"


def end_statement(cluster: Cluster, begins: str) -> None:
    """Ends the session that runs a statement which begins so, as soon as there is one that waits."""
    ended = (
        "select pg_terminate_backend(pid) from pg_stat_activity "
        "where state = 'active' and wait_event_type = 'Lock' and query ilike %s and pid <> pg_backend_pid()"
    )
    while not ask(cluster, ended, f"%{begins}%"):
        time.sleep(0.02)
