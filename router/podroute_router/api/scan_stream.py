"""Scan: the records of a collection, page by page, as many at a time as the caller takes.

A page is read when the responses of the one before have been taken, and no statement is open between two pages: a slow
caller holds up nobody, and the router keeps one page.
"""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator, Sequence

from podroute.v1 import record_pb2, route_pb2, vector_service_pb2

from podroute_router.api import requests, responses
from podroute_router.api.filter_requests import to_filter
from podroute_router.domain import AccessPath, Deadline, Route, ScannedRecord, ScanPage
from podroute_router.errors import DeadlineExceeded, InvalidArgument, Unavailable
from podroute_router.names import check_collection_name

PAGE_BYTES = 4 * 1024 * 1024
"""What a page is to have at most, judged by the page before."""
FIRST_PAGE_RECORDS = 64
"""Of the first page, before anything is known of their length."""
RESPONSE_BYTES = 1024 * 1024
"""A response has at most so many, where it holds several records."""
MAX_TOKEN = 64 * 1024
"""Characters of a resume token. PostgreSQL indexes no id as long as that, unless it can be compressed a lot."""
RETRY_AFTER_S = 0.1
"""When another router, or this one started anew, may go on with the scan."""

Request = vector_service_pb2.ScanRequest
Response = vector_service_pb2.ScanResponse
Read = Callable[[str, ScanPage, AccessPath, Deadline], Awaitable[tuple[list[ScannedRecord], Route]]]
"""The engine's."""


class ScanStream:
    """One scan.

    Args:
        request: what to read.
        read: reads a page.
        deadline: the scan's.
        page_s: how long each page may take.
        max_message_bytes: bound on a response.
        stopping: set when the router stops: what was read is sent, and no more is read.

    Raises:
        InvalidArgument: the request is not within bounds.
    """

    def __init__(
        self,
        request: Request,
        *,
        read: Read,
        deadline: Deadline,
        page_s: float,
        max_message_bytes: int,
        stopping: asyncio.Event,
    ) -> None:
        self._collection = check_collection_name(request.collection, "collection")
        self._path = requests.to_path(request.path)
        self._filter = to_filter(request.filter) if request.HasField("filter") else None
        self._most = requests.to_page_size(request.page_size) or requests.DEFAULT_SCAN_PAGE
        self._after = _decode_token(request.resume_token, self._collection)
        self._request = request
        self._read = read
        self._deadline = deadline
        self._page_s = page_s
        self._response_bytes = min(RESPONSE_BYTES, max_message_bytes // 2)  # the rest is for token and route
        self._stopping = stopping

    async def answer(self) -> AsyncGenerator[Response]:
        """The responses, at least one record in each."""
        size = min(FIRST_PAGE_RECORDS, self._most)
        while True:
            records, route = await self._read_page(size)
            sent_bytes = 0
            for response in self._responses(records, responses.from_route(route)):
                sent_bytes += response.ByteSize()
                yield response
            if len(records) < size:
                return
            self._after = records[-1].id
            size = min(next_size(size, sent_bytes), self._most)

    async def _read_page(self, size: int) -> tuple[list[ScannedRecord], Route]:
        if self._stopping.is_set():
            raise Unavailable("SHUTTING_DOWN", "the router is shutting down", retry_after_s=RETRY_AFTER_S)
        page = ScanPage(
            after=self._after,
            limit=size,
            filter=self._filter,
            include_metadata=self._request.include_metadata,
            include_vector=self._request.include_vector,
        )
        deadline = Deadline.after(min(self._page_s, self._deadline.remaining_s()))
        try:
            return await self._read(self._collection, page, self._path, deadline)
        except DeadlineExceeded as error:
            if self._deadline.remaining_s():
                raise
            raise DeadlineExceeded("STREAM_DEADLINE", "the stream's deadline passed; go on with a new one") from error

    def _responses(self, records: Sequence[ScannedRecord], route: route_pb2.Route) -> Iterator[Response]:
        ready: list[record_pb2.Record] = []
        size = 0
        for record in records:
            message = responses.from_scanned(record)
            size += message.ByteSize()
            if ready and size > self._response_bytes:
                yield self._response(ready, route)
                ready, size = [], message.ByteSize()
            ready.append(message)
        if ready:
            yield self._response(ready, route)

    def _response(self, records: list[record_pb2.Record], route: route_pb2.Route) -> Response:
        token = _encode_token(self._collection, records[-1].id)
        return Response(records=records, resume_token=token, route=route)


def next_size(size: int, sent_bytes: int) -> int:
    """How many records to read after so many of so many bytes: twice as many, or as few as fit; powers of two.

    Each number is a statement of its own to PostgreSQL, so there are only a few.
    """
    fitting = max(1, size * PAGE_BYTES // max(1, sent_bytes))
    return min(1 << (fitting.bit_length() - 1), 2 * size)


def _encode_token(collection: str, record_id: str) -> str:
    return base64.urlsafe_b64encode(f"{collection}:{record_id}".encode()).decode()


def _decode_token(token: str, collection: str) -> str:
    """The id of the last record before; empty where there is none."""
    if not token:
        return ""
    if len(token) > MAX_TOKEN:
        raise InvalidArgument("RESUME_TOKEN", "resume_token", "is longer than a scan gives out", limit=MAX_TOKEN)
    try:
        name, colon, record_id = base64.b64decode(token.encode(), altchars=b"-_", validate=True).decode().partition(":")
    except ValueError as error:
        raise InvalidArgument("RESUME_TOKEN", "resume_token", "is not one that a scan gave out") from error
    if not colon or not record_id or name != collection or "\0" in record_id:
        raise InvalidArgument("RESUME_TOKEN", "resume_token", "is not one that a scan of this collection gave out")
    return record_id
