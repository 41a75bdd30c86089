"""A gRPC server whose stop waits for podroute's own calls, and for no others.

gRPC waits for every call, and a health Watch or a reflection stream has no end: it would hold each stop for the whole
grace.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

import grpc

from podroute_router.api.admission import Admission


class CallsInFlight:
    """How many calls of podroute's services are in flight, their answers on the way included."""

    def __init__(self) -> None:
        self._count = 0
        self.stopping = asyncio.Event()
        """The server takes no more calls: streams that would go on for long end now."""
        self._none = asyncio.Event()
        self._none.set()

    def add(self, context: grpc.aio.ServicerContext[bytes, bytes]) -> None:
        """A call began; gRPC says when its answer is out."""
        self._count += 1
        self._none.clear()
        context.add_done_callback(self._remove)  # type: ignore[arg-type]  # the stub forgot to be a Protocol

    async def wait_for_none(self) -> None:
        """Returns when no call is in flight."""
        await self._none.wait()

    def _remove(self, _: object) -> None:
        self._count -= 1
        if not self._count:
            self._none.set()


class DrainingServer(grpc.aio.Server):
    """A server with this one concern added.

    Args:
        inner: the server.
        calls: podroute's own; its handlers add to it.
        admission: runs as long as the server does.
    """

    def __init__(self, inner: grpc.aio.Server, calls: CallsInFlight, admission: Admission) -> None:
        self._inner = inner
        self._calls = calls
        self._admission = admission

    async def stop(self, grace: float | None) -> None:
        """Takes no more calls, gives those in flight `grace` seconds to end, and cancels what is left."""
        self._calls.stopping.set()
        self._admission.close()
        if not grace:
            await self._inner.stop(None)
            return
        stopping = asyncio.create_task(self._inner.stop(grace))
        drained = asyncio.create_task(self._calls.wait_for_none())
        await asyncio.wait({stopping, drained}, return_when=asyncio.FIRST_COMPLETED)
        drained.cancel()
        await self._inner.stop(None)
        await stopping

    async def start(self) -> None:
        """See `grpc.aio.Server`."""
        await self._inner.start()
        self._admission.start()

    def add_generic_rpc_handlers(self, generic_rpc_handlers: Iterable[grpc.GenericRpcHandler]) -> None:
        """See `grpc.aio.Server`."""
        self._inner.add_generic_rpc_handlers(generic_rpc_handlers)

    def add_insecure_port(self, address: str) -> int:
        """See `grpc.aio.Server`."""
        return self._inner.add_insecure_port(address)

    def add_secure_port(self, address: str, server_credentials: grpc.ServerCredentials) -> int:
        """See `grpc.aio.Server`."""
        return self._inner.add_secure_port(address, server_credentials)

    async def wait_for_termination(self, timeout: float | None = None) -> bool:  # noqa: ASYNC109  (gRPC's signature)
        """See `grpc.aio.Server`."""
        return await self._inner.wait_for_termination(timeout)
