"""Scans and changes of metadata as a caller sees them: both paths, both clients, a router that goes away."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import podroute
import psycopg
import pytest
import pytest_asyncio
from podroute_router.config import make_config
from podroute_router.embedded import Cluster
from podroute_router.server import Router
from servers import router_values

PATHS = ("direct", "fdw")
RECORDS = 500

_numbers = itertools.count()


@asynccontextmanager
async def running(cluster: Cluster, *, port: int = 0, **timeouts: float) -> AsyncIterator[Router]:
    values = router_values(cluster)
    values["router"]["listen"] = f"127.0.0.1:{port}"
    values["timeouts"] = timeouts
    router = await Router.start(make_config(values))
    try:
        yield router
    finally:
        await router.stop(grace_s=0.1)


@pytest_asyncio.fixture
async def collection(client: podroute.AsyncClient) -> AsyncIterator[str]:
    name = f"scan_{next(_numbers)}"
    await client.create_collection(name, dimension=2, pod="beta")
    await client.upsert(name, [(f"{n:04d}", [float(n), 1.0], {"n": n, "even": n % 2 == 0}) for n in range(RECORDS)])
    yield name
    await client.delete_collection(name)


@pytest.mark.parametrize("path", PATHS)
async def test_a_scan_has_what_was_asked_for(client: podroute.AsyncClient, collection: str, path: Any) -> None:
    ids = [record async for record in client.scan(collection, path=path)]
    assert ids == [podroute.ScannedRecord(id=f"{n:04d}") for n in range(RECORDS)]
    found = [
        record
        async for record in client.scan(
            collection, filter={"even": True}, include_metadata=True, include_vector=True, page_size=7, path=path
        )
    ]
    assert found == [
        podroute.ScannedRecord(id=f"{n:04d}", metadata={"n": n, "even": True}, vector=[float(n), 1.0])
        for n in range(0, RECORDS, 2)
    ]


async def test_a_table_that_sorts_its_ids_otherwise_is_read_whole_too(
    cluster: Cluster, client: podroute.AsyncClient, collection: str
) -> None:
    ids = ["a", "A", "b", "B", "_", "-", "é", "z", "10", "9", "数据库", "😀"]
    await client.delete(collection, filter={"n": {"$gte": 0}})
    await client.upsert(collection, [(record_id, [0.0, 1.0], {}) for record_id in ids])
    pod = cluster.pods["beta"]
    with psycopg.connect(pod.admin_conninfo(pod.database), autocommit=True) as admin:
        admin.execute(f"drop view podroute.{collection}".encode())  # nothing is written here any more
        admin.execute(f'alter table vecs.{collection} alter id type text collate "default"'.encode())
        in_its_order = [row[0] for row in admin.execute(f"select id from vecs.{collection} order by id".encode())]
    assert in_its_order != sorted(ids)
    for path in PATHS:
        for size in (1, 5, 100):
            found = [record.id async for record in client.scan(collection, page_size=size, path=path)]
            assert found == in_its_order


async def test_the_blocking_client_scans_too(router: Router, collection: str) -> None:
    def scan() -> list[str]:
        with podroute.Client(router.address) as client:
            return [record.id for record in client.scan(collection, filter={"n": {"$lt": 5}})]

    assert await asyncio.to_thread(scan) == [f"{n:04d}" for n in range(5)]


async def test_a_scan_goes_on_at_another_router(
    cluster: Cluster, client: podroute.AsyncClient, collection: str
) -> None:
    async with running(cluster) as first:
        port = int(first.address.rpartition(":")[2])
        async with podroute.AsyncClient(first.address) as own:
            records = own.scan(collection, page_size=10)
            seen = [await anext(records) for _ in range(15)]
            await first.stop(grace_s=0.1)
            async with running(cluster, port=port):
                seen += [record async for record in records]
    assert [record.id for record in seen] == [f"{n:04d}" for n in range(RECORDS)]


async def test_a_scan_goes_on_where_the_routers_bound_on_streams_ended_it(cluster: Cluster, collection: str) -> None:
    async with running(cluster, stream_s=0.3) as short, podroute.AsyncClient(short.address) as own:
        seen = []
        async for record in own.scan(collection, page_size=10):
            seen.append(record.id)
            await asyncio.sleep(0.002)
    assert seen == [f"{n:04d}" for n in range(RECORDS)]


async def test_an_error_that_no_other_router_mends_ends_a_scan(client: podroute.AsyncClient) -> None:
    with pytest.raises(podroute.NotFound):
        await anext(client.scan("nowhere"))
    with pytest.raises(podroute.InvalidArgument, match="page_size"):
        await anext(client.scan("nowhere", page_size=5000))


@pytest.mark.parametrize("path", PATHS)
async def test_metadata_is_updated_without_vectors(client: podroute.AsyncClient, collection: str, path: Any) -> None:
    by_ids = await client.update_metadata(collection, {"seen": True}, ids=["0000", "0001", "nobody"], path=path)
    by_filter = await client.update_metadata(collection, {}, filter={"n": {"$gte": 498}}, mode="replace", path=path)
    fetched = await client.fetch(collection, ["0000", "0001", "0002", "0498", "0499"])
    assert (by_ids.updated_count, by_filter.updated_count) == (2, 2)
    assert by_ids.route.path == path
    assert [record.metadata for record in fetched.records] == [
        {"n": 0, "even": True, "seen": True},
        {"n": 1, "even": False, "seen": True},
        {"n": 2, "even": True},
        {},
        {},
    ]
    assert [list(record.vector) for record in fetched.records] == [[float(n), 1.0] for n in (0, 1, 2, 498, 499)]


@pytest.mark.parametrize("path", PATHS)
async def test_an_upsert_may_only_insert_or_only_update(
    client: podroute.AsyncClient, collection: str, path: Any
) -> None:
    records = [("0000", [9.0, 9.0], {"by": path}), ("new", [9.0, 9.0], {"by": path})]
    inserted = await client.upsert(collection, records, mode="insert_only", path=path)
    fetched = await client.fetch(collection, ["0000", "new"])
    assert inserted.upserted_count == 1
    assert [record.metadata for record in fetched.records] == [{"n": 0, "even": True}, {"by": path}]
    await client.delete(collection, ids=["new"])
    updated = await client.upsert_many(collection, records, mode="update_only", path=path)
    fetched = await client.fetch(collection, ["0000", "new"])
    assert updated.record_count == 2
    assert [record.metadata for record in fetched.records] == [{"by": path}]
    assert fetched.missing_ids == ("new",)
