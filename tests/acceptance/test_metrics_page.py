"""What a router process shows on its admin port, one process and several workers."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
import podroute
import psycopg
import pytest
import pytest_asyncio
from chaos.routers import RouterProcess, router_process
from podroute.v1 import vector_service_pb2, vector_service_pb2_grpc
from podroute_router.embedded import Cluster
from podroute_router.metrics.shared import VARIABLE
from scraped import Scrape, get
from servers import router_values

DIMENSION = 3
VECTOR = [1.0] * DIMENSION
POD = "beta"
NAMES = 10_000
BATCH = 100
PATIENT_S = 100.0
WRITTEN_S = 1.5
"""Workers tell each second what they have counted."""
OWN_CONNECTION = [("grpc.use_local_subchannel_pool", 1), ("grpc.enable_retries", 0)]


class Shown:
    """A router process and its admin port. Its texts are kept for a quarter of a second, its gauges for one."""

    def __init__(self, process: RouterProcess) -> None:
        self.process = process
        self.admin = process.running.wait_for(r"metrics on http://(\S+)/metrics", on_stderr=True)

    async def scrape(self) -> Scrape:
        """What it shows, no counter older than this call."""
        await asyncio.sleep(0.3)
        return await asyncio.to_thread(Scrape.of, self.admin)

    async def until(self, holds: Callable[[Scrape], bool], seconds: float = 60.0) -> Scrape:
        """What it shows as soon as that holds."""
        deadline = time.monotonic() + seconds
        while not holds(scrape := await self.scrape()):
            assert time.monotonic() < deadline, f"not within {seconds:g} s"
        return scrape


def values_of(cluster: Cluster, **router: Any) -> dict[str, Any]:
    values = router_values(cluster)
    values["router"] |= {"admin_listen": "127.0.0.1:0", "log_format": "json", **router}
    return values


@pytest_asyncio.fixture(scope="module")
async def collection(client: podroute.AsyncClient) -> AsyncIterator[str]:
    name = "measured"
    await client.create_collection(name, dimension=DIMENSION, pod=POD)
    await client.upsert(name, [("a", VECTOR, {})])
    yield name
    await client.delete_collection(name)


@pytest.fixture(scope="module")
def shown(cluster: Cluster, collection: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shown]:
    with router_process(values_of(cluster), tmp_path_factory.mktemp("metrics")) as process:
        yield Shown(process)


@contextmanager
def held_up(cluster: Cluster, collection: str) -> Iterator[None]:
    """Calls on the collection stay in flight meanwhile."""
    server = cluster.pods[POD]
    with psycopg.connect(server.admin_conninfo(server.database), autocommit=True) as admin, admin.transaction():
        admin.execute(f"lock table vecs.{collection} in access exclusive mode".encode())
        yield


async def test_calls_are_counted_by_method_pod_path_and_code_and_timed(shown: Shown, collection: str) -> None:
    before = await shown.scrape()
    async with podroute.AsyncClient(shown.process.address) as client:
        for path in ("direct", "fdw", "auto"):
            for _ in range(5):
                await client.query(collection, VECTOR, limit=1, path=path)
        await client.upsert(collection, [("a", VECTOR, {})])
        with pytest.raises(podroute.InvalidArgument):
            await client.query(collection, [*VECTOR, 1.0], path="direct")
        with pytest.raises(podroute.NotFound):
            await client.query("no_such", VECTOR)
    after = await shown.until(lambda scrape: scrape.total("podroute_pool_idle", pod=POD, path="direct") >= 1)

    def more(name: str, **labels: str) -> float:
        return after.total(name, **labels) - before.total(name, **labels)

    query = {"method": "VectorService/Query"}
    assert more("podroute_calls_total", **query, pod=POD, path="direct", code="OK") == 10
    assert more("podroute_calls_total", **query, pod=POD, path="fdw", code="OK") == 5
    assert more("podroute_calls_total", **query, pod=POD, path="direct", code="INVALID_ARGUMENT") == 1
    assert more("podroute_calls_total", **query, pod="", path="auto", code="NOT_FOUND") == 1
    assert more("podroute_calls_total", method="VectorService/Upsert", pod=POD, path="direct", code="OK") == 1
    assert more("podroute_calls_total") == 18
    assert more("podroute_call_seconds_count") == 18
    # The upsert and 15 queries were on the pod, whether they had a connection or shared one; who had one queued. The
    # router's first look at what has drifted may come to it.
    assert 16 <= more("podroute_pod_seconds_count", pod=POD) <= 20
    assert 1 <= more("podroute_queue_seconds_count", pod=POD) <= 20
    assert more("podroute_pod_seconds_sum", pod=POD) > 0
    assert more("podroute_failovers_total") == 0
    await shown.until(lambda scrape: scrape.total("podroute_pod_up") == 3)
    assert after.total("podroute_pool_size", pod=POD, path="direct") == 4
    assert after.total("podroute_map_revision") >= 1
    assert 0 <= after.total("podroute_map_age_seconds") < 60
    assert after.total("podroute_build_info") == 1
    assert after.total("process_resident_memory_bytes") > 10e6
    assert after.total("process_open_fds") > 5


async def test_calls_that_hold_or_await_a_connection_show_while_they_do(
    shown: Shown, cluster: Cluster, collection: str
) -> None:
    async with podroute.AsyncClient(shown.process.address) as client:
        with held_up(cluster, collection):
            calls = [asyncio.create_task(client.count(collection, path="direct", timeout=20)) for _ in range(6)]
            during = await shown.until(lambda scrape: scrape.total("podroute_pool_waiting", pod=POD) == 2)
            assert during.total("podroute_pool_in_use", pod=POD, path="direct") == 4
            assert during.total("podroute_calls_in_flight", pod=POD) == 6
        await asyncio.gather(*calls)
    after = await shown.until(lambda scrape: scrape.total("podroute_pool_waiting", pod=POD) == 0)
    assert after.total("podroute_calls_in_flight", pod=POD) == 0


async def test_what_callers_send_makes_no_series(shown: Shown, collection: str) -> None:
    """The control is a label taken from the request: with `collection` as one there are 10,000 more."""
    async with (
        podroute.AsyncClient(shown.process.address) as client,
        grpc.aio.insecure_channel(shown.process.address) as channel,
    ):
        stub = vector_service_pb2_grpc.VectorServiceStub(channel)

        async def ask(first: int, count: int, pod: str) -> None:
            request = vector_service_pb2.BatchQueryRequest()
            for number in range(first, first + count):
                request.queries.add(collection=f"unknown_{number}").vector.values.extend(VECTOR)
            answer = await stub.BatchQuery(request, timeout=PATIENT_S)
            assert {result.error.code for result in answer.results} == {grpc.StatusCode.NOT_FOUND.value[0]}
            with pytest.raises(podroute.NotFound):
                await client.query(f"unknown_{first}", VECTOR, timeout=PATIENT_S)
            with pytest.raises(podroute.NotFound):
                await client.create_collection(f"unknown_{first}", dimension=2, pod=pod, timeout=PATIENT_S)
            wrong = vector_service_pb2.QueryRequest(collection=collection, path=100 + first)
            with pytest.raises(grpc.aio.AioRpcError):
                await stub.Query(wrong, timeout=PATIENT_S)

        await ask(0, 1, "nowhere")
        before = await shown.scrape()
        at_a_time = 8 * BATCH  # more would be refused
        for start in range(0, NAMES, at_a_time):
            numbers = range(start, min(start + at_a_time, NAMES), BATCH)
            await asyncio.gather(*(ask(first, BATCH, f"nowhere_{first}") for first in numbers))
        after = await shown.scrape()
    assert after.total("podroute_batch_queries_total", code="NOT_FOUND") == NAMES + 1
    assert len(after) == len(before)
    assert after.values("pod") == {"", "alpha", "beta", "home"}
    assert after.values("path") == {"", "auto", "direct", "fdw"}


async def test_a_pod_that_was_killed_shows(shown: Shown, cluster: Cluster, client: podroute.AsyncClient) -> None:
    name = "measured_alpha"
    await client.create_collection(name, dimension=DIMENSION, pod="alpha")
    await client.upsert(name, [("a", VECTOR, {})])
    async with podroute.AsyncClient(shown.process.address, options=OWN_CONNECTION) as caller:
        await caller.query(name, VECTOR, path="direct")
        pod = cluster.pods["alpha"]
        try:
            pod.kill()
            down = await shown.until(lambda scrape: scrape.of_each("podroute_pod_up", "pod")["alpha"] == 0)
            assert down.of_each("podroute_pod_up", "pod")[POD] == 1
            with pytest.raises(podroute.Unavailable):
                await caller.query(name, VECTOR, path="direct")
            after = await shown.scrape()
        finally:
            pod.start()
        await shown.until(lambda scrape: scrape.of_each("podroute_pod_up", "pod")["alpha"] == 1)
    failed = {"pod": "alpha", "path": "direct", "code": "UNAVAILABLE"}
    assert after.total("podroute_calls_total", **failed) == down.total("podroute_calls_total", **failed) + 1
    await client.delete_collection(name)


async def test_only_two_pages_are_there_and_only_to_be_read(shown: Shown) -> None:
    assert await asyncio.to_thread(get, shown.admin, "/healthz") == (200, "serving\n")
    assert (await asyncio.to_thread(get, shown.admin, "/metrics?name[]=x"))[0] == 200
    assert (await asyncio.to_thread(get, shown.admin, "/"))[0] == 404
    assert (await asyncio.to_thread(get, shown.admin, "/metrics", "POST"))[0] == 405


async def test_a_router_that_drains_says_so(cluster: Cluster, collection: str, tmp_path: Path) -> None:
    with router_process(values_of(cluster), tmp_path) as process:
        shown = Shown(process)
        async with podroute.AsyncClient(process.address) as client:
            with held_up(cluster, collection):
                call = asyncio.create_task(client.count(collection, timeout=20))
                await shown.until(lambda scrape: scrape.total("podroute_calls_in_flight", pod=POD) == 1)
                process.running.process.send_signal(signal.SIGTERM)
                deadline = time.monotonic() + 10
                while (health := await asyncio.to_thread(get, shown.admin, "/healthz")) == (200, "serving\n"):
                    assert time.monotonic() < deadline
                    await asyncio.sleep(0.05)
                assert health == (503, "not serving\n")
                assert len(await shown.scrape()) > 0
            assert (await call).count == 1
        assert await asyncio.to_thread(process.running.process.wait, 20) == 0


def folder_of(process: RouterProcess) -> Path:
    """Where the workers of a supervisor count."""
    _, worker, *_ = process.running.family()
    variables = Path(f"/proc/{worker}/environ").read_bytes().split(b"\0")
    (folder,) = [value for name, _, value in (each.partition(b"=") for each in variables) if name == VARIABLE.encode()]
    return Path(folder.decode())


async def test_workers_are_summed_and_totals_never_fall_when_one_is_killed(
    cluster: Cluster, collection: str, tmp_path: Path
) -> None:
    """The controls: without a dead worker's files the total falls; with files by process id its gauges stay."""
    served = 0
    totals = []
    with router_process(values_of(cluster, workers=2), tmp_path) as process:
        shown = Shown(process)
        clients = [podroute.AsyncClient(process.address, options=OWN_CONNECTION) for _ in range(12)]

        async def query_all() -> int:
            answers = await asyncio.gather(
                *(client.query(collection, VECTOR, limit=1) for client in clients for _ in range(5)),
                return_exceptions=True,
            )
            return sum(not isinstance(answer, BaseException) for answer in answers)

        async def total(expected: int) -> float:
            await asyncio.sleep(WRITTEN_S)
            found = (await shown.scrape()).total("podroute_calls_total", method="VectorService/Query", code="OK")
            assert found >= expected
            return found

        await shown.until(lambda scrape: scrape.total("podroute_workers") == 2)
        served += await query_all()
        assert served == 60
        totals.append(await total(served))
        assert totals == [60]
        first = await shown.until(lambda scrape: scrape.total("podroute_pool_size", path="direct") == 12)
        assert first.total("podroute_worker_ends_total") == 0
        assert first.total("podroute_map_revision") == (await clients[0].shard_map()).revision
        pids = [pid for pid in process.running.family() if pid != process.pid]
        assert first.of_each("process_resident_memory_bytes", "worker").keys() == {"supervisor", "1", "2"}
        os.kill(min(pids), signal.SIGKILL)
        deadline = time.monotonic() + 60
        while True:
            served += await query_all()
            totals.append(await total(served))
            now = await shown.scrape()
            if now.total("podroute_workers") == 2 and now.total("podroute_worker_ends_total") == 1:
                break
            assert time.monotonic() < deadline
        for client in clients:
            await client.wait_until_serving(10)
        served += await query_all()
        totals.append(await total(served))
        assert totals == sorted(totals)
        # What ended as the worker was killed may have been counted, its answer lost.
        assert served <= totals[-1] <= served + 60
        await shown.until(lambda scrape: scrape.total("podroute_pool_size", path="direct") == 12)
        folder = folder_of(process)
        assert {file.stem.rpartition("_")[2] for file in folder.iterdir()} == {"1", "2"}
        for client in clients:
            await client.close()
        assert process.running.end(signal.SIGTERM) == 0
    assert not folder.exists()
