"""UpsertStream: the requests of one stream on their way to the pod, a bounded number of them at a time.

While some are written the next is read and converted. Requests that have no id in common are written at the same time;
of two that have one, the later waits for the earlier. Responses go out in the order of the requests.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine, Sequence
from dataclasses import dataclass
from typing import Any

from podroute.v1 import vector_service_pb2

from podroute_router.api import requests, responses
from podroute_router.api.slices import in_slices
from podroute_router.config import Limits
from podroute_router.domain import AccessPath, Deadline, Record, Route, UpsertMode
from podroute_router.errors import DeadlineExceeded, PodrouteError, Unavailable
from podroute_router.names import check_collection_name

MOST_AHEAD = 4
"""Requests of a stream that are read and not yet answered."""
MOST_AHEAD_BYTES = 16 * 1024 * 1024
"""With these no further request is read; one alone may be as large as `limits.max_message_bytes`."""
WRITES_AT_A_TIME = 2
"""Transactions of one stream that run at the same time. A stream leaves connections to others."""
RETRY_AFTER_S = 0.1
"""When another router, or this one started anew, may take the stream."""

Request = vector_service_pb2.UpsertStreamRequest
Response = vector_service_pb2.UpsertStreamResponse
Take = Callable[[], Coroutine[Any, Any, Request | None]]
"""Takes the next request off the wire; None: there are no more."""
Written = tuple[int, Route]
Upsert = Callable[[str, Sequence[Record], AccessPath, Deadline, UpsertMode], Awaitable[Written]]
"""The engine's."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Step:
    """A request that was read and is not yet answered; `ids` are those that it writes."""

    number: int
    sequence: int
    size: int
    ids: frozenset[str]
    written: asyncio.Task[Written]


class UpsertStream:
    """One stream.

    Args:
        upsert: writes the records of one request in one transaction.
        limits: bounds on one request.
        deadline: the stream's.
        request_s: how long each write may take.
        stopping: set when the router stops: what was read is answered, and no more is read.
    """

    def __init__(
        self, *, upsert: Upsert, limits: Limits, deadline: Deadline, request_s: float, stopping: asyncio.Event
    ) -> None:
        self._upsert = upsert
        self._limits = limits
        self._deadline = deadline
        self._request_s = request_s
        self._stopping = stopping
        self._ahead: deque[_Step] = deque()
        self._read: asyncio.Queue[_Step | None] = asyncio.Queue()
        self._room = asyncio.Event()
        self._turns = asyncio.Semaphore(WRITES_AT_A_TIME)

    async def answer(self, take: Take) -> AsyncGenerator[Response]:
        """A response for each request as soon as it is committed; raises the error of the first one that fails."""
        reader = asyncio.create_task(self._read_all(take))
        reader.add_done_callback(lambda _: self._read.put_nowait(None))
        try:
            while (step := await self._read.get()) is not None:
                try:
                    count, route = await step.written
                except PodrouteError as error:
                    raise _named(error, step.number, step.sequence) from error.__cause__
                yield Response(sequence=step.sequence, upserted_count=count, route=responses.from_route(route))
                self._ahead.popleft()
                self._room.set()
            await reader
        finally:
            left = [reader, *(step.written for step in self._ahead)]
            for task in left:
                task.cancel()
            await asyncio.gather(*left, return_exceptions=True)

    async def _read_all(self, take: Take) -> None:
        """Reads, converts and begins to write, as long as there is room; returns where the caller has no more."""
        collection, path, number, sequence = "", 0, 0, 0
        stopping = asyncio.create_task(self._stopping.wait())
        try:
            while True:
                sequence = 0
                request = await self._receive(take, stopping)
                if request is None:
                    return
                sequence, collection, path = request.sequence, request.collection or collection, request.path or path
                await self._begin(request, collection, path, number)
                del request  # its memory is not kept while there is no room for the next
                number += 1
                await self._wait_for_room()
        except PodrouteError as error:
            raise _named(error, number, sequence) from error.__cause__
        finally:
            stopping.cancel()

    async def _receive(self, take: Take, stopping: asyncio.Task[bool]) -> Request | None:
        """The next request; None where there are no more."""
        receiving = asyncio.create_task(take())
        try:
            await asyncio.wait(
                {receiving, stopping}, timeout=self._deadline.remaining_s(), return_when=asyncio.FIRST_COMPLETED
            )
            if self._stopping.is_set():
                raise Unavailable("SHUTTING_DOWN", "the router is shutting down", retry_after_s=RETRY_AFTER_S)
            if not receiving.done():
                raise DeadlineExceeded("STREAM_DEADLINE", "the stream's deadline passed; go on with a new one")
            return receiving.result()
        finally:
            receiving.cancel()

    async def _begin(self, request: Request, name: str, path: int, number: int) -> None:
        collection, access_path = check_collection_name(name, "collection"), requests.to_path(path)
        mode = requests.to_upsert_mode(request.mode)
        records = await in_slices(requests.to_records(request, self._limits))
        ids = frozenset(record.id for record in records)
        before = [step.written for step in self._ahead if not ids.isdisjoint(step.ids)]
        step = _Step(
            number=number,
            sequence=request.sequence,
            size=request.ByteSize(),
            ids=ids,
            written=asyncio.create_task(self._write(collection, records, access_path, mode, before)),
        )
        self._ahead.append(step)
        self._read.put_nowait(step)

    async def _write(
        self,
        collection: str,
        records: Sequence[Record],
        path: AccessPath,
        mode: UpsertMode,
        before: Sequence[asyncio.Task[Written]],
    ) -> Written:
        await asyncio.gather(*before)  # where one of them fails the stream ends there, and this is not written
        async with self._turns:
            deadline = Deadline.after(min(self._request_s, self._deadline.remaining_s()))
            return await self._upsert(collection, records, path, deadline, mode)

    async def _wait_for_room(self) -> None:
        while len(self._ahead) >= MOST_AHEAD or sum(step.size for step in self._ahead) >= MOST_AHEAD_BYTES:
            self._room.clear()
            await self._room.wait()


def _named(error: PodrouteError, number: int, sequence: int) -> PodrouteError:
    """The error, which says at which request of the stream it ended."""
    error.facts |= {"request": str(number), "sequence": str(sequence)}
    return error
