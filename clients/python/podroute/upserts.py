"""A long upsert as a value: which batch to send next, what is not yet acknowledged, when to go on after an error.

No I/O and no clock: the clients move the messages. At most `WINDOW` batches are kept, however many records there are.
"""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterable, Callable, Iterable, Iterator
from typing import cast

from podroute import answers, messages
from podroute.calls import Method
from podroute.errors import Cancelled, DeadlineExceeded, Error, Internal, ResourceExhausted, Unavailable
from podroute.v1 import record_pb2, route_pb2
from podroute.v1 import vector_service_pb2 as vectors
from podroute.values import RecordLike, UpsertManyResult

WINDOW = 6
"""Batches that are sent and not acknowledged; the router works on four at a time."""
DEFAULT_BATCH = 1000
DEFAULT_PATIENCE_S = 30.0
MAX_BATCH_RECORDS = 10_000
"""Most records in a batch; the router's default as well."""
MAX_BATCH_BYTES = 512 * 1024
"""A batch is sent when it is as long as this, however few its records. Longer ones are slower: on their way through
client, router and servers they are copied again and again, and fit no cache."""
FIRST_PAUSE_S = 0.05
LONGEST_PAUSE_S = 1.0
STATUS_LOST = "Internal error from Core"
"""What grpc.aio says, in place of the stream's status, where it was sending when the stream ended."""

Request = vectors.UpsertStreamRequest
Response = vectors.UpsertStreamResponse


class Upserts:
    """The state of one `upsert_many`.

    Args:
        method: the RPC.
        request: what every batch has beside its records: collection, path and mode.
        records: what to write; the client iterates over it.
        batch: most records in a batch.
        timeout_s: for all of it; None: no bound.
        patience_s: how long to go on without an acknowledgement while the router or the pod is away.
        on_progress: called with the records acknowledged so far.
    """

    def __init__(
        self,
        *,
        method: Method[Response],
        request: Request,
        records: Iterable[RecordLike] | AsyncIterable[RecordLike],
        batch: int,
        timeout_s: float | None,
        patience_s: float,
        on_progress: Callable[[int], object] | None,
    ) -> None:
        self.method = method
        self.request = request
        self.records = records
        self.timeout_s = timeout_s
        self.patience_s = patience_s
        self.unacknowledged: deque[Request] = deque()
        """Sent and not acknowledged, oldest first: what a new stream begins with."""
        self.acknowledged = 0
        """Records acknowledged: the first so many of `records` are stored."""
        self._batch = batch
        self._on_progress = on_progress
        self._taken = 0
        self._sequence = 0
        self._route = route_pb2.Route()
        self._pause_s = FIRST_PAUSE_S
        self._filling: list[record_pb2.Record] = []
        self._filling_bytes = 0

    @property
    def has_room(self) -> bool:
        """Another batch may be sent before the next acknowledgement."""
        return len(self.unacknowledged) < WINDOW

    def add(self, record: RecordLike) -> Request | None:
        """Takes a record; returns the batch that it completes, to be sent.

        Raises:
            InvalidArgument: it is no record; names it by its place among all records.
        """
        message = messages.record_message(record, self._taken)
        self._taken += 1
        self._filling.append(message)
        self._filling_bytes += message.ByteSize()
        full = len(self._filling) >= self._batch or self._filling_bytes >= MAX_BATCH_BYTES
        return self.rest() if full else None

    def rest(self) -> Request | None:
        """The last batch; None where there is nothing in it."""
        if not self._filling:
            return None
        self._sequence += 1
        request = Request(
            collection=self.request.collection,
            records=self._filling,
            path=self.request.path,
            mode=self.request.mode,
            sequence=self._sequence,
        )
        self._filling, self._filling_bytes = [], 0
        self.unacknowledged.append(request)
        return request

    def batches(self) -> Iterator[Request]:
        """The batches of a synchronous iterable, each made when it is asked for."""
        for record in messages.iterable(cast("Iterable[RecordLike]", self.records)):
            if (request := self.add(record)) is not None:
                yield request
        if (last := self.rest()) is not None:
            yield last

    def take(self, response: Response) -> None:
        """Counts an acknowledgement; raises Internal where it is not that of the oldest batch."""
        if not self.unacknowledged or self.unacknowledged[0].sequence != response.sequence:
            raise Internal("the router acknowledged what it was not due to", reason="STREAM_OUT_OF_ORDER")
        self.acknowledged += len(self.unacknowledged.popleft().records)
        self._route = response.route
        self._pause_s = FIRST_PAUSE_S
        if self._on_progress is not None:
            self._on_progress(self.acknowledged)

    def pause_s(self, error: Error, failing_s: float) -> float:
        """How long to wait before a new stream.

        Args:
            error: what the last one ended with; raised where a new one would not help.
            failing_s: seconds since the first failure after the last acknowledgement.
        """
        pause_s = max(self._pause_s, error.retry_after_s or 0.0)
        if not may_resume(error, self.timeout_s) or failing_s + pause_s > self.patience_s:
            if isinstance(error, Internal) and error.message == STATUS_LOST:
                error = Unavailable("the connection to the router was lost")
            error.metadata["acknowledged"] = str(self.acknowledged)
            raise error
        self._pause_s = min(self._pause_s * 2, LONGEST_PAUSE_S)
        return pause_s

    def result(self) -> UpsertManyResult:
        """What became of it, at the end; raises Internal where the router ended the stream too early."""
        if self.unacknowledged:
            raise Internal("the router's answer ended early", reason="STREAM_ENDED")
        return UpsertManyResult(record_count=self.acknowledged, route=answers.route(self._route))


def may_resume(error: Error, timeout_s: float | None) -> bool:
    """Whether a new stream may get on with what an error ended; timeout_s: the caller's for all of it."""
    if isinstance(error, DeadlineExceeded):  # the router's own bound on a stream, where the caller set none
        return error.reason == "STREAM_DEADLINE" and timeout_s is None
    if isinstance(error, ResourceExhausted):  # the pod is busy
        return error.retry_after_s is not None
    if isinstance(error, Internal):
        return error.message == STATUS_LOST
    return isinstance(error, Unavailable | Cancelled)  # cancelled: by a router that stops
