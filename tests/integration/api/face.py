"""A server of the gRPC face over the in-memory backend, whole or with something wrong, and a channel to it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from itertools import count
from typing import Any

import grpc
import pytest
from google.rpc import error_details_pb2, status_pb2
from grpc_health.v1.health import aio as grpc_health
from no_exposures import NoExposures
from podroute.v1 import (
    collection_service_pb2_grpc,
    shard_map_service_pb2_grpc,
    vector_service_pb2_grpc,
)
from podroute_memory.backend import MemoryBackend
from podroute_router.api.server import bind, build_grpc_server
from podroute_router.collections import Collections, PodState
from podroute_router.config import Config, make_config
from podroute_router.domain import AccessPath, Collection, Deadline, Index, IndexProgress
from podroute_router.engine import Engine
from podroute_router.errors import AlreadyExists, Unavailable
from podroute_router.shard_map import Change, ShardMap

LIMIT_BYTES = 64 * 1024
POD = "memory"
CALL_TIMEOUT_S = 10.0


class OwnCatalog(NoExposures):
    """The shard map of one process: a catalog that no other router shares."""

    def __init__(self) -> None:
        self.current = ShardMap(1, frozenset({POD}))

    async def refresh(self, deadline: Deadline) -> ShardMap:
        return self.current

    async def add_collection(self, collection: Collection, deadline: Deadline) -> Collection:
        if collection.name in self.current.collections:
            raise AlreadyExists("COLLECTION_EXISTS", "there is one")
        self._apply(Change(collection.name, collection))
        return collection

    async def remove_collection(self, name: str, deadline: Deadline, *, generation: int | None = None) -> bool:
        self._apply(Change(name, None))
        return True

    def _apply(self, change: Change) -> None:
        self.current = self.current.changed(self.current.revision + 1, self.current.pods, [change])


class BrokenBackend(MemoryBackend):
    """A backend with a bug in it, and one that waits for a pod that does not answer."""

    async def count(self, *_: Any) -> int:
        raise KeyError("select secret from detail")

    async def delete(self, *_: Any) -> int:
        try:
            raise OSError("dsn of the pod")
        except OSError as error:
            raise Unavailable("CONNECTION_LOST", "the connection was lost", retry_after_s=0.25) from error

    async def fetch(self, collection: Collection, ids: Any, deadline: Deadline) -> Any:
        raise Unavailable("SEEN", "seconds left", facts={"remaining_s": deadline.remaining_s()})


class SlowCount(MemoryBackend):
    """A backend that counts when it is told to."""

    def __init__(self) -> None:
        super().__init__()
        self.counting = asyncio.Event()
        self.go_on = asyncio.Event()

    async def count(self, *_: Any) -> int:
        self.counting.set()
        await self.go_on.wait()
        return 42


class EndlessBuild(MemoryBackend):
    """A backend whose index builds end only when nobody wants them any more."""

    def __init__(self) -> None:
        super().__init__()
        self.ended = asyncio.Event()

    async def create_index(self, *_: Any) -> AsyncGenerator[IndexProgress | Index]:
        try:
            for done in count(1):
                yield IndexProgress(phase="loading tuples", blocks_done=done, blocks_total=0)
                await asyncio.sleep(0.01)
        finally:
            self.ended.set()


class Face:
    """A client of a server."""

    def __init__(
        self, address: str, channel: grpc.aio.Channel, server: grpc.aio.Server, health: grpc_health.HealthServicer
    ) -> None:
        self.address = address
        self.channel = channel
        self.server = server
        self.health = health
        self.vectors: Any = vector_service_pb2_grpc.VectorServiceStub(channel)
        self.collections: Any = collection_service_pb2_grpc.CollectionServiceStub(channel)
        self.maps: Any = shard_map_service_pb2_grpc.ShardMapServiceStub(channel)


def a_config(**router: Any) -> Config:
    return make_config(
        {
            "router": {"listen": "127.0.0.1:0", **router},
            "primary": {"dsn": "host=127.0.0.1"},
            "pods": {POD: {"dsn": "host=127.0.0.1"}},
            "limits": {"max_message_bytes": LIMIT_BYTES, "max_limit": 50, "max_records": 5000},
            "timeouts": {"default_s": 7.0},
        }
    )


@asynccontextmanager
async def serving(config: Config, backend: MemoryBackend | None = None) -> AsyncIterator[Face]:
    store, catalog, health = backend or MemoryBackend(), OwnCatalog(), grpc_health.HealthServicer()
    engine = Engine(maps=catalog, backends={AccessPath.DIRECT: store}, is_on_primary=config.is_on_primary)
    collections = Collections(
        config=config, maps=catalog, catalog=catalog, store=store, followers=[], pod_states={POD: PodState.SERVING}
    )
    server = build_grpc_server(config, engine, collections, health)
    address = f"127.0.0.1:{bind(server, config.router.listen)}"
    await server.start()
    try:
        async with grpc.aio.insecure_channel(address) as channel:
            yield Face(address, channel, server, health)
    finally:
        await server.stop(None)


async def failure(call: Any) -> tuple[grpc.StatusCode, error_details_pb2.ErrorInfo, status_pb2.Status]:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    packed = dict(caught.value.trailing_metadata() or ()).get("grpc-status-details-bin")
    assert packed is not None, f"no google.rpc.Status: {caught.value}"
    status = status_pb2.Status.FromString(packed)
    assert status.code == caught.value.code().value[0]
    assert status.message == caught.value.details()
    info = error_details_pb2.ErrorInfo()
    assert status.details[0].Unpack(info)
    assert info.domain == "podroute"
    return caught.value.code(), info, status
