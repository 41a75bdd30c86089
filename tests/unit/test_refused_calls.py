"""A call that is refused for overload is counted: else a dashboard would show an overload as calm."""

from __future__ import annotations

from typing import Any

import grpc
import pytest
from google.rpc import error_details_pb2
from grpc_health.v1.health import aio as grpc_health
from grpc_status import rpc_status
from podroute.v1 import vector_service_pb2, vector_service_pb2_grpc
from podroute_router.api.admission import Admission
from podroute_router.api.server import build_grpc_server
from podroute_router.config import make_config
from podroute_router.metrics.definitions import Metrics
from prometheus_client import generate_latest
from scraped import Scrape


async def test_a_refused_call_is_counted_by_its_method_and_code(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Admission, "refuses", lambda _: True)
    config = make_config({"primary": {"dsn": "host=127.0.0.1"}})
    metrics, nobody = Metrics(), object()
    unused: Any = nobody
    server = build_grpc_server(config, unused, unused, grpc_health.HealthServicer(), metrics=metrics)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}", [("grpc.enable_retries", 0)]) as channel:
            stub: Any = vector_service_pb2_grpc.VectorServiceStub(channel)
            for _ in range(3):
                with pytest.raises(grpc.aio.AioRpcError) as refused:
                    await stub.Query(vector_service_pb2.QueryRequest())
                assert reason(refused.value) == "ROUTER_BUSY"
    finally:
        await server.stop(None)
    found = Scrape(generate_latest(metrics.registry).decode())
    labels = {"method": "VectorService/Query", "pod": "", "path": "", "code": "RESOURCE_EXHAUSTED"}
    assert found.total("podroute_calls_total", **labels) == 3
    assert found.total("podroute_calls_total") == 3
    assert found.total("podroute_call_seconds_count") == 0


def reason(error: grpc.aio.AioRpcError) -> str:
    info = error_details_pb2.ErrorInfo()
    status = rpc_status.from_call(error)
    assert status is not None
    assert any(detail.Unpack(info) for detail in status.details)
    return info.reason
