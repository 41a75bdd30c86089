"""An index is built beside the calls, ends with its deadline, and leaves nothing that no further build mends."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import grpc
import numpy as np
import podroute
import psycopg
import pytest
import pytest_asyncio
from google.rpc import error_details_pb2
from grpc_status import rpc_status
from pod_sessions import ask, last, old_snapshot, until_builds
from podroute.v1 import collection_service_pb2, collection_service_pb2_grpc
from podroute_pgvector.backend import PgvectorBackend
from podroute_router.config import make_config
from podroute_router.domain import (
    Collection,
    Deadline,
    Index,
    Metric,
    Placement,
    Query,
    Record,
    Selection,
    WantedIndex,
)
from podroute_router.embedded import Cluster
from podroute_router.errors import Aborted, DeadlineExceeded
from podroute_router.server import Router
from servers import router_values

INDEX = WantedIndex(metric=Metric.L2)
STATEMENT_S = 0.4
BUILD_S = 0.5


def soon() -> Deadline:
    return Deadline.after(20)


@pytest_asyncio.fixture
async def store(cluster: Cluster) -> AsyncIterator[PgvectorBackend]:
    """A backend with a single connection for the calls of a pod."""
    values = router_values(cluster)
    values["limits"] = {"connections_per_pod": 1}
    values["timeouts"] = {"statement_s": STATEMENT_S}
    opened = PgvectorBackend(make_config(values))
    yield opened
    await opened.close()


@pytest_asyncio.fixture
async def collection(store: PgvectorBackend) -> AsyncIterator[Collection]:
    """A hundred records of dimension 3 on pod alpha."""
    name = f"indexed_{uuid.uuid4().hex[:8]}"
    placement = Placement(pod="alpha", schema="vecs", table=name)
    made = Collection(name=name, dimension=3, metric=Metric.L2, placement=placement)
    await store.create_collection(made, soon())
    await store.upsert(made, [Record(id=str(i), vector=np.full(3, i, np.float32)) for i in range(100)], soon())
    yield made
    await store.drop_collection(made, soon())


def indexes(cluster: Cluster, collection: str) -> list[bool]:
    """Of each HNSW index of the collection, whether it is valid."""
    found = ask(
        cluster,
        "select indisvalid from pg_index i join pg_class c on c.oid = indexrelid join pg_am a on a.oid = relam "
        "where indrelid = %s::regclass and amname = 'hnsw'",
        f"vecs.{collection}",
    )
    return [valid for (valid,) in found]


async def test_calls_go_on_beside_a_build_where_there_is_one_connection_for_them(
    cluster: Cluster, store: PgvectorBackend, collection: Collection
) -> None:
    with old_snapshot(cluster, collection.name):
        building = asyncio.create_task(last(store.create_index(collection, INDEX, soon())))
        await until_builds(cluster, collection.name, 1)
        nearest = await store.query(
            collection, Query(vector=np.zeros(3, np.float32), limit=2, metric=Metric.L2), Deadline.after(2)
        )
        assert [match.id for match in nearest.matches] == ["0", "1"]
        assert await store.delete(collection, Selection(ids=("99",)), Deadline.after(2)) == 1
        await store.probe("alpha", Deadline.after(2))
        await asyncio.sleep(STATEMENT_S)  # a build lasts longer than any statement of a call
        assert not building.done()
    assert isinstance(await building, Index)
    assert indexes(cluster, collection.name) == [True]


async def test_a_build_leaves_the_bound_on_the_statements_of_calls(
    cluster: Cluster, store: PgvectorBackend, collection: Collection
) -> None:
    await last(store.create_index(collection, INDEX, soon()))
    alpha = cluster.pods["alpha"]
    with psycopg.connect(alpha.admin_conninfo(alpha.database)) as holder:
        holder.execute(f"lock table vecs.{collection.name}".encode())
        with pytest.raises(DeadlineExceeded) as ended:
            await store.count(collection, None, soon())
    assert ended.value.reason == "STATEMENT_TIMEOUT"


async def test_of_two_builds_of_a_collection_the_second_is_told_to_come_later(
    cluster: Cluster, store: PgvectorBackend, collection: Collection
) -> None:
    with old_snapshot(cluster, collection.name):
        building = asyncio.create_task(last(store.create_index(collection, INDEX, soon())))
        await until_builds(cluster, collection.name, 1)
        with pytest.raises(Aborted) as refused:
            await last(store.create_index(collection, WantedIndex(metric=Metric.COSINE), soon()))
    assert refused.value.reason == "INDEX_BUILD_RUNNING"
    await building
    assert indexes(cluster, collection.name) == [True]


@asynccontextmanager
async def impatient_router(cluster: Cluster) -> AsyncIterator[Router]:
    values = router_values(cluster)
    values["timeouts"] = {"index_s": BUILD_S}
    router = await Router.start(make_config(values))
    yield router
    await router.stop(grace_s=1)


async def build(router: Router, collection: str) -> None:
    """Builds by the default deadline, which is the router's to keep."""
    request = collection_service_pb2.CreateIndexRequest(collection=collection, hnsw=collection_service_pb2.Hnsw())
    async with grpc.aio.insecure_channel(router.address) as channel:
        async for _ in collection_service_pb2_grpc.CollectionServiceStub(channel).CreateIndex(request):
            pass


async def test_a_build_that_its_deadline_ended_is_no_fault_runs_no_more_and_is_mended_by_the_next(
    cluster: Cluster, client: podroute.AsyncClient
) -> None:
    name = f"indexed_{uuid.uuid4().hex[:8]}"
    await client.create_collection(name, dimension=3, pod="alpha")
    await client.upsert(name, [(str(i), [float(i), 1.0, 1.0], {}) for i in range(20)])
    async with impatient_router(cluster) as router:
        with old_snapshot(cluster, name):
            with pytest.raises(grpc.aio.AioRpcError) as ended:
                await build(router, name)
            await until_builds(cluster, name, 0)
        assert ended.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        status, info = rpc_status.from_call(ended.value), error_details_pb2.ErrorInfo()
        assert status is not None
        assert status.details[0].Unpack(info)
        assert info.reason == "DEADLINE_EXCEEDED"
    assert indexes(cluster, name) == [False]
    await client.create_index(name)
    assert indexes(cluster, name) == [True]
    await client.delete_collection(name)


async def test_statements_of_a_router_that_died_end_on_both_paths(
    cluster: Cluster, client: podroute.AsyncClient
) -> None:
    """The session's own setting, seen by the default of a column."""
    name = f"settings_{uuid.uuid4().hex[:8]}"
    await client.create_collection(name, dimension=2, pod="alpha")
    seen = "current_setting('client_connection_check_interval')"
    ask(cluster, f"alter table vecs.{name} add column seen text default {seen}")
    for path in ("direct", "fdw"):
        await client.upsert(name, [(path, [1.0, 1.0], {})], path=path)
    assert ask(cluster, f"select id, seen from vecs.{name} order by id") == [("direct", "500ms"), ("fdw", "500ms")]
    await client.delete_collection(name)
