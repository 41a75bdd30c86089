"""The blocking client: the operations, made over a gRPC channel."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import suppress
from queue import SimpleQueue
from types import GenericAlias
from typing import Any, Concatenate, ParamSpec, Self, TypeVar, get_args

import grpc
from google.protobuf.message import Message

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
from podroute.values import Path, ScannedRecord, UpsertManyResult

A = TypeVar("A", bound=Message)
T = TypeVar("T")
P = ParamSpec("P")


def _unary(build: Callable[Concatenate[Operations, P], Call[A, T]]) -> Callable[Concatenate[Client, P], T]:
    def method(client: Client, /, *args: P.args, **kwargs: P.kwargs) -> T:
        return client._unary(build(client._operations, *args, **kwargs))

    return described(method, build, lambda result: result)


def _paged(
    build: Callable[Concatenate[Operations, P], Call[A, Page[A, T]]],
) -> Callable[Concatenate[Client, P], Iterator[T]]:
    def method(client: Client, /, *args: P.args, **kwargs: P.kwargs) -> Iterator[T]:
        call: Call[A, Page[A, T]] | None = build(client._operations, *args, **kwargs)
        while call is not None:
            page = client._unary(call)
            yield from page.items
            call = page.next

    return described(method, build, lambda page: GenericAlias(Iterator, get_args(page)[1]))


def _streamed(build: Callable[Concatenate[Operations, P], Call[A, T | None]]) -> Callable[Concatenate[Client, P], T]:
    def method(client: Client, /, *args: P.args, **kwargs: P.kwargs) -> T:
        return client._streamed(build(client._operations, *args, **kwargs))

    return described(method, build, lambda result: get_args(result)[0])


def _many(build: Callable[Concatenate[Operations, P], Upserts]) -> Callable[Concatenate[Client, P], UpsertManyResult]:
    def method(client: Client, /, *args: P.args, **kwargs: P.kwargs) -> UpsertManyResult:
        return client._many(build(client._operations, *args, **kwargs))

    return described(method, build, lambda _: UpsertManyResult)


def _scanned(
    build: Callable[Concatenate[Operations, P], Scan],
) -> Callable[Concatenate[Client, P], Generator[ScannedRecord]]:
    def method(client: Client, /, *args: P.args, **kwargs: P.kwargs) -> Generator[ScannedRecord]:
        return client._scan(build(client._operations, *args, **kwargs))

    return described(method, build, lambda _: GenericAlias(Generator, ScannedRecord))


class Client(Caller):
    """A blocking client of one router, or of several behind one name. Threads may share it, processes may not.

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
        super().__init__(address, timeout_s=timeout_s, path=path, credentials=credentials, options=options)
        if credentials is None:
            self._channel = grpc.insecure_channel(address, self._options)
        else:
            self._channel = grpc.secure_channel(address, credentials, self._options)

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

    def wait_until_serving(self, timeout: float = DEFAULT_TIMEOUT_S, *, service: str = "") -> None:
        """Waits for the router to be there and healthy.

        Args:
            timeout: seconds, after which DeadlineExceeded is raised.
            service: a service of the router's health, such as `pod:docs`; default: the router as a whole.
        """
        for left_s in countdown(timeout):
            with suppress(Unavailable, DeadlineExceeded):
                if self._unary(check_health(service, left_s)):
                    return
            time.sleep(min(HEALTH_INTERVAL_S, left_s))
        raise self._not_serving(service, timeout)

    def close(self) -> None:
        """Closes the channel; calls in flight are cancelled. Closing twice does nothing."""
        self._closed = True
        self._channel.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _unary(self, call: Call[A, T]) -> T:
        self._check_open()
        rpc = self._rpc(call, self._channel.unary_unary)
        try:
            answer: A = rpc(call.request, timeout=call.timeout_s, wait_for_ready=call.wait_for_ready)
        except grpc.RpcError as error:
            raise from_rpc_error(error) from error
        return call.decode(answer)

    def _many(self, upserts: Upserts) -> UpsertManyResult:
        end = None if upserts.timeout_s is None else time.monotonic() + upserts.timeout_s
        batches = upserts.batches()
        failing_since, tried_with = 0.0, -1
        while True:
            self._check_open()
            try:
                self._exchange(upserts, batches, time_left_s(end))
            except grpc.RpcError as error:
                if upserts.acknowledged != tried_with:  # there was progress since the last failure
                    tried_with, failing_since = upserts.acknowledged, time.monotonic()
                pause_s = upserts.pause_s(from_rpc_error(error), time.monotonic() - failing_since)
            else:
                return upserts.result()
            time.sleep(pause_s)

    def _exchange(self, upserts: Upserts, batches: Iterator[Request], timeout_s: float | None) -> None:
        """One stream: what was not acknowledged before, then new batches as long as there are any."""
        outgoing: SimpleQueue[Request | None] = SimpleQueue()
        for request in upserts.unacknowledged:
            outgoing.put(request)
        stream = self._rpc(upserts, self._channel.stream_stream)(iter(outgoing.get, None), timeout=timeout_s)
        try:
            # The caller's iterable is read in the caller's thread: gRPC's own only ever has the messages.
            while True:
                while upserts.has_room and (fresh := next(batches, None)) is not None:
                    outgoing.put(fresh)
                if not upserts.unacknowledged:
                    outgoing.put(None)
                    with suppress(grpc.RpcError):  # everything is stored, however the stream ends
                        next(stream, None)
                    return
                response: Response | None = next(stream, None)
                if response is None:
                    return
                upserts.take(response)
        finally:
            outgoing.put(None)
            stream.cancel()

    def _scan(self, scan: Scan) -> Generator[ScannedRecord]:
        end = None if scan.timeout_s is None else time.monotonic() + scan.timeout_s
        failing_since: float | None = None
        while True:
            self._check_open()
            stream = self._rpc(scan, self._channel.unary_stream)(scan.request, timeout=time_left_s(end))
            try:
                for response in stream:
                    failing_since = None
                    yield from scan.take(response)
            except grpc.RpcError as error:
                failing_since = failing_since or time.monotonic()
                pause_s = scan.pause_s(from_rpc_error(error), time.monotonic() - failing_since)
            else:
                return
            finally:
                stream.cancel()
            time.sleep(pause_s)

    def _streamed(self, call: Call[A, T | None]) -> T:
        self._check_open()
        found: T | None = None
        stream = self._rpc(call, self._channel.unary_stream)(call.request, timeout=call.timeout_s)
        try:
            for answer in stream:
                found = call.decode(answer) or found
        except grpc.RpcError as error:
            raise from_rpc_error(error) from error
        finally:
            stream.cancel()
        return last(found)
