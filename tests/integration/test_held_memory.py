"""What callers do not take, and what streams keep, is bounded; nobody else's calls end for it but large ones."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import grpc
import podroute
import pytest
import pytest_asyncio
from podroute.v1 import record_pb2, vector_service_pb2, vector_service_pb2_grpc
from podroute_router.api import held_bytes
from podroute_router.api.server import STREAM_BYTES
from podroute_router.config import make_config
from podroute_router.embedded import Cluster
from podroute_router.server import Router
from raw_caller import RawCaller
from servers import router_values

NAME = "held"
MIB = 1024 * 1024
HELD = 16 * MIB
"""Half of it for messages, half for streams: one scan, but not two."""
IDS = [f"r{number}" for number in range(64)]
"""Of 16 KiB each: a MiB together."""
FETCH = vector_service_pb2.FetchRequest(collection=NAME, ids=IDS)
LARGE = vector_service_pb2.UpsertStreamRequest(
    collection=NAME,
    records=[
        record_pb2.Record(id=f"large{number}", vector={"values": [1.0]}, metadata=f'{{"text": "{"x" * 1_000_000}"}}')
        for number in range(4)
    ],
)
SCAN = vector_service_pb2.ScanRequest(collection=NAME, include_metadata=True)


@pytest_asyncio.fixture(scope="module")
async def collection(client: podroute.AsyncClient) -> AsyncIterator[str]:
    await client.create_collection(NAME, dimension=1, pod="alpha")
    for first in range(0, 1024, 64):
        records = [(f"r{first + number}", [1.0], {"text": "x" * 16_384}) for number in range(64)]
        await client.upsert(NAME, records)
    yield NAME
    await client.delete_collection(NAME)


@asynccontextmanager
async def small_router(cluster: Cluster, held: int = HELD) -> AsyncIterator[Router]:
    router = await Router.start(make_config(router_values(cluster) | {"limits": {"held_bytes": held}}))
    try:
        yield router
    finally:
        await router.stop(grace_s=0)


async def until(holds: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(20):
        while not await holds():
            await asyncio.sleep(0.1)


async def is_served(client: podroute.AsyncClient) -> bool:
    """A large answer; False where the router has no room for it."""
    try:
        await client.fetch(NAME, IDS)
    except podroute.ResourceExhausted as error:
        if error.reason != "ROUTER_FULL" or not error.retry_after_s:
            raise
        return False
    return True


@pytest.mark.usefixtures("collection")
async def test_answers_that_nobody_takes_leave_no_room_for_more_until_their_callers_go(cluster: Cluster) -> None:
    """The control is a router with room for all of them."""
    for held, is_bounded in ((HELD, True), (64 * HELD, False)):
        async with small_router(cluster, held) as router, podroute.AsyncClient(router.address) as client:
            with RawCaller(router.address) as caller:
                for _ in range(20):
                    caller.call("VectorService/Fetch", FETCH, timeout_s=100_000)
                await asyncio.sleep(0.5)

                async def is_full(client: podroute.AsyncClient = client) -> bool:
                    return not await is_served(client)

                if is_bounded:
                    await until(is_full)
                    assert not await is_served(client)
                else:
                    assert await is_served(client)
                assert (await client.query(NAME, [1.0], limit=1)).matches  # small ones go on
            await until(lambda client=client: is_served(client))


@pytest.mark.usefixtures("collection")
async def test_a_large_answer_is_taken_in_time_or_dropped(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(held_bytes, "TAKEN_S", 3.0)
    async with small_router(cluster) as router, podroute.AsyncClient(router.address) as client:
        with RawCaller(router.address) as caller:
            for _ in range(20):
                caller.call("VectorService/Fetch", FETCH, timeout_s=100_000)

            async def is_full() -> bool:
                return not await is_served(client)

            await until(is_full)
            await until(lambda: is_served(client))


@pytest.mark.usefixtures("collection")
async def test_what_open_streams_keep_is_bounded(cluster: Cluster) -> None:
    async with (
        small_router(cluster) as router,
        podroute.AsyncClient(router.address) as client,
        grpc.aio.insecure_channel(router.address) as channel,
    ):
        stub: Any = vector_service_pb2_grpc.VectorServiceStub(channel)
        with RawCaller(router.address) as caller:
            caller.call("VectorService/Scan", SCAN, timeout_s=100_000)
            await asyncio.sleep(1.0)  # until it waits for its caller
            assert await refused(stub.Scan(SCAN))
            assert await refused(stub.UpsertStream(iter([LARGE])))
            assert await is_served(client)  # messages have a half of their own

        async def is_free() -> bool:
            return not await refused(stub.Scan(SCAN))

        await until(is_free)
        assert not await refused(stub.UpsertStream(iter([LARGE])))


async def refused(stream: Any) -> bool:
    try:
        await stream.read()
    except grpc.aio.AioRpcError as error:
        if error.code() is not grpc.StatusCode.RESOURCE_EXHAUSTED:
            raise
        return True
    finally:
        stream.cancel()
    return False


def test_a_scan_keeps_what_is_counted_for_it() -> None:
    assert STREAM_BYTES["Scan"] < HELD / 2 < 2 * STREAM_BYTES["Scan"]


@pytest.mark.usefixtures("collection")
async def test_a_scan_that_its_caller_leaves_half_taken_is_counted(cluster: Cluster) -> None:
    ends: list[tuple[str, str]] = []
    async with small_router(cluster) as router:

        async def count() -> bool:
            samples = [s for m in router.metrics.registry.collect() if m.name == "podroute_calls" for s in m.samples]
            ends[:] = [
                (s.labels["code"], s.labels["pod"]) for s in samples if s.labels["method"] == "VectorService/Scan"
            ]
            return bool(ends)

        with RawCaller(router.address) as caller:
            caller.call("VectorService/Scan", SCAN, timeout_s=100_000)
            await asyncio.sleep(1.0)  # until it waits for its caller
        await until(count)
    assert ends == [("CANCELLED", "alpha")]
