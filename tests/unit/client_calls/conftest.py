"""A server to be asked, and each of the clients in turn."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import grpc
import grpc.aio
import podroute
import pytest
from podroute.v1 import collection_service_pb2_grpc, shard_map_service_pb2_grpc, vector_service_pb2_grpc

from .router import Either, Opener, Router


@pytest.fixture
async def router() -> AsyncIterator[Router]:
    router = Router()
    server = grpc.aio.server(options=[("grpc.so_reuseport", 0), ("grpc.max_receive_message_length", 64 * 1024 * 1024)])
    vector_service_pb2_grpc.add_VectorServiceServicer_to_server(router, server)
    collection_service_pb2_grpc.add_CollectionServiceServicer_to_server(router, server)
    shard_map_service_pb2_grpc.add_ShardMapServiceServicer_to_server(router, server)
    router.address = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    await server.start()
    yield router
    await server.stop(None)


@pytest.fixture(params=[podroute.Client, podroute.AsyncClient], ids=["blocking", "asyncio"])
async def opener(request: pytest.FixtureRequest) -> AsyncIterator[Opener]:
    opened: list[Either] = []

    def open_client(address: str, **settings: Any) -> Either:
        opened.append(Either(request.param(address, **settings)))
        return opened[-1]

    yield open_client
    for each in opened:
        await each.ask("close")


@pytest.fixture
def client(opener: Opener, router: Router) -> Either:
    return opener(router.address)
