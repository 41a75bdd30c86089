"""How a client connects, waits for a router, and is closed."""

from __future__ import annotations

import asyncio
import socket
import time

import grpc
import grpc.aio
import podroute
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_health.v1.health import aio as health_aio
from podroute.v1 import vector_service_pb2 as vectors

from .router import Either, Opener, Router


async def test_the_access_path_of_the_client_is_sent(opener: Opener, router: Router) -> None:
    await opener(router.address, path="fdw").ask("count", "docs")
    assert router.requests == [vectors.CountRequest(collection="docs", path="ACCESS_PATH_FDW")]


async def test_a_channel_option_of_the_caller_takes_the_place_of_ours(opener: Opener, router: Router) -> None:
    client = opener(router.address, options=[("grpc.max_send_message_length", 100)])
    with pytest.raises(podroute.ResourceExhausted):
        await client.ask("upsert", "docs", [("a", [0.5] * 100, {})])
    assert router.requests == []


@pytest.fixture
def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


async def test_a_router_that_is_not_there_is_unavailable_at_once(opener: Opener, free_port: int) -> None:
    began = time.monotonic()
    with pytest.raises(podroute.Unavailable) as failed:
        await opener(f"127.0.0.1:{free_port}").ask("count", "docs")
    assert failed.value.reason == ""
    assert time.monotonic() - began < 5.0


async def test_a_client_waits_for_a_router_that_comes_up_later(opener: Opener, free_port: int) -> None:
    client = opener(f"127.0.0.1:{free_port}")
    with pytest.raises(podroute.DeadlineExceeded, match=r"did not serve within 0\.2 s"):
        await client.ask("wait_until_serving", 0.2)
    waiting = asyncio.create_task(client.ask("wait_until_serving", 10.0, service="pod:docs"))
    health = health_aio.HealthServicer()
    await health.set("pod:docs", health_pb2.HealthCheckResponse.NOT_SERVING)
    server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
    health_pb2_grpc.add_HealthServicer_to_server(health, server)
    server.add_insecure_port(f"127.0.0.1:{free_port}")
    await server.start()
    try:
        await asyncio.sleep(0.5)
        assert not waiting.done()
        await health.set("pod:docs", health_pb2.HealthCheckResponse.SERVING)
        await asyncio.wait_for(waiting, 5.0)
        with pytest.raises(podroute.NotFound):
            await client.ask("wait_until_serving", 5.0, service="pod:other")
    finally:
        await server.stop(None)


async def test_a_closed_client_says_so(client: Either, router: Router) -> None:
    await client.ask("count", "docs")
    await client.ask("close")
    await client.ask("close")
    with pytest.raises(RuntimeError, match="is closed"):
        await client.ask("count", "docs")
    with pytest.raises(RuntimeError, match="is closed"):
        await client.ask("create_index", "docs")


async def test_clients_are_context_managers(router: Router) -> None:
    async with podroute.AsyncClient(router.address) as asynchronous:
        assert (await asynchronous.count("docs")).count == 3

    def block() -> podroute.Client:
        with podroute.Client(router.address) as blocking:
            assert blocking.count("docs").count == 3
        return blocking

    for closed in (asynchronous, Either(await asyncio.to_thread(block)).client):
        with pytest.raises(RuntimeError, match="is closed"):
            await Either(closed).ask("count", "docs")


def test_an_async_client_can_be_made_before_the_loop_runs() -> None:
    assert repr(podroute.AsyncClient("127.0.0.1:1")) == "AsyncClient('127.0.0.1:1')"
