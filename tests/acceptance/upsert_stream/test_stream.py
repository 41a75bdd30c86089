"""A stream of upserts: answered after commit and in order, and bounded in memory and time."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from typing import Any, NamedTuple

import grpc
import podroute
import pytest
from podroute_router.api.upsert_stream import MOST_AHEAD
from podroute_router.embedded import Cluster
from podroute_router.server import Router

from .harness import (
    BUFFERED,
    DIMENSION,
    LARGE_METADATA,
    LARGE_REQUESTS,
    PATHS,
    POD,
    Request,
    Response,
    a_request,
    failure,
    running,
    stored,
    streaming,
)


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
