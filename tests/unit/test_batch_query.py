"""A batch runs a few queries at a time, keeps their order, and says of each what became of it."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence

import pytest
from google.rpc import code_pb2, error_details_pb2
from podroute.v1 import vector_service_pb2
from podroute_router.api.batch_query import MOST_AT_A_TIME, run_batch
from podroute_router.api.requests import to_queries
from podroute_router.config import Limits
from podroute_router.domain import Deadline
from podroute_router.errors import InvalidArgument, NotFound, deadline_passed


def queries(*names: str) -> list[vector_service_pb2.QueryRequest]:
    return [vector_service_pb2.QueryRequest(collection=name) for name in names]


def answer(query: vector_service_pb2.QueryRequest, size: int = 1) -> vector_service_pb2.QueryResponse:
    return vector_service_pb2.QueryResponse(matches=[{"id": query.collection}] * size, complete=True)


def outcomes(batch: vector_service_pb2.BatchQueryResponse) -> list[str]:
    """The id found, or the reason of the error."""
    return [
        reason(result.error) if result.WhichOneof("outcome") == "error" else result.response.matches[0].id
        for result in batch.results
    ]


def reason(status: vector_service_pb2.Status) -> str:
    info = error_details_pb2.ErrorInfo()
    assert status.details[0].Unpack(info)
    assert info.domain == "podroute"
    return info.reason


async def test_results_are_in_the_order_of_the_queries_whichever_is_done_first() -> None:
    async def run(query: vector_service_pb2.QueryRequest, _: Deadline) -> vector_service_pb2.QueryResponse:
        await asyncio.sleep(random.uniform(0, 0.005))
        return answer(query)

    names = [f"c{number}" for number in range(100)]
    assert outcomes(await run_batch(queries(*names), run, Deadline.after(5), Limits())) == names


@pytest.mark.parametrize(
    ("count", "calls_per_pod", "together"),
    [(1, 256, 1), (5, 256, 5), (100, 256, MOST_AT_A_TIME), (100, 12, 3), (9, 1, 1)],
)
async def test_no_more_than_a_few_run_at_a_time(count: int, calls_per_pod: int, together: int) -> None:
    under_way, most = 0, 0

    async def run(query: vector_service_pb2.QueryRequest, _: Deadline) -> vector_service_pb2.QueryResponse:
        nonlocal under_way, most
        under_way += 1
        most = max(most, under_way)
        await asyncio.sleep(0.001)
        under_way -= 1
        return answer(query)

    await run_batch(queries(*["c"] * count), run, Deadline.after(5), Limits(calls_per_pod=calls_per_pod))
    assert (most, under_way) == (together, 0)


async def test_one_that_fails_does_not_touch_the_others() -> None:
    async def run(query: vector_service_pb2.QueryRequest, _: Deadline) -> vector_service_pb2.QueryResponse:
        match query.collection:
            case "none":
                raise NotFound("COLLECTION_NOT_FOUND", "there is none", facts={"collection": "none"})
            case "bug":
                raise KeyError("select secret")
        return answer(query)

    batch = await run_batch(queries("a", "none", "bug", "b"), run, Deadline.after(5), Limits())
    assert outcomes(batch) == ["a", "COLLECTION_NOT_FOUND", "INTERNAL", "b"]
    assert [result.error.code for result in batch.results] == [0, code_pb2.NOT_FOUND, code_pb2.INTERNAL, 0]
    assert "secret" not in str(batch)


async def test_what_is_done_is_answered_before_the_deadline_though_another_hangs() -> None:
    async def run(query: vector_service_pb2.QueryRequest, due: Deadline) -> vector_service_pb2.QueryResponse:
        if query.collection == "hangs":
            await asyncio.sleep(due.remaining_s())
            raise deadline_passed()
        return answer(query)

    deadline = Deadline.after(0.5)
    batch = await run_batch(queries("a", "hangs", "b"), run, deadline, Limits())
    assert deadline.remaining_s() > 0
    assert outcomes(batch) == ["a", "DEADLINE_EXCEEDED", "b"]


async def test_a_response_that_finds_no_room_is_an_error_of_its_own() -> None:
    async def run(query: vector_service_pb2.QueryRequest, _: Deadline) -> vector_service_pb2.QueryResponse:
        return answer(query, size=1000 if query.collection == "large" else 1)

    batch = await run_batch(
        queries("a", "large", "b"), run, Deadline.after(5), Limits.model_construct(max_message_bytes=1000)
    )
    assert outcomes(batch) == ["a", "RESPONSE_TOO_LARGE", "b"]
    assert batch.ByteSize() < 1000


async def test_that_many_find_no_room_finds_room() -> None:
    async def run(query: vector_service_pb2.QueryRequest, _: Deadline) -> vector_service_pb2.QueryResponse:
        return answer(query, size=2000)

    limits = Limits(max_message_bytes=100_000)
    batch = await run_batch(queries(*["c"] * 100), run, Deadline.after(5), limits)
    found = outcomes(batch)
    assert set(found) == {"c", "RESPONSE_TOO_LARGE"}
    assert found.count("c") >= 5
    assert batch.ByteSize() <= limits.max_message_bytes


async def test_a_call_that_is_cancelled_leaves_nothing_running() -> None:
    begun, ended = 0, 0

    async def run(query: vector_service_pb2.QueryRequest, _: Deadline) -> vector_service_pb2.QueryResponse:
        nonlocal begun, ended
        begun += 1
        try:
            await asyncio.sleep(60)
        finally:
            ended += 1
        return answer(query)

    call = asyncio.ensure_future(run_batch(queries(*["c"] * 20), run, Deadline.after(60), Limits()))
    await asyncio.sleep(0.01)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    assert (begun, ended) == (MOST_AT_A_TIME, MOST_AT_A_TIME)


@pytest.mark.parametrize("count", [0, 4])
def test_a_batch_has_a_bounded_number_of_queries(count: int) -> None:
    request = vector_service_pb2.BatchQueryRequest(queries=queries(*["c"] * count))
    with pytest.raises(InvalidArgument) as caught:
        to_queries(request, Limits(max_batch_queries=3))
    assert (caught.value.reason, caught.value.field) == ("QUERY_COUNT", "queries")
    assert caught.value.facts["limit"] == "3"


def test_what_is_wrong_with_one_query_is_not_the_batchs() -> None:
    request = vector_service_pb2.BatchQueryRequest(queries=queries("", "no name!", "c"))
    found: Sequence[vector_service_pb2.QueryRequest] = to_queries(request, Limits())
    assert list(found) == list(request.queries)
