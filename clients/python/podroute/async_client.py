"""The asyncio client: the operations, made over a grpc.aio channel."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Callable, Coroutine, Iterable
from contextlib import aclosing, suppress
from types import GenericAlias
from typing import Any, Concatenate, ParamSpec, Self, TypeVar, get_args

import grpc
import grpc.aio
from google.protobuf.message import Message

from podroute import messages
from podroute.calling import (
    DEFAULT_TIMEOUT_S,
    HEALTH_INTERVAL_S,
    Caller,
    Operations,
    countdown,
    described,
    last,
    time_left_s,
)
from podroute.calls import Call, Page
from podroute.control_plane import ControlPlane, check_health
from podroute.data_plane import DataPlane
from podroute.errors import DeadlineExceeded, Unavailable, from_rpc_error
from podroute.explaining import Explaining
from podroute.exposing import Exposing
from podroute.scans import Scan
from podroute.upserts import Request, Response, Upserts
from podroute.values import RecordLike, ScannedRecord, UpsertManyResult

A = TypeVar("A", bound=Message)
T = TypeVar("T")
P = ParamSpec("P")

SLICE_S = 0.005
"""How long records are taken from a synchronous iterable before other tasks have their turn."""


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


def _many(
    build: Callable[Concatenate[Operations, P], Upserts],
) -> Callable[Concatenate[AsyncClient, P], Coroutine[Any, Any, UpsertManyResult]]:
    async def method(client: AsyncClient, /, *args: P.args, **kwargs: P.kwargs) -> UpsertManyResult:
        return await client._many(build(client._operations, *args, **kwargs))

    return described(method, build, lambda _: UpsertManyResult)


def _scanned(
    build: Callable[Concatenate[Operations, P], Scan],
) -> Callable[Concatenate[AsyncClient, P], AsyncGenerator[ScannedRecord]]:
    def method(client: AsyncClient, /, *args: P.args, **kwargs: P.kwargs) -> AsyncGenerator[ScannedRecord]:
        return client._scan(build(client._operations, *args, **kwargs))

    return described(method, build, lambda _: GenericAlias(AsyncGenerator, ScannedRecord))


async def _each(records: Iterable[RecordLike] | AsyncIterable[RecordLike]) -> AsyncGenerator[RecordLike]:
    if isinstance(records, AsyncIterable):
        async for record in records:
            yield record
        return
    slice_end = time.monotonic() + SLICE_S
    for record in messages.iterable(records):
        yield record
        if time.monotonic() > slice_end:
            await asyncio.sleep(0)
            slice_end = time.monotonic() + SLICE_S


async def _batches(upserts: Upserts) -> AsyncGenerator[Request]:
    """The batches, each made when it is asked for."""
    async with aclosing(_each(upserts.records)) as records:
        async for record in records:
            if (request := upserts.add(record)) is not None:
                yield request
    if (last := upserts.rest()) is not None:
        yield last


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
    upsert_many = _many(DataPlane.upsert_many)
    query = _unary(DataPlane.query)
    batch_query = _unary(DataPlane.batch_query)
    fetch = _unary(DataPlane.fetch)
    delete = _unary(DataPlane.delete)
    count = _unary(DataPlane.count)
    update_metadata = _unary(DataPlane.update_metadata)
    scan = _scanned(DataPlane.scan)
    create_collection = _unary(ControlPlane.create_collection)
    get_collection = _unary(ControlPlane.get_collection)
    list_collections = _paged(ControlPlane.list_collections)
    delete_collection = _unary(ControlPlane.delete_collection)
    create_index = _streamed(ControlPlane.create_index)
    list_indexes = _unary(ControlPlane.list_indexes)
    drop_index = _unary(ControlPlane.drop_index)
    list_adoptable_tables = _unary(ControlPlane.list_adoptable_tables)
    adopt_collection = _unary(ControlPlane.adopt_collection)
    expose_collection = _unary(Exposing.expose_collection)
    unexpose_collection = _unary(Exposing.unexpose_collection)
    list_exposures = _unary(Exposing.list_exposures)
    shard_map = _unary(ControlPlane.shard_map)
    pods = _unary(ControlPlane.pods)
    explain = _unary(Explaining.explain)

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

    async def _many(self, upserts: Upserts) -> UpsertManyResult:
        end = None if upserts.timeout_s is None else time.monotonic() + upserts.timeout_s
        failing_since, tried_with = 0.0, -1
        async with aclosing(_batches(upserts)) as batches:
            while True:
                try:
                    await self._exchange(upserts, batches, time_left_s(end))
                except grpc.RpcError as error:
                    if upserts.acknowledged != tried_with:  # there was progress since the last failure
                        tried_with, failing_since = upserts.acknowledged, time.monotonic()
                    pause_s = upserts.pause_s(from_rpc_error(error), time.monotonic() - failing_since)
                else:
                    return upserts.result()
                await asyncio.sleep(pause_s)

    async def _exchange(self, upserts: Upserts, batches: AsyncIterator[Request], timeout_s: float | None) -> None:
        """One stream: what was not acknowledged before, then new batches as long as there are any."""
        outgoing: asyncio.Queue[Request | None] = asyncio.Queue()
        for request in upserts.unacknowledged:
            outgoing.put_nowait(request)

        async def send() -> AsyncIterator[Request]:
            while (queued := await outgoing.get()) is not None:
                yield queued

        stream = self._rpc(upserts, self._channel().stream_stream)(send(), timeout=timeout_s)
        answers: AsyncIterator[Response] = aiter(stream)
        try:
            while True:
                while upserts.has_room and (fresh := await anext(batches, None)) is not None:
                    outgoing.put_nowait(fresh)
                if not upserts.unacknowledged:
                    outgoing.put_nowait(None)
                    with suppress(grpc.RpcError):  # everything is stored, however the stream ends
                        await anext(answers, None)
                    return
                response = await anext(answers, None)
                if response is None:
                    return
                upserts.take(response)
        finally:
            stream.cancel()
            # Of a stream that the router ended this cancels nothing, and grpc's task would wait here for ever.
            while not outgoing.empty():
                outgoing.get_nowait()
            outgoing.put_nowait(None)

    async def _scan(self, scan: Scan) -> AsyncGenerator[ScannedRecord]:
        end = None if scan.timeout_s is None else time.monotonic() + scan.timeout_s
        failing_since: float | None = None
        while True:
            stream = self._rpc(scan, self._channel().unary_stream)(scan.request, timeout=time_left_s(end))
            try:
                async for response in stream:
                    failing_since = None
                    for record in scan.take(response):
                        yield record
            except grpc.RpcError as error:
                failing_since = failing_since or time.monotonic()
                pause_s = scan.pause_s(from_rpc_error(error), time.monotonic() - failing_since)
            else:
                return
            finally:
                stream.cancel()
            await asyncio.sleep(pause_s)

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
