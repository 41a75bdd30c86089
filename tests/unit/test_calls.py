"""What a call leaves behind in the router."""

from __future__ import annotations

import gc
import weakref

import grpc
import pytest
from podroute.v1 import vector_service_pb2
from podroute_router.api.admission import Admission
from podroute_router.api.call_log import uncounted
from podroute_router.api.calls import Method
from podroute_router.api.draining import CallsInFlight
from podroute_router.api.held_bytes import HeldBytes
from podroute_router.domain import Deadline
from podroute_router.errors import Unreachable

CALLS = 20


async def test_a_call_that_fails_leaves_nothing_to_the_garbage_collector() -> None:
    """Neither its error nor a frame. gRPC keeps the exception that ends a call; a cycle of its own keeps that."""
    raised: list[weakref.ref[Unreachable]] = []

    def down() -> Unreachable:
        error = Unreachable("POD_DOWN", "it does not answer")
        raised.append(weakref.ref(error))
        return error

    async def fail(_: object, __: Deadline) -> vector_service_pb2.QueryResponse:
        raise down()

    calls = CallsInFlight()
    method = Method(
        "VectorService/Query",
        vector_service_pb2.QueryRequest,
        max_message_bytes=1024,
        default_deadline_s=5,
        calls=calls,
        admission=Admission(queue_s=1),
        held=HeldBytes(2**20),
        ended=uncounted,
    )
    server = grpc.aio.server()
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("s", {"M": method.unary(fail)}),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    gc.disable()
    try:
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            for _ in range(CALLS):
                with pytest.raises(grpc.aio.AioRpcError, match="it does not answer") as failed:
                    await channel.unary_unary("/s/M")(b"")
                assert failed.value.code() is grpc.StatusCode.UNAVAILABLE
        await calls.wait_for_none()
        assert len(raised) == CALLS
        assert [ref() for ref in raised] == [None] * CALLS
    finally:
        gc.enable()
        await server.stop(None)
