"""Routers and streams of upserts to them, and what is stored in the end."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import grpc
import psycopg
import pytest
from google.rpc import error_details_pb2
from grpc_status import rpc_status
from podroute.v1 import route_pb2, vector_service_pb2, vector_service_pb2_grpc
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
