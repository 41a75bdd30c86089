"""A stream of upserts: answered after commit and in order, bounded in memory, and resumed without losing a record."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

import grpc
import podroute
import psycopg
import pytest
import pytest_asyncio
from google.rpc import error_details_pb2
from grpc_status import rpc_status
from podroute.v1 import route_pb2, vector_service_pb2, vector_service_pb2_grpc
from podroute_router.api.upsert_stream import MOST_AHEAD
from podroute_router.config import make_config
from podroute_router.embedded import Cluster
from podroute_router.server import Router
from servers import router_values

DIMENSION = 4
POD = "beta"
PATHS = {"direct": route_pb2.ACCESS_PATH_DIRECT, "fdw": route_pb2.ACCESS_PATH_FDW}
LARGE_METADATA = '{"text":"%s"}' % ("x" * 500_000)
LARGE_REQUESTS = 30
"""Of a megabyte each."""
BUFFERED = 20
"""Requests of a megabyte that gRPC may take over on its own account, at both ends together."""

Request = vector_service_pb2.UpsertStreamRequest
Response = vector_service_pb2.UpsertStreamResponse

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


@asynccontextmanager
async def streaming(address: str) -> AsyncIterator[Callable[..., Any]]:
    """Opens streams on a channel that retries nothing."""
    async with grpc.aio.insecure_channel(address, [("grpc.enable_retries", 0)]) as channel:
        yield vector_service_pb2_grpc.VectorServiceStub(channel).UpsertStream


@pytest.fixture(params=PATHS)
def path(request: pytest.FixtureRequest) -> Any:
    return request.param


@pytest_asyncio.fixture
async def collection(client: podroute.AsyncClient) -> AsyncIterator[str]:
    name = f"stream_{next(_numbers)}"
    await client.create_collection(name, dimension=DIMENSION, pod=POD)
    yield name
    await client.delete_collection(name)


@pytest_asyncio.fixture
async def upsert_stream(router: Router) -> AsyncIterator[Callable[..., Any]]:
    async with streaming(router.address) as opened:
        yield opened


def a_request(*ids: str, value: float = 1.0, **fields: Any) -> Request:
    records = [{"id": name, "vector": {"values": [value] * DIMENSION}} for name in ids]
    return Request(records=records, **fields)


def stored(cluster: Cluster, collection: str) -> dict[str, str]:
    """What the pod has, seen by another session: vectors by id."""
    pod = cluster.pods[POD]
    with psycopg.connect(pod.admin_conninfo(pod.database)) as connection:
        return dict(connection.execute(f"select id, vec::text from vecs.{collection}".encode()).fetchall())


async def failure(stream: Any) -> tuple[list[Response], grpc.StatusCode, error_details_pb2.ErrorInfo]:
    """The responses of a stream that ends in an error, and the error."""
    got: list[Response] = []

    async def read_all() -> None:
        while (response := await stream.read()) is not grpc.aio.EOF:
            got.append(response)

    with pytest.raises(grpc.aio.AioRpcError) as failed:
        await read_all()
    status, info = rpc_status.from_call(failed.value), error_details_pb2.ErrorInfo()
    assert status is not None, failed.value
    assert any(detail.Unpack(info) for detail in status.details)
    return got, failed.value.code(), info


async def test_each_request_is_answered_in_order_once_it_is_committed(
    cluster: Cluster, upsert_stream: Any, collection: str, path: Any
) -> None:
    stream = upsert_stream()
    await stream.write(a_request("0", "twice", "twice", collection=collection, path=PATHS[path], sequence=7))
    for number in range(1, 20):
        await stream.write(a_request(str(number), sequence=7 + number))
    await stream.done_writing()
    for number in range(20):
        response = await stream.read()
        assert response.sequence == 7 + number
        assert response.upserted_count == (2 if number == 0 else 1)
        assert response.route.path == PATHS[path]
        assert response.route.pods == [POD]
        assert str(number) in stored(cluster, collection)
    assert await stream.read() is grpc.aio.EOF
    assert await stream.code() is grpc.StatusCode.OK


async def test_a_mode_is_of_one_request_only(cluster: Cluster, upsert_stream: Any, collection: str, path: Any) -> None:
    modes = ["UPSERT_MODE_UPDATE_ONLY", None, "UPSERT_MODE_INSERT_ONLY", "UPSERT_MODE_UPDATE_ONLY", None]

    def requests() -> Iterator[Request]:
        for number, mode in enumerate(modes):
            ids = ["a", "b"] if number == 2 else ["a"]
            yield a_request(*ids, value=number, collection=collection, path=PATHS[path], mode=mode)

    assert [response.upserted_count async for response in upsert_stream(requests())] == [0, 1, 1, 1, 1]
    assert stored(cluster, collection) == {"a": "[4,4,4,4]", "b": "[2,2,2,2]"}


async def test_an_unknown_mode_ends_a_stream(upsert_stream: Any, collection: str) -> None:
    stream = upsert_stream(iter([a_request("a", collection=collection, mode=7, sequence=3)]))
    with pytest.raises(grpc.aio.AioRpcError) as failed:
        [response async for response in stream]
    assert failed.value.code() is grpc.StatusCode.INVALID_ARGUMENT


async def test_a_request_is_answered_while_the_stream_stays_open(upsert_stream: Any, collection: str) -> None:
    stream = upsert_stream()
    for number in range(3):
        await stream.write(a_request("a", collection=collection, sequence=number))
        assert (await asyncio.wait_for(stream.read(), 5.0)).sequence == number
    stream.cancel()


async def test_of_two_requests_with_an_id_in_common_the_later_wins(
    cluster: Cluster, upsert_stream: Any, collection: str, path: Any
) -> None:
    def requests() -> Iterator[Request]:
        for number in range(60):  # every request meets some of those under way, and is free of others
            ids = ("shared", f"third_{number % 3}") if number % 2 else (f"third_{number % 3}", f"own_{number}")
            yield a_request(*ids, value=number, collection=collection, path=PATHS[path])

    assert len([response async for response in upsert_stream(requests())]) == 60
    found = stored(cluster, collection)
    assert found["shared"] == "[59,59,59,59]"
    assert [found[f"third_{i}"] for i in range(3)] == ["[57,57,57,57]", "[58,58,58,58]", "[59,59,59,59]"]


async def test_a_stream_may_go_on_with_another_collection(
    client: podroute.AsyncClient, upsert_stream: Any, collection: str
) -> None:
    await client.create_collection(f"{collection}_b", dimension=DIMENSION, pod="alpha")
    requests = [
        a_request("a", collection=collection),
        a_request("b", collection=f"{collection}_b"),
        a_request("c"),
    ]
    pods = [list(response.route.pods) async for response in upsert_stream(iter(requests))]
    assert pods == [[POD], ["alpha"], ["alpha"]]
    assert (await client.count(f"{collection}_b")).count == 2
    await client.delete_collection(f"{collection}_b")


class Refused(NamedTuple):
    """A request that ends its stream, and what the caller is told."""

    request: Request
    reason: str
    field: str


@pytest.mark.parametrize(
    "bad",
    [
        Refused(Request(sequence=45), "RECORD_COUNT", "records"),
        Refused(
            Request(records=[{"id": "bad", "vector": {"values": [1.0]}}], sequence=45),
            "DIMENSION_MISMATCH",
            "records[0].vector",
        ),
        Refused(Request(records=[{"id": "bad"}], sequence=45), "VECTOR_MISSING", "records[0].vector"),
        Refused(a_request("bad", collection="No", sequence=45), "COLLECTION_NAME", "collection"),
        Refused(a_request("bad", path=9, sequence=45), "ACCESS_PATH", "path"),
    ],
    ids=lambda bad: bad.reason,
)
async def test_a_bad_request_ends_the_stream_after_the_answers_before_it(
    cluster: Cluster, upsert_stream: Any, collection: str, path: Any, bad: Refused
) -> None:
    first = [a_request(str(i), collection=collection, path=PATHS[path], sequence=40 + i) for i in range(5)]
    got, code, info = await failure(upsert_stream(iter([*first, bad.request, a_request("late")])))
    assert [response.sequence for response in got] == [40, 41, 42, 43, 44]
    assert (code, info.reason) == (grpc.StatusCode.INVALID_ARGUMENT, bad.reason)
    assert (info.metadata["field"], info.metadata["request"], info.metadata["sequence"]) == (bad.field, "5", "45")
    found = stored(cluster, collection)
    assert {"0", "1", "2", "3", "4"} <= found.keys()
    assert "bad" not in found


async def test_bytes_that_are_no_request_end_the_stream_after_the_answers_before_them(
    router: Router, collection: str
) -> None:
    async with grpc.aio.insecure_channel(router.address) as channel:
        rpc = channel.stream_stream(
            "/podroute.v1.VectorService/UpsertStream", response_deserializer=Response.FromString
        )
        good = a_request("a", collection=collection, sequence=3).SerializeToString()
        got, code, info = await failure(rpc(iter([good, b"\xff\xff"])))
    assert [response.sequence for response in got] == [3]
    assert (code, info.reason, info.metadata["request"]) == (grpc.StatusCode.INVALID_ARGUMENT, "UNDECODABLE", "1")


async def test_a_stream_names_its_collection_first(upsert_stream: Any) -> None:
    got, code, info = await failure(upsert_stream(iter([a_request("a")])))
    assert (got, code, info.reason) == ([], grpc.StatusCode.INVALID_ARGUMENT, "COLLECTION_NAME")


async def test_an_empty_stream_is_served(upsert_stream: Any) -> None:
    assert [response async for response in upsert_stream(iter(()))] == []


async def test_a_sender_is_held_back_while_the_pod_is_slow(
    cluster: Cluster, upsert_stream: Any, collection: str, path: Any
) -> None:
    stream, sent = upsert_stream(), 0
    await stream.write(a_request("first", collection=collection, path=PATHS[path]))
    await stream.read()

    async def send() -> None:
        nonlocal sent
        for number in range(LARGE_REQUESTS):
            request = a_request(f"{number}_a", f"{number}_b")
            for record in request.records:
                record.metadata = LARGE_METADATA
            await stream.write(request)
            sent += 1
        await stream.done_writing()

    pod = cluster.pods[POD]
    pod.freeze()
    try:
        sending = asyncio.create_task(send())
        held_back_at = -1
        while sent != held_back_at:
            held_back_at = sent
            await asyncio.sleep(0.5)
        assert MOST_AHEAD <= sent <= MOST_AHEAD + BUFFERED
    finally:
        pod.thaw()
    for _ in range(LARGE_REQUESTS):
        assert (await stream.read()).upserted_count == 2
    await sending
    assert await stream.code() is grpc.StatusCode.OK


async def test_each_request_has_a_deadline_of_its_own(
    cluster: Cluster, client: podroute.AsyncClient, collection: str, path: Any
) -> None:
    async with running(cluster, default_s=0.6) as router, streaming(router.address) as upsert_stream:
        stream = upsert_stream()
        await stream.write(a_request("a", collection=collection, path=PATHS[path], sequence=1))
        assert (await stream.read()).sequence == 1
        await asyncio.sleep(0.7)  # the stream outlives the deadline of a request
        await stream.write(a_request("b", sequence=2))
        assert (await stream.read()).sequence == 2
        pod = cluster.pods[POD]
        pod.freeze()
        try:
            began = time.monotonic()
            await stream.write(a_request("c", sequence=3))
            await stream.write(a_request("d", sequence=4))
            got, code, info = await failure(stream)
            assert time.monotonic() - began < 1.1
        finally:
            pod.thaw()
        assert (got, code) == ([], grpc.StatusCode.DEADLINE_EXCEEDED)
        assert info.metadata["sequence"] == "3"


async def test_a_stream_without_a_deadline_ends_at_the_routers(cluster: Cluster, collection: str) -> None:
    async with running(cluster, stream_s=0.5) as router, streaming(router.address) as upsert_stream:
        stream = upsert_stream()
        await stream.write(a_request("a", collection=collection))
        got, code, info = await failure(stream)
        assert len(got) == 1
        assert (code, info.reason) == (grpc.StatusCode.DEADLINE_EXCEEDED, "STREAM_DEADLINE")


async def test_a_router_that_stops_ends_open_streams_and_does_not_wait_for_them(
    cluster: Cluster, collection: str
) -> None:
    async with running(cluster) as router, streaming(router.address) as upsert_stream:
        stream = upsert_stream()
        await stream.write(a_request("a", collection=collection))
        assert (await stream.read()).upserted_count == 1
        began = time.monotonic()
        stopping = asyncio.create_task(router.stop(grace_s=10.0))
        _, code, info = await failure(stream)
        await stopping
        assert time.monotonic() - began < 3.0
        assert (code, info.reason) == (grpc.StatusCode.UNAVAILABLE, "SHUTTING_DOWN")


async def test_a_stream_that_its_caller_leaves_gives_its_connections_back(
    client: podroute.AsyncClient, upsert_stream: Any, collection: str, path: Any
) -> None:
    for _ in range(20):
        stream = upsert_stream()
        for number in range(3):
            await stream.write(a_request(str(number), collection=collection, path=PATHS[path]))
        stream.cancel()
    for _ in range(8):
        await asyncio.wait_for(client.upsert(collection, [("a", [1.0] * DIMENSION, {})], path=path), 5.0)


RECORDS = 6_000
BATCH = 50


def many_records() -> Iterator[podroute.Record]:
    for number in range(RECORDS):
        yield podroute.Record(str(number), [float(number)] * DIMENSION, {"n": number})


async def many_records_async() -> AsyncIterator[podroute.Record]:
    for record in many_records():
        yield record


class Interrupted:
    """Calls `interrupt` once, when a third of the records is acknowledged, and checks that acknowledgements grow."""

    def __init__(self, interrupt: Callable[[], None]) -> None:
        self._interrupt: Callable[[], None] | None = interrupt
        self.seen = [0]

    def __call__(self, acknowledged: int) -> None:
        assert acknowledged > self.seen[-1]
        self.seen.append(acknowledged)
        if acknowledged > RECORDS / 3 and self._interrupt is not None:
            self._interrupt()
            self._interrupt = None


def assert_all_stored(cluster: Cluster, collection: str) -> None:
    expected = {str(n): f"[{n},{n},{n},{n}]" for n in range(RECORDS)}
    assert stored(cluster, collection) == expected


async def test_many_records_are_stored_whichever_client_sends_them(
    cluster: Cluster, router: Router, client: podroute.AsyncClient, collection: str, path: Any
) -> None:
    asynchronous = await client.upsert_many(collection, many_records_async(), batch=1000, path=path)
    assert asynchronous.record_count == RECORDS
    assert (asynchronous.route.path, asynchronous.route.pods) == (path, (POD,))
    assert_all_stored(cluster, collection)
    await client.delete(collection, ids=[str(n) for n in range(RECORDS)])

    def send() -> podroute.UpsertManyResult:
        with podroute.Client(router.address) as blocking:
            return blocking.upsert_many(collection, many_records(), batch=1000, path=path)

    assert await asyncio.to_thread(send) == asynchronous
    assert_all_stored(cluster, collection)


@pytest.mark.parametrize("kind", [podroute.Client, podroute.AsyncClient], ids=["blocking", "asyncio"])
async def test_many_records_survive_the_death_of_their_pod(
    cluster: Cluster, router: Router, collection: str, path: Any, kind: type
) -> None:
    pod = cluster.pods[POD]

    def die() -> None:
        pod.kill()
        pod.start()

    progress = Interrupted(die)
    settings = {"batch": BATCH, "path": path, "on_progress": progress}
    if kind is podroute.AsyncClient:
        async with podroute.AsyncClient(router.address) as opened:
            result = await opened.upsert_many(collection, many_records(), **settings)
    else:
        with podroute.Client(router.address) as blocking:
            result = await asyncio.to_thread(blocking.upsert_many, collection, many_records(), **settings)
    assert result.record_count == progress.seen[-1] == RECORDS
    assert_all_stored(cluster, collection)


async def test_many_records_survive_the_restart_of_their_router(cluster: Cluster, collection: str, path: Any) -> None:
    async with running(cluster) as first:
        address = first.address
        restarted = asyncio.Event()
        progress = Interrupted(restarted.set)
        async with podroute.AsyncClient(address) as client:
            sending = asyncio.create_task(
                client.upsert_many(collection, many_records(), batch=BATCH, path=path, on_progress=progress)
            )
            await restarted.wait()
            await first.stop(grace_s=0.1)
            assert not sending.done()
            await asyncio.sleep(0.3)
            async with running(cluster, port=int(address.rpartition(":")[2])):
                result = await sending
    assert result.record_count == progress.seen[-1] == RECORDS
    assert_all_stored(cluster, collection)


async def test_a_bad_record_ends_the_upsert_and_tells_how_many_are_stored(
    client: podroute.AsyncClient, collection: str
) -> None:
    good = [(str(n), [1.0] * DIMENSION, {}) for n in range(250)]
    with pytest.raises(podroute.InvalidArgument) as failed:
        await client.upsert_many(collection, [*good, ("bad", [1.0], {})], batch=100)
    assert failed.value.reason == "DIMENSION_MISMATCH"
    assert failed.value.metadata["acknowledged"] == "200"
    assert failed.value.metadata["field"] == "records[50].vector"
    assert (await client.count(collection)).count == 200
