"""The gRPC server: its services, health, reflection and transport settings."""

from __future__ import annotations

import re
import resource
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Final

import grpc
from google.protobuf.descriptor import ServiceDescriptor
from google.protobuf.internal import api_implementation
from google.protobuf.message_factory import GetMessageClass
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_health.v1.health import aio as grpc_health
from grpc_reflection.v1alpha import reflection
from podroute.v1 import collection_service_pb2, shard_map_service_pb2, vector_service_pb2

from podroute_router.api.admission import Admission, Admitted
from podroute_router.api.calls import Method
from podroute_router.api.draining import CallsInFlight, DrainingServer
from podroute_router.api.held_bytes import HeldBytes
from podroute_router.api.scan_stream import PAGE_BYTES, RESPONSE_BYTES
from podroute_router.api.servicers import CollectionService, ShardMapService, VectorService
from podroute_router.collections import Collections
from podroute_router.config import Config, ConfigError
from podroute_router.engine import Engine
from podroute_router.metrics.calls import BatchMeter, CallMeter, CurrentMap
from podroute_router.metrics.definitions import Metrics
from podroute_router.shard_map import ShardMap

TRANSPORT_FACTOR: Final = 2
TRANSPORT_LEAST_BYTES: Final = 64 * 1024 * 1024
"""A request beyond `max_message_bytes` is read, and refused with a reason, up to twice that or 64 MiB, whichever is
more. Beyond that gRPC refuses it unread with RESOURCE_EXHAUSTED and no ErrorInfo, so that memory stays bounded."""

MIN_PING_INTERVAL_MS: Final = 500
"""Clients may send keepalive pings as often as this, with calls in flight or without."""

PING_INTERVAL_MS: Final = 30_000
"""So often the router pings a client that is silent; gRPC would every two hours."""
PING_TIMEOUT_MS: Final = 10_000
"""A client that does not answer within this is gone, and its calls end."""

STREAM_BYTES: Final = {"Scan": PAGE_BYTES + RESPONSE_BYTES, "UpsertStream": 64 * 1024}
"""What an open stream keeps, as measured: docs/operations.md. What was read of a stream of upserts is added."""

_INT32_MAX: Final = 2**31 - 1
_HUMP: Final = re.compile(r"(?<!^)(?=[A-Z])")


def build_grpc_server(
    config: Config,
    engine: Engine,
    collections: Collections,
    health: grpc_health.HealthServicer,
    *,
    share_port: bool = False,
    metrics: Metrics | None = None,
    current_map: CurrentMap = ShardMap,
) -> grpc.aio.Server:
    """A server with every service, neither bound nor started. Needs a running event loop.

    Its `stop` waits for calls of podroute's services, not for a health Watch or a reflection stream, which do not end.

    Args:
        config: limits, deadlines and the reflection switch.
        engine: serves the data plane.
        collections: serves the control plane.
        health: its states are the caller's to set.
        share_port: other processes may listen on the port too, if they ask for the same.
        metrics: count the calls; None makes some that nobody sees.
        current_map: the shard map, for the pods of calls that no pod has answered.
    """
    if api_implementation.Type() != "upb":
        raise ConfigError(f"protobuf runs on {api_implementation.Type()!r}, which is far too slow; install it with upb")
    calls, admission = CallsInFlight(), Admission(queue_s=config.timeouts.queue_s)
    metrics = metrics or Metrics()
    server = DrainingServer(grpc.aio.server(options=_options(config, share_port=share_port)), calls, admission)
    services: Mapping[ServiceDescriptor, object] = {
        _service(vector_service_pb2, "VectorService"): VectorService(
            engine,
            config.limits,
            request_s=config.timeouts.default_s,
            page_s=config.timeouts.statement_s,
            stopping=calls.stopping,
            query_ended=BatchMeter(metrics, current_map).ended,
        ),
        _service(collection_service_pb2, "CollectionService"): CollectionService(collections),
        _service(shard_map_service_pb2, "ShardMapService"): ShardMapService(collections, engine, config.limits),
    }
    meter_of = partial(CallMeter, metrics, current_map=current_map)
    messages, streams = (HeldBytes(config.limits.held_bytes // 2) for _ in range(2))
    server.add_generic_rpc_handlers(
        [
            _handler(
                descriptor,
                servicer,
                config,
                calls=calls,
                admission=admission,
                messages=messages,
                streams=streams,
                meter_of=meter_of,
            )
            for descriptor, servicer in services.items()
        ]
    )
    health_pb2_grpc.add_HealthServicer_to_server(health, server)
    if config.router.reflection:
        names = [descriptor.full_name for descriptor in services]
        names += [_service(health_pb2, "Health").full_name, reflection.SERVICE_NAME]
        reflection.enable_server_reflection(names, server)
    return server


def callers_max() -> int:
    """How many connections of callers are taken: half of the descriptors, as the pods' connections need some, too."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return _INT32_MAX if soft == resource.RLIM_INFINITY else min(soft // 2, _INT32_MAX)


def bind(server: grpc.aio.Server, listen: str) -> int:
    """Binds the server to `address:port` and returns the port; raises ConfigError where that is taken."""
    try:
        port = server.add_insecure_port(listen)
    except RuntimeError as error:
        raise ConfigError(f"router.listen: cannot listen on {listen}; is the port taken?") from error
    if port == 0:
        raise ConfigError(f"router.listen: cannot listen on {listen}; is the port taken?")
    return port


def _options(config: Config, *, share_port: bool) -> list[tuple[str, int]]:
    most = config.limits.max_message_bytes
    return [
        ("grpc.compression_enabled_algorithms_bitset", 1),  # none: vectors do not shrink, and 61 KB could become 2 GB
        ("grpc.so_reuseport", int(share_port)),  # always on, two routers would share a port in silence
        ("grpc.max_receive_message_length", min(max(TRANSPORT_FACTOR * most, TRANSPORT_LEAST_BYTES), _INT32_MAX)),
        ("grpc.max_send_message_length", -1),  # `calls.Method` has the bound, and a reason
        ("grpc.keepalive_time_ms", PING_INTERVAL_MS),
        ("grpc.keepalive_timeout_ms", PING_TIMEOUT_MS),
        ("grpc.http2.ping_timeout_ms", PING_TIMEOUT_MS),
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.http2.min_ping_interval_without_data_ms", MIN_PING_INTERVAL_MS),
        ("grpc.http2.max_ping_strikes", 0),
        ("grpc.max_allowed_incoming_connections", callers_max()),
    ]


def _service(module: Any, name: str) -> ServiceDescriptor:
    descriptor: ServiceDescriptor = module.DESCRIPTOR.services_by_name[name]
    return descriptor


def _handler(
    descriptor: ServiceDescriptor,
    servicer: object,
    config: Config,
    *,
    calls: CallsInFlight,
    admission: Admission,
    messages: HeldBytes,
    streams: HeldBytes,
    meter_of: Callable[[str], CallMeter],
) -> grpc.GenericRpcHandler:
    """The service's handler; `CreateIndex` of the contract is `create_index` of the servicer."""
    own_deadlines_s = {
        "CreateIndex": config.timeouts.index_s,
        "DropIndex": config.timeouts.index_s,
        "ExposeCollection": config.timeouts.index_s,
        "UnexposeCollection": config.timeouts.index_s,
        "Scan": config.timeouts.stream_s,
        "UpsertStream": config.timeouts.stream_s,
    }
    handlers, refused_of = {}, {}
    for rpc in descriptor.methods:
        name = f"{descriptor.name}/{rpc.name}"
        meter = meter_of(name)
        refused_of[rpc.name] = meter.refused
        method = Method(
            name,
            GetMessageClass(rpc.input_type),
            max_message_bytes=config.limits.max_message_bytes,
            calls=calls,
            admission=admission,
            held=streams if rpc.name in STREAM_BYTES else messages,
            holds_bytes=STREAM_BYTES.get(rpc.name, 0),
            is_owed=rpc.name == "Delete",
            ended=meter.ended,
            default_deadline_s=own_deadlines_s.get(rpc.name, config.timeouts.default_s),
        )
        run = getattr(servicer, _HUMP.sub("_", rpc.name).lower())
        kind = method.duplex if rpc.client_streaming else method.streaming if rpc.server_streaming else method.unary
        handlers[rpc.name] = kind(run)
    inner = grpc.method_handlers_generic_handler(descriptor.full_name, handlers)
    return Admitted(inner, admission, refused=lambda path: refused_of[path.rpartition("/")[2]]())
