"""The asyncio client: the operations, made over a grpc.aio channel."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import suppress
from types import GenericAlias
from typing import Any, Concatenate, ParamSpec, Self, TypeVar, get_args

import grpc
import grpc.aio
from google.protobuf.message import Message

from podroute.calling import DEFAULT_TIMEOUT_S, HEALTH_INTERVAL_S, Caller, Operations, countdown, described, last
from podroute.calls import Call, Page
from podroute.control_plane import ControlPlane, check_health
from podroute.data_plane import DataPlane
from podroute.errors import DeadlineExceeded, Unavailable, from_rpc_error

A = TypeVar("A", bound=Message)
T = TypeVar("T")
P = ParamSpec("P")


def _unary(
    build: Callable[Concatenate[Operations, P], Call[A, T]],
) -> Callable[Concatenate[AsyncClient, P], Coroutine[Any, Any, T]]:
    async def method(client: AsyncClient, /, *args: P.args, **kwargs: P.kwargs) -> T:
        return await client._unary(build(client._operations, *args, **kwargs))

    return described(method, build, lambda result: result)


def _paged(
    build: Callable[Concatenate[Operations, P], Call[A, Page[A, T]]],
) -> Callable[Concatenate[AsyncClient, P], AsyncIterator[T]]:
    async def method(client: AsyncClient, /, *args: P.args, **kwargs: P.kwargs) -> AsyncIterator[T]:
        call: Call[A, Page[A, T]] | None = build(client._operations, *args, **kwargs)
        while call is not None:
            page = await client._unary(call)
            for item in page.items:
                yield item
            call = page.next

    return described(method, build, lambda page: GenericAlias(AsyncIterator, get_args(page)[1]))


def _streamed(
    build: Callable[Concatenate[Operations, P], Call[A, T | None]],
) -> Callable[Concatenate[AsyncClient, P], Coroutine[Any, Any, T]]:
    async def method(client: AsyncClient, /, *args: P.args, **kwargs: P.kwargs) -> T:
        return await client._streamed(build(client._operations, *args, **kwargs))

    return described(method, build, lambda result: get_args(result)[0])


class AsyncClient(Caller):
    """The same as `Client`, for asyncio. It belongs to the event loop of its first call.

    Args:
        address: `host:port` of the router, or any gRPC target, such as `dns:///routers:50051`.
        timeout_s: deadline of a call that sets none, in seconds.
        path: access path of a call that names none.
        credentials: for TLS; default: none.
        options: gRPC channel options, in place of those of `podroute.service_config`.

    Every method raises a subclass of `podroute.Error`; `podroute.errors` has the tree.
    """

    _opened: grpc.aio.Channel | None = None

    upsert = _unary(DataPlane.upsert)
    query = _unary(DataPlane.query)
    fetch = _unary(DataPlane.fetch)
    delete = _unary(DataPlane.delete)
    count = _unary(DataPlane.count)
    create_collection = _unary(ControlPlane.create_collection)
    get_collection = _unary(ControlPlane.get_collection)
    list_collections = _paged(ControlPlane.list_collections)
    delete_collection = _unary(ControlPlane.delete_collection)
    create_index = _streamed(ControlPlane.create_index)
    shard_map = _unary(ControlPlane.shard_map)
    pods = _unary(ControlPlane.pods)

    async def wait_until_serving(self, timeout: float = DEFAULT_TIMEOUT_S, *, service: str = "") -> None:  # noqa: ASYNC109
        """Waits for the router to be there and healthy.

        Args:
            timeout: seconds, after which DeadlineExceeded is raised.
            service: a service of the router's health, such as `pod:docs`; default: the router as a whole.
        """
        for left_s in countdown(timeout):
            with suppress(Unavailable, DeadlineExceeded):
                if await self._unary(check_health(service, left_s)):
                    return
            await asyncio.sleep(min(HEALTH_INTERVAL_S, left_s))
        raise self._not_serving(service, timeout)

    async def close(self) -> None:
        """Closes the channel; calls in flight are cancelled. Closing twice does nothing."""
        self._closed = True
        if self._opened is not None:
            await self._opened.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    def _channel(self) -> grpc.aio.Channel:
        self._check_open()
        if self._opened is None:  # on the first call: grpc.aio binds a channel to the running loop
            if self._credentials is None:
                self._opened = grpc.aio.insecure_channel(self._address, self._options)
            else:
                self._opened = grpc.aio.secure_channel(self._address, self._credentials, self._options)
        return self._opened

    async def _unary(self, call: Call[A, T]) -> T:
        rpc = self._rpc(call, self._channel().unary_unary)
        try:
            answer: A = await rpc(call.request, timeout=call.timeout_s, wait_for_ready=call.wait_for_ready)
        except grpc.RpcError as error:
            raise from_rpc_error(error) from error
        return call.decode(answer)

    async def _streamed(self, call: Call[A, T | None]) -> T:
        found: T | None = None
        stream = self._rpc(call, self._channel().unary_stream)(call.request, timeout=call.timeout_s)
        try:
            async for answer in stream:
                found = call.decode(answer) or found
        except grpc.RpcError as error:
            raise from_rpc_error(error) from error
        finally:
            stream.cancel()
        return last(found)
