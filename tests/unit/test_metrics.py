"""What is counted of a call, and that neither callers nor readers of the metrics can make that costly."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from functools import partial
from pathlib import Path

import pytest
from podroute.v1 import collection_service_pb2, route_pb2, vector_service_pb2
from podroute_router.api.call_log import CallLog
from podroute_router.breaker import BreakerState
from podroute_router.config import ConfigError
from podroute_router.domain import AccessPath, Collection, Metric, Placement
from podroute_router.errors import NotFound, Unavailable
from podroute_router.measures import PoolFacts
from podroute_router.metrics import admin, exposition
from podroute_router.metrics.admin import AdminServer
from podroute_router.metrics.calls import BatchMeter, CallMeter
from podroute_router.metrics.definitions import Metrics
from podroute_router.metrics.gauges import Gauges, Looks
from podroute_router.metrics.shared import shared_folder
from podroute_router.shard_map import Change, ShardMap
from prometheus_client import CollectorRegistry, Counter, generate_latest
from scraped import Scrape

METHOD = "VectorService/Query"
DOCS = Collection(
    name="docs", dimension=3, metric=Metric.COSINE, placement=Placement(pod="one", schema="vecs", table="docs")
)
SHARD_MAP = ShardMap().changed(1, ["one", "two"], [Change("docs", DOCS)])


def current_map() -> ShardMap:
    return SHARD_MAP


def scrape(metrics: Metrics) -> Scrape:
    return Scrape(generate_latest(metrics.registry).decode())


def query(collection: str = "docs", path: int = 0) -> vector_service_pb2.QueryRequest:
    return vector_service_pb2.QueryRequest(collection=collection, path=path)


def answer(path: int, pod: str = "one") -> vector_service_pb2.QueryResponse:
    return vector_service_pb2.QueryResponse(route=route_pb2.Route(path=path, pods=[pod]))


def test_a_call_is_counted_where_its_answer_says_that_it_went() -> None:
    metrics = Metrics()
    meter = CallMeter(metrics, METHOD, current_map)
    for _ in range(3):
        meter.ended(query(), answer(route_pb2.ACCESS_PATH_DIRECT), "OK", 0.003, {})
    found = scrape(metrics)
    assert found.total("podroute_calls_total", method=METHOD, pod="one", path="direct", code="OK") == 3
    assert found.total("podroute_call_seconds_count", method=METHOD, pod="one", path="direct") == 3
    assert found.total("podroute_call_seconds_bucket", le="0.0025") == 0
    assert found.total("podroute_call_seconds_bucket", le="0.005") == 3


@pytest.mark.parametrize(
    ("asked", "answered", "failovers"),
    [
        (route_pb2.ACCESS_PATH_UNSPECIFIED, route_pb2.ACCESS_PATH_FDW, 1),
        (route_pb2.ACCESS_PATH_UNSPECIFIED, route_pb2.ACCESS_PATH_DIRECT, 0),
        (route_pb2.ACCESS_PATH_FDW, route_pb2.ACCESS_PATH_FDW, 0),
    ],
)
def test_a_failover_is_an_auto_call_that_fdw_answered(asked: int, answered: int, failovers: int) -> None:
    metrics = Metrics()
    CallMeter(metrics, METHOD, current_map).ended(query(path=asked), answer(answered), "OK", 0.1, {})
    assert scrape(metrics).total("podroute_failovers_total", pod="one") == failovers
    BatchMeter(metrics, current_map).ended(query(path=asked), answer(answered), "OK", 0.1, {})
    assert scrape(metrics).total("podroute_failovers_total", pod="one") == 2 * failovers


@pytest.mark.parametrize(
    ("request_", "facts", "pod", "path"),
    [
        (query(), {"pod": "one", "path": "fdw"}, "one", "fdw"),
        (query(path=route_pb2.ACCESS_PATH_DIRECT), {}, "one", "direct"),
        (query(), {}, "one", "auto"),
        (query("unknown"), {"collection": "unknown"}, "", "auto"),
        (query("unknown", 77), {"path": "of the caller's choice"}, "", ""),
        (collection_service_pb2.GetCollectionRequest(name="docs"), {}, "one", ""),
        (collection_service_pb2.CreateCollectionRequest(name="x", pod="two"), {}, "two", ""),
        (collection_service_pb2.CreateCollectionRequest(name="x", pod="none"), {"pod": "none"}, "", ""),
        (None, {}, "", ""),
    ],
)
def test_a_call_without_an_answer_is_counted_where_the_shard_map_has_it(
    request_: vector_service_pb2.QueryRequest | None, facts: Mapping[str, str], pod: str, path: str
) -> None:
    metrics = Metrics()
    CallMeter(metrics, METHOD, current_map).ended(request_, None, "UNAVAILABLE", 0.1, facts)
    assert scrape(metrics).total("podroute_calls_total", pod=pod, path=path, code="UNAVAILABLE") == 1


def test_each_end_of_a_call_is_counted_with_its_code() -> None:
    metrics = Metrics()
    meter = CallMeter(metrics, METHOD, current_map)
    ends = [CallLog(METHOD, meter.ended) for _ in range(4)]
    for log in ends:
        log.request = query()
    ends[0].served()
    ends[1].cancelled()
    for log, error in ((ends[2], NotFound("X", "x")), (ends[3], Unavailable("Y", "y"))):
        log.failed(error, error)
    found = scrape(metrics)
    assert found.values("code") == {"OK", "CANCELLED", "NOT_FOUND", "UNAVAILABLE"}
    assert found.total("podroute_calls_total", pod="one") == 4


def test_ten_thousand_names_make_no_more_series_than_one() -> None:
    metrics = Metrics()
    call, batch = CallMeter(metrics, METHOD, current_map), BatchMeter(metrics, current_map)

    def ask(number: int) -> None:
        error = NotFound("COLLECTION_NOT_FOUND", "none", facts={"collection": f"c{number}", "pod": f"p{number}"})
        for meter in (call, batch):
            meter.ended(query(f"c{number}", 3 + number), None, "NOT_FOUND", 0.1, error.facts)

    ask(0)
    before = len(scrape(metrics))
    for number in range(1, 10_000):
        ask(number)
    found = scrape(metrics)
    assert len(found) == before
    assert found.total("podroute_calls_total") == found.total("podroute_batch_queries_total") == 10_000


class Held:
    """A backend with a pool."""

    def pools(self) -> list[PoolFacts]:
        return [PoolFacts(pod="one", size=4, in_use=3, idle=1, waiting=2, lanes=1, lanes_size=4, lane_depth=5)]


def test_the_gauges_are_as_things_stand() -> None:
    metrics = Metrics()
    looks = Looks(
        pools={AccessPath.FDW: Held()},
        in_flight=lambda: {"one": 7},
        breakers=lambda: {
            (AccessPath.DIRECT, "one"): BreakerState.OPEN,
            (AccessPath.DIRECT, "two"): BreakerState.CLOSED,
        },
        pods_up=lambda: {"one": True, "two": False},
        revision=lambda: 17,
        age_s=lambda: None,
    )
    Gauges(metrics, looks).look()
    found = scrape(metrics)
    fdw = {"pod": "one", "path": "fdw"}
    names = ("pool_size", "pool_in_use", "pool_idle", "pool_waiting", "lanes", "lanes_size", "lane_depth")
    assert [found.total(f"podroute_{name}", **fdw) for name in names] == [4, 3, 1, 2, 1, 4, 5]
    assert found.total("podroute_calls_in_flight", pod="one") == 7
    assert found.of_each("podroute_breaker_state", "pod") == {"one": 2, "two": 0}
    assert found.of_each("podroute_pod_up", "pod") == {"one": 1, "two": 0}
    assert found.total("podroute_map_revision") == 17
    assert found.total("podroute_map_age_seconds") == float("inf")


async def test_the_text_is_the_librarys_and_is_written_between_other_work() -> None:
    """The control is `generate_latest` in one go, during which nothing else runs."""
    registry = CollectorRegistry()
    counter = Counter("many", 'of \\ "them"\n', ["number"], registry=registry)
    for number in range(10_000):
        counter.labels(f'"{number}\n').inc()
    turns = 0

    async def take_turns() -> None:
        nonlocal turns
        while True:
            await asyncio.sleep(0)
            turns += 1

    others = asyncio.create_task(take_turns())
    text = await exposition.written(registry)
    others.cancel()
    assert text == generate_latest(registry)
    assert turns >= 10_000 / exposition.SLICE - 1


async def test_readers_that_come_together_share_one_text() -> None:
    written = 0

    async def write() -> bytes:
        nonlocal written
        written += 1
        await asyncio.sleep(0.01)
        return b"text"

    shown = exposition.Exposition(write)
    assert set(await asyncio.gather(*(shown.text() for _ in range(10)))) == {b"text"}
    assert written == 1
    await asyncio.sleep(exposition.MIN_INTERVAL_S)
    await shown.text()
    assert written == 2


@asynccontextmanager
async def admin_server(write: exposition.Write | None = None) -> AsyncIterator[AdminServer]:
    server = AdminServer(write or partial(exposition.written, Metrics().registry), lambda: True)
    await server.start("127.0.0.1:0")
    try:
        yield server
    finally:
        await server.close()


async def connected(server: AdminServer, opened: AsyncExitStack) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """A connection, which ends with the stack."""
    host, _, port = server.address.rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port), limit=1024)

    async def end() -> None:
        writer.transport.abort()
        with suppress(ConnectionError):
            await writer.wait_closed()

    opened.push_async_callback(end)
    return reader, writer


async def said(server: AdminServer, request: bytes) -> bytes:
    """All that the server answers."""
    async with AsyncExitStack() as opened:
        reader, writer = await connected(server, opened)
        writer.write(request)
        try:
            return await reader.read()
        except ConnectionError:
            return b""


async def much() -> bytes:
    return bytes(64 * 1024 * 1024)  # more than the sockets in between have room for


HEALTH = b"GET /healthz HTTP/1.1\r\n\r\n"


@pytest.mark.parametrize("patience_s", [0.3, 60.0])
async def test_slow_readers_take_a_bounded_part_and_for_a_bounded_time(
    monkeypatch: pytest.MonkeyPatch, patience_s: float
) -> None:
    monkeypatch.setattr(admin, "PATIENCE_S", patience_s)
    monkeypatch.setattr(admin, "CONNECTIONS_MAX", 3)
    async with admin_server(much) as server, AsyncExitStack() as opened:
        for _ in range(admin.CONNECTIONS_MAX):
            _, writer = await connected(server, opened)
            writer.write(b"GET /metrics HTTP/1.1\r\n\r\n")  # and reads nothing
        deadline = time.monotonic() + 20
        is_full = patience_s > 20
        while bool(await said(server, HEALTH)) is is_full:
            assert time.monotonic() < deadline
            await asyncio.sleep(0.05)


async def test_those_who_ask_nothing_keep_nobody_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(admin, "PATIENCE_S", 60.0)
    async with admin_server() as server, AsyncExitStack() as opened:
        silent = [(await connected(server, opened))[0] for _ in range(admin.CONNECTIONS_MAX)]
        for _ in range(3):
            await asyncio.sleep(0.05)
            assert b"200" in await said(server, HEALTH)
        with suppress(ConnectionError):
            assert await silent[0].read() == b""  # the first had to go


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n", b"200"),
        (b"GET /metrics?x=y HTTP/1.0\r\n\r\n", b"200"),
        (b"GET /metrics/ HTTP/1.1\r\n\r\n", b"404"),
        (b"GET http://elsewhere/metrics HTTP/1.1\r\n\r\n", b"404"),
        (b"POST /healthz HTTP/1.1\r\nContent-Length: 9\r\n\r\nsomething", b"405"),
        (b"\r\n\r\n", b"404"),
        (b"\xff\x00\r\n\r\n", b"404"),
        (b"GET /metrics HTTP/1.1\r\nX: " + b"x" * admin.REQUEST_BYTES_MAX + b"\r\n\r\n", b""),
    ],
)
async def test_two_pages_are_there_to_be_read_and_nothing_else(request_: bytes, status: bytes) -> None:
    async with admin_server() as server:
        answered = await said(server, request_)
        assert answered[:12] == (b"HTTP/1.1 " + status if status else b"")
        if status == b"200":
            head, _, body = answered.partition(b"\r\n\r\n")
            assert f"Content-Length: {len(body)}".encode() in head
            assert b"podroute_build_info" in body


async def test_an_address_that_cannot_be_had_is_named() -> None:
    async with admin_server() as server:
        for listen in (server.address, "nowhere", "127.0.0.1:x", "127.0.0.1:99999", "no.such.host.invalid:1"):
            with pytest.raises(ConfigError, match=r"router\.admin_listen"):
                await AdminServer(partial(exposition.written, Metrics().registry), lambda: True).start(listen)


def test_the_folder_that_a_killed_supervisor_left_goes_with_the_next_and_one_in_use_stays() -> None:
    program = "import time; from podroute_router.metrics.shared import shared_folder as f\n"
    program += "with f() as folder: print(folder, flush=True); time.sleep(60)"
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) as killed:
        assert killed.stdout is not None
        left = Path(killed.stdout.readline().strip())
        (left / "counter_1.db").touch()
        os.utime(left, (0, 0))
        with shared_folder() as folder:
            assert left.exists()
            killed.kill()
            killed.wait()
            with shared_folder():
                assert not left.exists()
                assert Path(folder).exists()
        assert not Path(folder).exists()
