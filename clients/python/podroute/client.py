"""The two clients: the operations, made over a blocking or an asyncio channel.

Signature, docstring, request and decoder of each method stand once, in `operations`; here is only the I/O.
"""

from __future__ import annotations

import asyncio
import inspect
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import suppress
from functools import update_wrapper
from typing import Any, Concatenate, ParamSpec, Self, TypeVar, get_args, get_type_hints

import grpc
import grpc.aio
from google.protobuf.message import Message

from podroute.errors import DeadlineExceeded, Internal, Unavailable, from_rpc_error
from podroute.operations import DEFAULT_TIMEOUT_S, Call, Operations, Page, check_health
from podroute.service_config import channel_options
from podroute.values import Path

_HEALTH_INTERVAL_S = 0.05

A = TypeVar("A", bound=Message)
T = TypeVar("T")
P = ParamSpec("P")
F = TypeVar("F", bound=Callable[..., Any])


def _described(method: F, build: Callable[..., Any], result: Callable[[Any], Any] = lambda result: result) -> F:
    """Gives a method the name, docstring and parameters of its operation; `result` makes what it returns of the call's."""
    of_call = get_args(get_type_hints(build)["return"])[1]
    update_wrapper(method, build)
    method.__signature__ = inspect.signature(build).replace(return_annotation=result(of_call))  # type: ignore[attr-defined]
    return method


def _unary(build: Callable[Concatenate[Operations, P], Call[A, T]]) -> Callable[Concatenate[Client, P], T]:
    def method(client: Client, /, *args: P.args, **kwargs: P.kwargs) -> T:
        return client._unary(build(client._operations, *args, **kwargs))

    return _described(method, build)


def _paged(
    build: Callable[Concatenate[Operations, P], Call[A, Page[A, T]]],
) -> Callable[Concatenate[Client, P], Iterator[T]]:
    def method(client: Client, /, *args: P.args, **kwargs: P.kwargs) -> Iterator[T]:
        call: Call[A, Page[A, T]] | None = build(client._operations, *args, **kwargs)
        while call is not None:
            page = client._unary(call)
            yield from page.items
            call = page.next

    return _described(method, build, lambda page: Iterator[get_args(page)[1]])


def _streamed(build: Callable[Concatenate[Operations, P], Call[A, T | None]]) -> Callable[Concatenate[Client, P], T]:
    def method(client: Client, /, *args: P.args, **kwargs: P.kwargs) -> T:
        return client._streamed(build(client._operations, *args, **kwargs))

    return _described(method, build, lambda result: get_args(result)[0])


class Client:
    """A blocking client of one router, or of several behind one name. Threads may share it.

    Args:
        address: `host:port` of the router, or any gRPC target, such as `dns:///routers:50051`.
        timeout_s: deadline of a call that sets none, in seconds.
        path: access path of a call that names none.
        credentials: for TLS; default: none.
        options: gRPC channel options, in place of those of `podroute.service_config`.

    Every method raises a subclass of `podroute.Error`; `podroute.errors` has the tree.
    """

    def __init__(
        self,
        address: str,
        *,
        timeout_s: float = DEFAULT_TIMEOUT_S,
        path: Path = "auto",
        credentials: grpc.ChannelCredentials | None = None,
        options: Sequence[tuple[str, Any]] = (),
    ) -> None:
        self._address = address
        self._operations = Operations(path, timeout_s)
        self._closed = False
        merged = channel_options(options)
        if credentials is None:
            self._channel = grpc.insecure_channel(address, merged)
        else:
            self._channel = grpc.secure_channel(address, credentials, merged)
        self._methods: dict[str, Any] = {}

    upsert = _unary(Operations.upsert)
    query = _unary(Operations.query)
    fetch = _unary(Operations.fetch)
    delete = _unary(Operations.delete)
    count = _unary(Operations.count)
    create_collection = _unary(Operations.create_collection)
    get_collection = _unary(Operations.get_collection)
    list_collections = _paged(Operations.list_collections)
    delete_collection = _unary(Operations.delete_collection)
    create_index = _streamed(Operations.create_index)
    shard_map = _unary(Operations.shard_map)
    pods = _unary(Operations.pods)

    def wait_until_serving(self, timeout: float = DEFAULT_TIMEOUT_S, *, service: str = "") -> None:
        """Waits for the router to be there and healthy.

        Args:
            timeout: seconds, after which DeadlineExceeded is raised.
            service: a service of the router's health, such as `pod:docs`; default: the router as a whole.
        """
        for left_s in _countdown(timeout):
            with suppress(Unavailable, DeadlineExceeded):
                if self._unary(check_health(service, left_s)):
                    return
            time.sleep(min(_HEALTH_INTERVAL_S, left_s))
        raise _not_serving(self._address, service, timeout)

    def close(self) -> None:
        """Closes the channel; calls in flight are cancelled. Closing twice does nothing."""
        self._closed = True
        self._channel.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"Client({self._address!r})"

    def _unary(self, call: Call[A, T]) -> T:
        method = self._method(call, self._channel.unary_unary)
        try:
            answer: A = method(call.request, timeout=call.timeout_s, wait_for_ready=call.wait_for_ready)
        except grpc.RpcError as error:
            raise from_rpc_error(error) from error
        return call.decode(answer)

    def _streamed(self, call: Call[A, T | None]) -> T:
        found: T | None = None
        stream = self._method(call, self._channel.unary_stream)(call.request, timeout=call.timeout_s)
        try:
            for answer in stream:
                found = call.decode(answer) or found
        except grpc.RpcError as error:
            raise from_rpc_error(error) from error
        finally:
            stream.cancel()
        return _last(found)

    def _method(self, call: Call[A, Any], of_kind: Callable[..., Any]) -> Any:
        if self._closed:
            raise RuntimeError(f"{self!r} is closed")
        path = call.method.path
        if path not in self._methods:
            self._methods[path] = of_kind(path, type(call.request).SerializeToString, call.method.answer.FromString)
        return self._methods[path]


def _unary_aio(
    build: Callable[Concatenate[Operations, P], Call[A, T]],
) -> Callable[Concatenate[AsyncClient, P], Awaitable[T]]:
    async def method(client: AsyncClient, /, *args: P.args, **kwargs: P.kwargs) -> T:
        return await client._unary(build(client._operations, *args, **kwargs))

    return _described(method, build)
