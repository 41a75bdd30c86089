"""How a client's channel behaves: the gRPC service config and the channel options, for clients in any language.

Retries are gRPC's own: of UNAVAILABLE and CANCELLED, and only of calls that can be made twice. Writes of the data plane
can: an upsert replaces, a delete deletes what is left, and so on (the count is then that of the last attempt). Calls
that change collections, indexes or exposures are never made again unasked.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, Final

MAX_MESSAGE_BYTES: Final = 64 * 1024 * 1024
"""Largest message, in and out; the router's default as well."""

KEEPALIVE_TIME_MS: Final = 1_000
"""Between two keepalive pings while a call is in flight. A server must be told to accept them this often."""

KEEPALIVE_TIMEOUT_MS: Final = 2_000
"""A connection whose ping is not answered within this is dead."""

SERVICE_CONFIG: Final[dict[str, Any]] = {
    # A name with several addresses is several routers: use them all.
    "loadBalancingConfig": [{"round_robin": {}}],
    "methodConfig": [
        {
            "name": [
                {"service": "podroute.v1.VectorService"},
                {"service": "podroute.v1.CollectionService", "method": "GetCollection"},
                {"service": "podroute.v1.CollectionService", "method": "ListCollections"},
                {"service": "podroute.v1.CollectionService", "method": "ListIndexes"},
                {"service": "podroute.v1.CollectionService", "method": "ListAdoptableTables"},
                {"service": "podroute.v1.CollectionService", "method": "ListExposures"},
                {"service": "podroute.v1.ShardMapService"},
            ],
            "retryPolicy": {
                # 0.75 s in all (5 is the most that gRPC makes): longer than a channel waits before it connects again.
                "maxAttempts": 5,
                "initialBackoff": "0.05s",
                "maxBackoff": "1s",
                "backoffMultiplier": 2,
                # CANCELLED, when it is not the caller's own doing, is a router that stopped before it took the call.
                "retryableStatusCodes": ["UNAVAILABLE", "CANCELLED"],
            },
        },
        # Not retried by gRPC, which would keep all that is sent until the first answer; `upsert_many` resumes instead.
        {"name": [{"service": "podroute.v1.VectorService", "method": "UpsertStream"}]},
    ],
    # A failed attempt costs a token, a success earns a tenth; below half of them nothing is retried, so that retries do
    # not bury routers that are in trouble.
    "retryThrottling": {"maxTokens": 100, "tokenRatio": 0.1},
}
"""The service config, to be published as JSON."""

CHANNEL_OPTIONS: Final[dict[str, str | int]] = {
    "grpc.service_config": json.dumps(SERVICE_CONFIG),
    "grpc.enable_retries": 1,
    # A request beyond this buffer is not retried; the default of 256 KiB would leave out most upserts.
    "grpc.per_rpc_retry_buffer_size": MAX_MESSAGE_BYTES,
    "grpc.max_send_message_length": MAX_MESSAGE_BYTES,
    "grpc.max_receive_message_length": MAX_MESSAGE_BYTES,
    "grpc.keepalive_time_ms": KEEPALIVE_TIME_MS,
    "grpc.keepalive_timeout_ms": KEEPALIVE_TIMEOUT_MS,
    "grpc.http2.ping_timeout_ms": KEEPALIVE_TIMEOUT_MS,  # without it gRPC 1.85 waits a minute for the answer
    "grpc.keepalive_permit_without_calls": 0,
    # While a call waits for a slow pod no data flows; pings must go on all the same.
    "grpc.http2.max_pings_without_data": 0,
    # A router that was restarted is found again soon, before retries end; gRPC would wait up to two minutes.
    "grpc.initial_reconnect_backoff_ms": 200,
    "grpc.max_reconnect_backoff_ms": 500,
    "grpc.min_reconnect_backoff_ms": 2_000,  # so gRPC calls the bound on one attempt: else 20 s into a dead line
    # Routers are near: calls do not go through a web proxy that the environment names.
    "grpc.enable_http_proxy": 0,
}
"""Channel arguments of gRPC core, used by the C++, Python, Ruby and PHP libraries."""


def channel_options(overrides: Sequence[tuple[str, Any]] = ()) -> list[tuple[str, Any]]:
    """The channel options, with the caller's in place of those of the same name."""
    return list({**CHANNEL_OPTIONS, **dict(overrides)}.items())
