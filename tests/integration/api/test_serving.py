"""The server itself: health, reflection, its port, pings and its end."""

from __future__ import annotations

import asyncio
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_health.v1.health import aio as grpc_health
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from podroute.v1 import collection_service_pb2 as collections_pb
from podroute.v1 import vector_service_pb2 as vectors_pb
from podroute_memory.backend import MemoryBackend
from podroute_router.api.server import bind, build_grpc_server
from podroute_router.collections import Collections
from podroute_router.config import Config, ConfigError
from podroute_router.engine import Engine

from .face import CALL_TIMEOUT_S, POD, Face, OwnCatalog, SlowCount, a_config, serving


async def test_an_unknown_method_is_unimplemented(face: Face) -> None:
    for method in ("/podroute.v1.VectorService/Sing", "/podroute.v1.NoService/Query"):
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await face.channel.unary_unary(method)(b"", timeout=CALL_TIMEOUT_S)
        assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED


async def test_health_is_told_as_it_is_set(face: Face) -> None:
    stub: Any = health_pb2_grpc.HealthStub(face.channel)
    whole = await stub.Check(health_pb2.HealthCheckRequest(), timeout=CALL_TIMEOUT_S)
    assert whole.status == health_pb2.HealthCheckResponse.SERVING
    await face.health.set(f"pod:{POD}", health_pb2.HealthCheckResponse.NOT_SERVING)
    pod = await stub.Check(health_pb2.HealthCheckRequest(service=f"pod:{POD}"), timeout=CALL_TIMEOUT_S)
    assert pod.status == health_pb2.HealthCheckResponse.NOT_SERVING


async def reflected_services(face: Face) -> set[str]:
    stub: Any = reflection_pb2_grpc.ServerReflectionStub(face.channel)
    call = stub.ServerReflectionInfo(
        iter([reflection_pb2.ServerReflectionRequest(list_services="")]), timeout=CALL_TIMEOUT_S
    )
    return {service.name async for answer in call for service in answer.list_services_response.service}


async def test_reflection_tells_of_every_service(face: Face) -> None:
    assert await reflected_services(face) == {
        "podroute.v1.VectorService",
        "podroute.v1.CollectionService",
        "podroute.v1.ShardMapService",
        "grpc.health.v1.Health",
        "grpc.reflection.v1alpha.ServerReflection",
    }


async def test_a_stop_waits_for_the_calls_in_flight_and_not_for_a_health_watch() -> None:
    backend = SlowCount()
    async with serving(a_config(), backend) as face:
        await face.collections.CreateCollection(collections_pb.CreateCollectionRequest(name="docs", dimension=2))
        stub: Any = health_pb2_grpc.HealthStub(face.channel)
        watch = stub.Watch(health_pb2.HealthCheckRequest())
        assert (await watch.read()).status == health_pb2.HealthCheckResponse.SERVING
        call = face.vectors.Count(vectors_pb.CountRequest(collection="docs"), timeout=CALL_TIMEOUT_S)
        counting = asyncio.ensure_future(call)
        await backend.counting.wait()
        stopping = asyncio.create_task(face.server.stop(CALL_TIMEOUT_S))
        await asyncio.sleep(0.1)
        assert not stopping.done()
        backend.go_on.set()
        assert (await counting).count == 42
        await asyncio.wait_for(stopping, 2)


async def test_a_stop_cancels_what_has_not_ended_within_the_grace() -> None:
    backend = SlowCount()
    async with serving(a_config(), backend) as face:
        await face.collections.CreateCollection(collections_pb.CreateCollectionRequest(name="docs", dimension=2))
        counting = asyncio.ensure_future(face.vectors.Count(vectors_pb.CountRequest(collection="docs")))
        await backend.counting.wait()
        await asyncio.wait_for(face.server.stop(0.2), 2)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await counting
        assert caught.value.code() in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED)


async def test_reflection_can_be_switched_off() -> None:
    async with serving(a_config(reflection=False)) as face:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await reflected_services(face)
        assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED


async def test_a_port_that_is_taken_is_a_clear_error() -> None:
    async def build(config: Config) -> grpc.aio.Server:
        maps, store = OwnCatalog(), MemoryBackend()
        engine = Engine(maps=maps, backends={}, is_on_primary=config.is_on_primary)
        collections = Collections(config=config, maps=maps, catalog=maps, store=store, followers=[], pod_states={})
        return build_grpc_server(config, engine, collections, grpc_health.HealthServicer())

    config = a_config()
    first, second = await build(config), await build(config)
    try:
        port = bind(first, "127.0.0.1:0")
        assert port > 0
        with pytest.raises(ConfigError, match=f"router.listen: cannot listen on 127.0.0.1:{port}"):
            bind(second, f"127.0.0.1:{port}")
    finally:
        await first.stop(None)
        await second.stop(None)


async def test_a_client_may_ping_once_a_second_while_it_is_idle(face: Face) -> None:
    options = [
        ("grpc.keepalive_time_ms", 1000),
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.http2.max_pings_without_data", 0),
    ]
    async with grpc.aio.insecure_channel(face.address, options=options) as channel:
        await channel.channel_ready()
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(channel.wait_for_state_change(grpc.ChannelConnectivity.READY), timeout=4.5)
