"""Builds and replacements while reads and writes go on: what they tell, wait for, leave and mend."""

from __future__ import annotations

import asyncio
import uuid
from contextlib import aclosing

import grpc
import numpy as np
import podroute
import psycopg
import pytest
from pod_sessions import ask, old_snapshot, until_builds
from podroute.v1 import collection_service_pb2 as collections
from podroute.v1 import collection_service_pb2_grpc
from podroute_pgvector.backend import PgvectorBackend
from podroute_router.domain import (
    Collection,
    Hnsw,
    IndexProgress,
    IvfFlat,
    MetadataGin,
    Metric,
    Query,
    Record,
)
from podroute_router.embedded import Cluster
from podroute_router.errors import Aborted
from podroute_router.server import Router

from .harness import DIMENSION, built, soon, wanted


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
