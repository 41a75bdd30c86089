"""A process with one caller of the cheapest call there is: a fetch of one record that does not exist.

Its calls go over several connections in turn, as a port's workers share connections, not calls. Commands:
{address, collection, window} puts load on and answers {seconds}.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable

import grpc
from podroute.v1 import route_pb2, vector_service_pb2

from benchmarks.children import say
from benchmarks.closed_loop import CALL_TIMEOUT_S, Window

METHOD = "/podroute.v1.VectorService/Fetch"
CONNECTIONS = 8


def main() -> None:
    """Obeys commands until stdin ends."""
    services: dict[str, list[Callable[..., bytes]]] = {}
    say({"ready": True})
    for line in sys.stdin:
        command = json.loads(line)
        if command["address"] not in services:
            services[command["address"]] = _connected(command["address"])
        rpcs = services[command["address"]]
        payload = vector_service_pb2.FetchRequest(
            collection=command["collection"], ids=["none"], path=route_pb2.ACCESS_PATH_DIRECT
        ).SerializeToString()

        def call(number: int, rpcs: list[Callable[..., bytes]] = rpcs, payload: bytes = payload) -> bytes:
            return rpcs[number % len(rpcs)](payload, timeout=CALL_TIMEOUT_S)

        say({"seconds": Window(*command["window"]).timed(call, 0)})


def _connected(address: str) -> list[Callable[..., bytes]]:
    # Channels of one process share a connection unless told.
    options = [("grpc.use_local_subchannel_pool", 1)]
    # Without serializers the bytes pass as they are.
    return [grpc.insecure_channel(address, options=options).unary_unary(METHOD) for _ in range(CONNECTIONS)]


if __name__ == "__main__":
    main()
