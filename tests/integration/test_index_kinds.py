"""Indexes of every kind are built, told of, replaced and dropped while reads and writes go on."""

from __future__ import annotations

import asyncio
import re
import uuid
from collections.abc import AsyncIterator
from contextlib import aclosing

import grpc
import numpy as np
import podroute
import psycopg
import pytest
import pytest_asyncio
from pod_sessions import ask, last, old_snapshot, until_builds
from podroute.v1 import collection_service_pb2 as collections
from podroute.v1 import collection_service_pb2_grpc
from podroute_pgvector import indexes
from podroute_pgvector.backend import PgvectorBackend, build_settings
from podroute_router.config import Pod, make_config
from podroute_router.domain import (
    Collection,
    Deadline,
    Hnsw,
    Index,
    IndexMethod,
    IndexProgress,
    IvfFlat,
    MetadataGin,
    Metric,
    Placement,
    Query,
    Record,
    Selection,
    WantedIndex,
)
from podroute_router.embedded import Cluster
from podroute_router.errors import Aborted, AlreadyExists, FailedPrecondition, NotFound
from podroute_router.filters import Comparison, Operator
from podroute_router.server import Router
from podroute_router.sql import statements
from podroute_router.sql.containment import compile_narrowed
from servers import router_values

DIMENSION = 8
COUNT = 2000


def soon() -> Deadline:
    return Deadline.after(30)


@pytest_asyncio.fixture
async def store(cluster: Cluster) -> AsyncIterator[PgvectorBackend]:
    opened = PgvectorBackend(make_config(router_values(cluster)))
    yield opened
    await opened.close()


@pytest_asyncio.fixture
async def collection(store: PgvectorBackend) -> AsyncIterator[Collection]:
    """A collection on pod alpha that is large enough for a build to be watched."""
    name = f"kinds_{uuid.uuid4().hex[:8]}"
    placement = Placement(pod="alpha", schema="vecs", table=name)
    made = Collection(name=name, dimension=DIMENSION, metric=Metric.L2, placement=placement)
    await store.create_collection(made, soon())
    vectors = np.random.default_rng(4).normal(size=(COUNT, DIMENSION)).astype(np.float32)
    records = [Record(id=str(i), vector=vectors[i], metadata=f'{{"n": {i}, "bin": {i % 50}}}') for i in range(COUNT)]
    await store.upsert(made, records, soon())
    yield made
    await store.drop_collection(made, soon())


@pytest.fixture
def frequent_progress(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(indexes, "PROGRESS_INTERVAL_S", 0.02)


def wanted(method: IndexMethod, metric: Metric | None = Metric.L2, *, replace: bool = False) -> WantedIndex:
    return WantedIndex(metric=None if isinstance(method, MetadataGin) else metric, method=method, replace=replace)


async def built(store: PgvectorBackend, collection: Collection, index: WantedIndex) -> Index:
    event = await last(store.create_index(collection, index, soon()))
    assert isinstance(event, Index)
    return event


OF_HNSW = [
    (Hnsw(), Hnsw(m=16, ef_construction=64), r"ix_vector_\w+_ops_hnsw_m16_efc64_[0-9a-f]{7}"),
    (Hnsw(m=4, ef_construction=20), Hnsw(m=4, ef_construction=20), r"ix_vector_\w+_ops_hnsw_m4_efc20_[0-9a-f]{7}"),
]
OF_IVFFLAT = [
    (IvfFlat(), IvfFlat(lists=10), r"ix_vector_\w+_ops_ivfflat_nl10_[0-9a-f]{7}"),
    (IvfFlat(lists=33), IvfFlat(lists=33), r"ix_vector_\w+_ops_ivfflat_nl33_[0-9a-f]{7}"),
]


@pytest.mark.parametrize(
    ("metric", "asked", "stands", "name"),
    [
        *((metric, *case) for metric in Metric for case in OF_HNSW),
        *((metric, *case) for metric in Metric if metric is not Metric.L1 for case in OF_IVFFLAT),
    ],
    ids=str,
)
async def test_an_index_is_told_of_by_what_the_catalogs_have(  # noqa: PLR0917 (fixtures and cases)
    store: PgvectorBackend,
    collection: Collection,
    metric: Metric,
    asked: IndexMethod,
    stands: IndexMethod,
    name: str,
) -> None:
    index = await built(store, collection, wanted(asked, metric))
    assert (index.metric, index.method, index.valid) == (metric, stands, True)
    assert re.fullmatch(name, index.name)
    assert index.size_bytes >= 8192
    assert await store.list_indexes(collection, soon()) == [index]


async def test_an_index_by_another_name_is_known_for_what_it_is(
    cluster: Cluster, store: PgvectorBackend, collection: Collection
) -> None:
    ask(
        cluster,
        f'create index "ix_vector_ip_ops_hnsw_m99_efc1_x" on vecs.{collection.name} using hnsw '
        "(vec public.vector_l2_ops) with (m = 7)",
    )
    ask(
        cluster,
        f"create index kept_apart on vecs.{collection.name} using hnsw (vec public.vector_l2_ops) "
        "where metadata @> '{}'",
    )
    odd, partial = await store.list_indexes(collection, soon())
    assert (odd.metric, odd.method) == (Metric.L2, Hnsw(m=7, ef_construction=64))
    assert (partial.name, partial.metric, partial.method) == ("kept_apart", None, None)
    assert await built(store, collection, wanted(Hnsw(m=7))) == odd


@pytest.mark.parametrize("kind", [Hnsw(m=5), IvfFlat(lists=12), IvfFlat(), MetadataGin()], ids=str)
async def test_what_stands_as_wanted_is_left_as_it_is(
    store: PgvectorBackend, collection: Collection, kind: IndexMethod
) -> None:
    first = await built(store, collection, wanted(kind))
    assert await built(store, collection, wanted(kind)) == first


async def test_an_index_of_metadata_is_built_anew_on_request(store: PgvectorBackend, collection: Collection) -> None:
    of_vectors = await built(store, collection, wanted(Hnsw(m=5)))
    first = await built(store, collection, wanted(MetadataGin()))
    await store.delete(collection, Selection(ids=tuple(str(i) for i in range(COUNT // 2))), soon())
    second = await built(store, collection, wanted(MetadataGin(), replace=True))
    assert second.name == first.name
    assert second.size_bytes < first.size_bytes
    assert await store.list_indexes(collection, soon()) == [second, of_vectors]


@pytest.mark.parametrize("other", [Hnsw(m=6), IvfFlat()], ids=str)
async def test_what_stands_otherwise_is_replaced_on_request_only(
    store: PgvectorBackend, collection: Collection, other: IndexMethod
) -> None:
    first = await built(store, collection, wanted(Hnsw(m=5)))
    with pytest.raises(AlreadyExists) as refused:
        await built(store, collection, wanted(other))
    assert (refused.value.reason, refused.value.facts["index"]) == ("INDEX_EXISTS", first.name)
    second = await built(store, collection, wanted(other, replace=True))
    assert await store.list_indexes(collection, soon()) == [second]
    again = await built(store, collection, wanted(other, replace=True))
    assert (await store.list_indexes(collection, soon()), again.name) == ([again], second.name)


async def test_a_replacement_waits_for_readers_and_holds_up_no_call(
    cluster: Cluster, store: PgvectorBackend, collection: Collection
) -> None:
    first = await built(store, collection, wanted(Hnsw(m=5)))
    alpha = cluster.pods["alpha"]
    with psycopg.connect(alpha.admin_conninfo(alpha.database)) as reader:
        building = asyncio.create_task(built(store, collection, wanted(Hnsw(m=6), replace=True)))
        async with asyncio.timeout(20):
            while len(await store.list_indexes(collection, soon())) < 2:
                await asyncio.sleep(0.02)
        reader.execute(f"select from vecs.{collection.name} limit 1".encode())  # its transaction stays open
        loop = asyncio.get_running_loop()
        slowest, until = 0.0, loop.time() + 2.5
        while loop.time() < until:
            began = loop.time()
            found = await store.query(
                collection, Query(vector=np.zeros(DIMENSION, np.float32), limit=3, metric=Metric.L2), soon()
            )
            assert len(found.matches) == 3
            assert (
                await store.upsert(collection, [Record(id="new", vector=np.ones(DIMENSION, np.float32))], soon()) == 1
            )
            slowest = max(slowest, loop.time() - began)
            await asyncio.sleep(0.01)
        assert not building.done()
        assert first.name in {index.name for index in await store.list_indexes(collection, soon())}
        assert slowest < 1.0  # two calls, each behind one attempt of a quarter second at most
        reader.rollback()
    second = await building
    assert await store.list_indexes(collection, soon()) == [second]
    assert second.method == Hnsw(m=6, ef_construction=64)


async def test_a_replacement_that_was_ended_before_the_swap_leaves_what_the_next_removes(
    cluster: Cluster, store: PgvectorBackend, collection: Collection
) -> None:
    first = await built(store, collection, wanted(Hnsw(m=5)))
    alpha = cluster.pods["alpha"]
    with psycopg.connect(alpha.admin_conninfo(alpha.database)) as reader:
        building = asyncio.create_task(built(store, collection, wanted(Hnsw(m=6), replace=True)))
        async with asyncio.timeout(20):
            while len(await store.list_indexes(collection, soon())) < 2:
                await asyncio.sleep(0.02)
        reader.execute(f"select from vecs.{collection.name} limit 1".encode())
        async with asyncio.timeout(20):
            while not all(index.valid for index in await store.list_indexes(collection, soon())):
                await asyncio.sleep(0.02)
        building.cancel()
        await asyncio.wait({building})
        reader.rollback()
    assert len(await store.list_indexes(collection, soon())) == 2
    assert await built(store, collection, wanted(Hnsw(m=5))) == first
    assert await store.list_indexes(collection, soon()) == [first]


@pytest.mark.usefixtures("frequent_progress")
async def test_a_build_tells_its_phase_and_its_blocks(store: PgvectorBackend, collection: Collection) -> None:
    async with aclosing(store.create_index(collection, wanted(Hnsw(m=64, ef_construction=400)), soon())) as events:
        seen = [event async for event in events]
    told = [event for event in seen[:-1] if isinstance(event, IndexProgress)]
    assert len(told) == len(seen) - 1
    loading = [event for event in told if event.blocks_total > 0]
    assert any(event.phase.startswith("building index") for event in told)
    assert loading
    assert all(0 <= event.blocks_done <= event.blocks_total for event in loading)


async def test_what_a_build_waits_for_is_told(
    cluster: Cluster, store: PgvectorBackend, collection: Collection, frequent_progress: None
) -> None:
    with old_snapshot(cluster, collection.name):
        async with asyncio.timeout(10), aclosing(store.create_index(collection, wanted(Hnsw()), soon())) as events:
            async for event in events:
                assert isinstance(event, IndexProgress)
                if event.phase.startswith("waiting for"):
                    break
        await until_builds(cluster, collection.name, 0)  # who goes away ends the build


async def test_a_client_that_goes_away_ends_the_build_and_the_next_mends_it(
    cluster: Cluster, router: Router, client: podroute.AsyncClient
) -> None:
    name = f"kinds_{uuid.uuid4().hex[:8]}"
    await client.create_collection(name, dimension=3, pod="alpha")
    await client.upsert(name, [(str(i), [float(i), 1.0, 1.0], {}) for i in range(20)])
    with old_snapshot(cluster, name):
        async with grpc.aio.insecure_channel(router.address) as channel:
            request = collections.CreateIndexRequest(collection=name, hnsw=collections.Hnsw(m=8))
            call = collection_service_pb2_grpc.CollectionServiceStub(channel).CreateIndex(request)
            progress = await call.read()
            assert progress.progress.phase
            await until_builds(cluster, name, 1)
            call.cancel()
            await until_builds(cluster, name, 0)
    [left] = await client.list_indexes(name)
    assert (left.valid, left.method, left.m) == (False, "hnsw", 8)
    index = await client.create_index(name)
    assert await client.list_indexes(name) == (index,)
    assert index.valid
    await client.delete_collection(name)


async def test_an_invalid_index_of_any_name_is_removed(
    cluster: Cluster, store: PgvectorBackend, collection: Collection
) -> None:
    """As a crash of the pod leaves it: no session knows of it any more."""
    ask(cluster, f"create index left_behind on vecs.{collection.name} using gin (metadata)")
    ask(cluster, "update pg_index set indisvalid = false where indexrelid = 'vecs.left_behind'::regclass")
    [left] = await store.list_indexes(collection, soon())
    assert (left.name, left.valid, left.method) == ("left_behind", False, MetadataGin())
    index = await built(store, collection, wanted(IvfFlat()))
    assert await store.list_indexes(collection, soon()) == [index]


async def test_a_build_of_somebody_else_is_not_taken_for_a_leftover(
    cluster: Cluster, store: PgvectorBackend, collection: Collection
) -> None:
    with old_snapshot(cluster, collection.name):
        theirs = asyncio.create_task(
            asyncio.to_thread(
                ask,
                cluster,
                f"create index concurrently theirs on vecs.{collection.name} using hnsw (vec public.vector_ip_ops)",
            )
        )
        await until_builds(cluster, collection.name, 1)
        with pytest.raises(Aborted) as refused:
            await built(store, collection, wanted(Hnsw()))
        assert refused.value.reason == "INDEX_BUILD_RUNNING"
    await theirs
    assert [index.valid for index in await store.list_indexes(collection, soon())] == [True]


async def test_an_index_is_dropped_by_its_name(store: PgvectorBackend, collection: Collection) -> None:
    index = await built(store, collection, wanted(Hnsw()))
    with pytest.raises(NotFound) as missing:
        await store.drop_index(collection, "another", soon())
    assert missing.value.reason == "INDEX_NOT_FOUND"
    with pytest.raises(FailedPrecondition) as refused:
        await store.drop_index(collection, f"{collection.name}_pkey", soon())
    assert refused.value.reason == "INDEX_OF_CONSTRAINT"
    await store.drop_index(collection, index.name, soon())
    assert await store.list_indexes(collection, soon()) == []


async def test_an_index_of_metadata_serves_what_would_read_every_record(
    cluster: Cluster, store: PgvectorBackend, collection: Collection
) -> None:
    index = await built(store, collection, wanted(MetadataGin()))
    assert (index.metric, index.method, index.valid) == (None, MetadataGin(), True)
    in_bin = Comparison(("bin",), Operator.EQ, (7,))
    condition = compile_narrowed(in_bin)
    ask(cluster, f"analyze vecs.{collection.name}")
    table = statements.Relation("vecs", collection.name)
    for statement in (
        statements.count(table, filtered=True, narrowed=True),
        statements.delete_matching(table, narrowed=True),
    ):
        assert index.name in generic_plan(cluster, statement, ("jsonpath", "jsonb", "jsonb"), condition)
    search = statements.query(
        table,
        "public",
        Metric.L2,
        10,
        filtered=True,
        exact=True,
        include_metadata=False,
        include_vector=False,
        narrowed=True,
    )
    vector = f"[{','.join('1' * DIMENSION)}]"
    types = ("public.vector", "jsonpath", "jsonb", "jsonb")
    assert index.name in generic_plan(cluster, search, types, (vector, *condition))
    assert await store.count(collection, in_bin, soon()) == COUNT // 50
    assert await store.delete(collection, Selection(filter=in_bin), soon()) == COUNT // 50
    assert await store.count(collection, in_bin, soon()) == 0


def generic_plan(cluster: Cluster, statement: str, types: tuple[str, ...], values: tuple[str, ...]) -> str:
    alpha = cluster.pods["alpha"]
    with psycopg.connect(alpha.admin_conninfo(alpha.database)) as session, psycopg.ClientCursor(session) as cursor:
        cursor.execute("set plan_cache_mode = force_generic_plan")
        cursor.execute(f"prepare p({', '.join(types)}) as {statement}".encode())
        cursor.execute(f"explain execute p({', '.join(['%s'] * len(values))})".encode(), values)
        return "\n".join(line for (line,) in cursor.fetchall())


async def test_an_index_of_metadata_and_one_of_vectors_stand_side_by_side(
    client: podroute.AsyncClient,
) -> None:
    name = f"kinds_{uuid.uuid4().hex[:8]}"
    await client.create_collection(name, dimension=3, pod="alpha")
    of_vectors = await client.create_index(name, method="ivfflat", lists=3)
    of_metadata = await client.create_index(name, method="metadata_gin")
    assert await client.list_indexes(name) == (of_metadata, of_vectors)
    assert (of_metadata.method, of_metadata.metric, of_metadata.lists) == ("metadata_gin", "unknown", None)
    with pytest.raises(podroute.InvalidArgument) as refused:
        await client.create_index(name, method="metadata_gin", metric="l2")
    assert refused.value.reason == "METRIC_UNUSED"
    with pytest.raises(podroute.InvalidArgument) as refused:
        await client.create_index(name, method="ivfflat", metric="l1")
    assert refused.value.reason == "METRIC_NOT_INDEXABLE"
    await client.delete_collection(name)


async def test_vectors_too_long_for_an_index_may_still_have_one_of_metadata(client: podroute.AsyncClient) -> None:
    name = f"kinds_{uuid.uuid4().hex[:8]}"
    await client.create_collection(name, dimension=2001, pod="alpha")
    with pytest.raises(podroute.InvalidArgument) as refused:
        await client.create_index(name)
    assert refused.value.reason == "DIMENSION_NOT_INDEXABLE"
    assert (await client.create_index(name, method="metadata_gin")).valid
    await client.delete_collection(name)


async def test_a_build_has_the_memory_that_its_pod_is_configured_with(cluster: Cluster, collection: Collection) -> None:
    values = router_values(cluster)
    values["pods"]["alpha"] |= {"index_memory_mb": 1, "index_workers": 0}
    frugal = PgvectorBackend(make_config(values))
    try:
        with pytest.raises(FailedPrecondition) as refused:
            await built(frugal, collection, wanted(IvfFlat(lists=1000)))
        assert refused.value.reason == "INDEX_MEMORY"
        assert (await built(frugal, collection, wanted(IvfFlat(lists=10)))).valid
    finally:
        await frugal.close()


def test_memory_and_workers_of_a_build_are_the_pods_own_unless_configured() -> None:
    assert build_settings(Pod(dsn="host=x")) == {"statement_timeout": "0"}
    assert build_settings(Pod(dsn="host=x", index_memory_mb=64, index_workers=0)) == {
        "statement_timeout": "0",
        "maintenance_work_mem": "64MB",
        "max_parallel_maintenance_workers": "0",
    }
