"""A process with an empty gRPC handler: it reads nothing of the request and answers with constant bytes.

No Python server on grpc.aio answers a call for less, so its CPU time a call is the floor for the router's. It runs on
the router's event loop; asyncio's own makes no difference to it.
"""

from __future__ import annotations

import asyncio
import sys

import grpc
import uvloop
from podroute.v1 import route_pb2, vector_service_pb2

from benchmarks.children import say
from benchmarks.data import record_id

SERVICE, METHOD = "podroute.v1.VectorService", "Query"


def constant_answer(matches: int) -> bytes:
    """A response of the size that a router's has."""
    route = route_pb2.Route(path=route_pb2.ACCESS_PATH_DIRECT, pods=["alpha"], map_revision=2)
    response = vector_service_pb2.QueryResponse(route=route, complete=True)
    for i in range(matches):
        response.matches.add(id=record_id(i), distance=0.1 + i)
    return response.SerializeToString()


async def serve(matches: int) -> None:
    """Serves until stdin ends."""
    answer = constant_answer(matches)

    async def handle(_payload: bytes, _context: grpc.aio.ServicerContext[bytes, bytes]) -> bytes:
        return answer

    server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
    handler: grpc.RpcMethodHandler[bytes, bytes] = grpc.unary_unary_rpc_method_handler(handle)
    server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler(SERVICE, {METHOD: handler})])
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    say({"address": f"127.0.0.1:{port}"})
    await asyncio.to_thread(sys.stdin.read)
    await server.stop(0)


if __name__ == "__main__":
    uvloop.run(serve(int(sys.argv[1])))
