"""`upsert_many`: how records become batches, how few are kept, and when it goes on after an error."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import grpc
import grpc.aio
import numpy as np
import podroute
import pytest
from podroute import messages
from podroute.calling import Operations
from podroute.upserts import FIRST_PAUSE_S, LONGEST_PAUSE_S, MAX_BATCH_BYTES, STATUS_LOST, WINDOW, Upserts
from podroute.v1 import vector_service_pb2 as vectors
from podroute.v1 import vector_service_pb2_grpc

Record = tuple[str, list[float], dict[str, Any]]


def records(count: int | None = None) -> Iterator[Record]:
    for number in itertools.count() if count is None else range(count):
        yield str(number), [float(number)], {}


def upserts(given: Any = (), **settings: Any) -> Upserts:
    return Operations("auto", 10.0).upsert_many("docs", given, **settings)


def ids(request: vectors.UpsertStreamRequest) -> list[str]:
    return [record.id for record in request.records]


def answer(request: vectors.UpsertStreamRequest) -> vectors.UpsertStreamResponse:
    return vectors.UpsertStreamResponse(sequence=request.sequence, upserted_count=len(request.records))


def test_records_become_batches_of_the_size_asked_for_in_their_order() -> None:
    batches = list(upserts(records(5), batch=2, path="fdw").batches())
    assert [ids(batch) for batch in batches] == [["0", "1"], ["2", "3"], ["4"]]
    assert [batch.sequence for batch in batches] == [1, 2, 3]
    assert {(batch.collection, batch.path) for batch in batches} == {("docs", 2)}


def test_a_batch_of_many_bytes_is_sent_before_it_is_full() -> None:
    text = "x" * (MAX_BATCH_BYTES // 4)
    given = [(str(number), [1.0], {"text": text}) for number in range(10)]
    assert [len(batch.records) for batch in upserts(given).batches()] == [4, 4, 2]


def test_no_records_are_no_batches() -> None:
    assert list(upserts([]).batches()) == []


@pytest.mark.parametrize("batch", [0, -1, 10_001, 1.5, "2"])
def test_a_batch_size_beyond_the_bounds_is_refused(batch: Any) -> None:
    with pytest.raises(podroute.InvalidArgument, match="1 to 10000"):
        upserts(batch=batch)


def test_a_record_that_cannot_be_sent_is_named_by_its_place_among_all() -> None:
    bad: Any = ("3", [1.0])
    with pytest.raises(podroute.InvalidArgument, match=r"records\[3\]"):
        list(upserts([*records(3), bad], batch=2).batches())


def test_there_is_room_until_the_window_is_full_and_again_after_an_answer() -> None:
    state = upserts(records(), batch=1)
    batches = state.batches()
    sent = [next(batches) for _ in range(WINDOW)]
    assert not state.has_room
    state.take(answer(sent[0]))
    assert state.has_room
    assert [each.sequence for each in state.unacknowledged] == [each.sequence for each in sent[1:]]


def test_progress_counts_the_records_of_the_batches_answered() -> None:
    seen: list[int] = []
    state = upserts(records(5), batch=2, on_progress=seen.append)
    for batch in list(state.batches()):
        state.take(answer(batch))
    assert seen == [2, 4, 5]
    assert state.result().record_count == 5


def test_an_answer_out_of_order_is_an_error() -> None:
    state = upserts(records(2), batch=1)
    _, second = list(state.batches())
    with pytest.raises(podroute.Internal, match="not due"):
        state.take(answer(second))


def test_a_stream_that_ends_before_all_is_answered_is_an_error() -> None:
    state = upserts(records(1))
    list(state.batches())
    with pytest.raises(podroute.Internal, match="ended early"):
        state.result()


def test_pauses_grow_until_an_answer_and_end_with_the_patience() -> None:
    state = upserts(records(1), patience=5.0)
    (batch,) = state.batches()
    away = podroute.Unavailable("away")
    pauses = [state.pause_s(away, 0.0) for _ in range(8)]
    assert pauses[:3] == [FIRST_PAUSE_S, 2 * FIRST_PAUSE_S, 4 * FIRST_PAUSE_S]
    assert pauses[-1] == LONGEST_PAUSE_S
    with pytest.raises(podroute.Unavailable):
        state.pause_s(away, 4.5)
    state.take(answer(batch))
    assert state.pause_s(away, 0.0) == FIRST_PAUSE_S
    assert state.pause_s(podroute.Unavailable("away", retry_after_s=1.5), 0.0) == 1.5


def test_a_stream_that_was_lost_for_too_long_is_told_as_a_router_that_is_away() -> None:
    with pytest.raises(podroute.Unavailable) as raised:
        upserts(records(1), patience=5.0).pause_s(podroute.Internal(STATUS_LOST), 6.0)
    assert raised.value.metadata["acknowledged"] == "0"


@pytest.mark.parametrize(
    ("error", "timeout", "resumes"),
    [
        (podroute.Unavailable("away"), None, True),
        (podroute.Cancelled("stopped"), None, True),
        (podroute.Internal(STATUS_LOST), None, True),
        (podroute.Internal("a fault", reason="INTERNAL"), None, False),
        (podroute.ResourceExhausted("busy", retry_after_s=0.1), None, True),
        (podroute.ResourceExhausted("too large"), None, False),
        (podroute.DeadlineExceeded("an hour", reason="STREAM_DEADLINE"), None, True),
        (podroute.DeadlineExceeded("an hour", reason="STREAM_DEADLINE"), 9.0, False),
        (podroute.DeadlineExceeded("slow", reason="DEADLINE_EXCEEDED"), None, False),
        (podroute.InvalidArgument("bad"), None, False),
        (podroute.NotFound("none"), None, False),
    ],
)
def test_it_goes_on_only_where_a_new_stream_may_help(
    error: podroute.Error, timeout: float | None, resumes: bool
) -> None:
    state = upserts(records(1), timeout=timeout)
    if resumes:
        assert state.pause_s(error, 0.0) > 0
    else:
        with pytest.raises(type(error)) as raised:
            state.pause_s(error, 0.0)
        assert raised.value is error
        assert error.metadata["acknowledged"] == "0"


@pytest.mark.parametrize("dimension", [0, 1, 31, 32, 5000])
def test_an_array_of_float32_is_the_same_message_as_its_numbers(dimension: int) -> None:
    vector = np.linspace(-1, 1, dimension, dtype=np.float32)
    assert messages.vector_message(vector) == messages.vector_message(vector.tolist())
    assert messages.vector_message(vector[::2]) == messages.vector_message(vector[::2].tolist())


def test_a_matrix_is_no_vector() -> None:
    with pytest.raises(podroute.InvalidArgument):
        messages.vector_message(np.ones((2, 2), dtype=np.float32))


@dataclass
class Router(vector_service_pb2_grpc.VectorServiceServicer):
    """Keeps what comes. A stream is ended with UNAVAILABLE after as many answers as `ends_after` says for it."""

    streams: list[list[list[str]]] = field(default_factory=list)
    ends_after: list[int] = field(default_factory=list)
    code: grpc.StatusCode = grpc.StatusCode.UNAVAILABLE
    silent: bool = False
    address: str = ""

    async def UpsertStream(self, incoming, context):  # noqa: N802
        taken: list[list[str]] = []
        self.streams.append(taken)
        answers = self.ends_after.pop(0) if self.ends_after else None
        async for request in incoming:
            taken.append(ids(request))
            if self.silent:
                continue
            if answers is not None and len(taken) > answers:
                await context.abort(self.code, "away")
            yield answer(request)


@pytest.fixture
async def router() -> AsyncIterator[Router]:
    router = Router()
    server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
    vector_service_pb2_grpc.add_VectorServiceServicer_to_server(router, server)
    router.address = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    await server.start()
    yield router
    await server.stop(None)


Send = Callable[..., Any]


@pytest.fixture(params=["blocking", "asyncio"])
async def send(request: pytest.FixtureRequest, router: Router) -> AsyncIterator[Send]:
    """`upsert_many` of either client; the blocking one runs in a thread."""
    if request.param == "asyncio":
        async with podroute.AsyncClient(router.address) as client:
            yield client.upsert_many
    else:
        with podroute.Client(router.address) as blocking:
            yield lambda *args, **kwargs: asyncio.to_thread(blocking.upsert_many, *args, **kwargs)


async def test_what_was_not_answered_is_sent_again_in_its_order(send: Send, router: Router) -> None:
    router.ends_after = [3, 0, 5]
    seen: list[int] = []
    result = await send("docs", records(12), batch=1, on_progress=seen.append)
    assert result.record_count == 12
    assert seen == list(range(1, 13))
    assert len(router.streams) == 4
    for stream, first in zip(router.streams, (0, 3, 3, 8), strict=True):
        assert stream == [[str(number)] for number in range(first, first + len(stream))]


async def test_an_error_that_stays_is_raised_and_tells_how_far_it_came(send: Send, router: Router) -> None:
    router.ends_after, router.code = [2], grpc.StatusCode.NOT_FOUND
    with pytest.raises(podroute.NotFound) as failed:
        await send("docs", records(3), batch=1)
    assert failed.value.metadata["acknowledged"] == "2"
    assert len(router.streams) == 1


async def test_streams_that_the_router_ended_leave_no_task_behind(router: Router) -> None:
    router.ends_after = [0] * 20
    async with podroute.AsyncClient(router.address) as client:
        with pytest.raises(podroute.Unavailable):
            await client.upsert_many("docs", records(3), patience=0.6)
        assert len(router.streams) > 3
        await asyncio.sleep(0.1)
        left = [task for task in asyncio.all_tasks() if "_consume_request_iterator" in repr(task)]
    assert left == []


async def test_an_endless_iterable_is_taken_only_as_far_as_the_window(send: Send, router: Router) -> None:
    router.silent, taken = True, 0

    def endless() -> Iterator[Record]:
        nonlocal taken
        for record in records():
            taken += 1
            yield record

    with pytest.raises(podroute.DeadlineExceeded) as failed:
        await send("docs", endless(), batch=10, timeout=0.5)
    assert taken == 10 * WINDOW
    assert failed.value.metadata["acknowledged"] == "0"


async def test_the_timeout_is_for_all_of_it(send: Send, router: Router) -> None:
    router.ends_after = [0] * 100
    began = time.monotonic()
    with pytest.raises((podroute.DeadlineExceeded, podroute.Unavailable)):
        await send("docs", records(3), timeout=0.5, patience=2.0)
    assert time.monotonic() - began < 1.9


async def test_patience_ends(send: Send, router: Router) -> None:
    router.ends_after = [0] * 100
    began = time.monotonic()
    with pytest.raises(podroute.Unavailable):
        await send("docs", records(3), patience=0.4)
    assert time.monotonic() - began < 2.0


async def test_what_the_iterable_raises_ends_it(send: Send, router: Router) -> None:
    def broken() -> Iterator[Record]:
        yield from records(3)
        raise LookupError("the source is gone")

    with pytest.raises(LookupError, match="the source is gone"):
        await send("docs", broken(), batch=1)


async def test_what_the_watcher_raises_ends_it(send: Send, router: Router) -> None:
    def watch(acknowledged: int) -> None:
        raise LookupError("enough")

    with pytest.raises(LookupError, match="enough"):
        await send("docs", records(), batch=1, on_progress=watch)


async def test_nothing_to_send_is_no_error(send: Send, router: Router) -> None:
    assert (await send("docs", [])).record_count == 0


async def test_an_asynchronous_iterable_is_for_the_asynchronous_client(router: Router) -> None:
    async def arriving() -> AsyncIterator[Record]:
        for record in records(5):
            await asyncio.sleep(0)
            yield record

    async with podroute.AsyncClient(router.address) as client:
        assert (await client.upsert_many("docs", arriving(), batch=2)).record_count == 5
    assert router.streams == [[["0", "1"], ["2", "3"], ["4"]]]
    with podroute.Client(router.address) as blocking, pytest.raises(podroute.InvalidArgument, match="records"):
        await asyncio.to_thread(blocking.upsert_many, "docs", arriving())
