"""`scan`: what it asks for, and where it goes on after an error."""

from __future__ import annotations

import asyncio
import inspect
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any

import grpc
import grpc.aio
import podroute
import pytest
from podroute.calling import Operations
from podroute.scans import Scan
from podroute.upserts import FIRST_PAUSE_S, LONGEST_PAUSE_S
from podroute.v1 import vector_service_pb2 as vectors
from podroute.v1 import vector_service_pb2_grpc

RESPONSES = 6


def scan(**settings: Any) -> Scan:
    return Operations("auto", 10.0).scan("docs", **settings)


def response(number: int) -> vectors.ScanResponse:
    return vectors.ScanResponse(records=[{"id": f"{number}a"}, {"id": f"{number}b"}], resume_token=str(number + 1))


def test_a_scan_asks_for_what_its_arguments_say() -> None:
    asked = scan(filter={"k": 1}, include_vector=True, page_size=7, path="fdw").request
    assert (asked.collection, asked.page_size, asked.path, asked.resume_token) == ("docs", 7, 2, "")
    assert (asked.include_metadata, asked.include_vector) == (False, True)
    assert asked.filter.comparison.path == ["k"]


def test_what_a_record_lacks_is_none() -> None:
    bare, whole = {"id": "a"}, {"id": "b", "metadata": '{"k": 1}', "vector": {"values": [1.0]}}
    assert scan().take(vectors.ScanResponse(records=[bare, whole])) == [
        podroute.ScannedRecord(id="a"),
        podroute.ScannedRecord(id="b", metadata={"k": 1}, vector=[1.0]),
    ]


def test_pauses_grow_until_a_response_and_end_with_the_patience() -> None:
    state = scan(patience=5.0)
    away = podroute.Unavailable("away")
    pauses = [state.pause_s(away, 0.0) for _ in range(8)]
    assert pauses[:2] == [FIRST_PAUSE_S, 2 * FIRST_PAUSE_S]
    assert pauses[-1] == LONGEST_PAUSE_S
    with pytest.raises(podroute.Unavailable):
        state.pause_s(away, 4.5)
    state.take(response(0))
    assert state.pause_s(away, 0.0) == FIRST_PAUSE_S


@dataclass
class Router(vector_service_pb2_grpc.VectorServiceServicer):
    """Sends `RESPONSES` responses. A stream is ended with `code` after as many as `ends_after` says for it."""

    tokens: list[str] = field(default_factory=list)
    ends_after: list[int] = field(default_factory=list)
    code: grpc.StatusCode = grpc.StatusCode.UNAVAILABLE
    ended: asyncio.Event = field(default_factory=asyncio.Event)
    address: str = ""

    async def Scan(self, request, context):  # noqa: N802
        context.add_done_callback(lambda _: self.ended.set())
        self.tokens.append(request.resume_token)
        start = int(request.resume_token or 0)
        until = start + self.ends_after.pop(0) if self.ends_after else RESPONSES
        for number in range(start, min(until, RESPONSES)):
            yield response(number)
        if until < RESPONSES:
            await context.abort(self.code, "away")
        if request.collection == "endless":
            await asyncio.sleep(60)


@pytest.fixture
async def router() -> AsyncIterator[Router]:
    router = Router()
    server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
    vector_service_pb2_grpc.add_VectorServiceServicer_to_server(router, server)
    router.address = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    await server.start()
    yield router
    await server.stop(None)


Read = Callable[..., Any]


@pytest.fixture(params=["blocking", "asyncio"])
async def read(request: pytest.FixtureRequest, router: Router) -> AsyncIterator[Read]:
    """All ids of a scan of either client; the blocking one runs in a thread."""
    if request.param == "asyncio":
        async with podroute.AsyncClient(router.address) as client:

            async def ids(*args: Any, **kwargs: Any) -> list[str]:
                return [record.id async for record in client.scan(*args, **kwargs)]

            yield ids
    else:
        with podroute.Client(router.address) as blocking:
            yield lambda *args, **kwargs: asyncio.to_thread(
                lambda: [record.id for record in blocking.scan(*args, **kwargs)]
            )


ALL = [f"{number}{letter}" for number in range(RESPONSES) for letter in "ab"]


async def test_a_scan_goes_on_after_the_last_response_that_came(read: Read, router: Router) -> None:
    router.ends_after = [2, 3]
    assert await read("docs") == ALL
    assert router.tokens == ["", "2", "5"]


async def test_an_error_that_stays_is_raised(read: Read, router: Router) -> None:
    router.ends_after, router.code = [2], grpc.StatusCode.NOT_FOUND
    with pytest.raises(podroute.NotFound):
        await read("docs")
    assert router.tokens == [""]


async def test_patience_ends(read: Read, router: Router) -> None:
    router.ends_after = [2] + [0] * 100
    began = time.monotonic()
    with pytest.raises(podroute.Unavailable):
        await read("docs", patience=0.4)
    assert time.monotonic() - began < 5.0


async def test_the_timeout_is_for_all_of_it(read: Read, router: Router) -> None:
    began = time.monotonic()
    with pytest.raises(podroute.DeadlineExceeded):
        await read("endless", timeout=0.3)
    assert time.monotonic() - began < 5.0


async def test_a_bad_argument_is_refused_at_once(router: Router) -> None:
    async with podroute.AsyncClient(router.address) as client:
        with pytest.raises(podroute.FilterError):
            client.scan("docs", filter={"k": {"$no": 1}})
    with podroute.Client(router.address) as blocking, pytest.raises(podroute.InvalidArgument):
        blocking.scan("docs", page_size="many")  # type: ignore[arg-type]
    assert router.tokens == []


async def test_a_scan_that_is_left_early_ends_at_the_router(router: Router) -> None:
    async with podroute.AsyncClient(router.address) as client:
        records = client.scan("endless")
        assert (await anext(records)).id == "0a"
        await records.aclose()
        await asyncio.wait_for(router.ended.wait(), 10)


def test_a_scan_tells_what_it_yields() -> None:
    for client in (podroute.Client, podroute.AsyncClient):
        assert "ScannedRecord" in str(inspect.signature(client.scan).return_annotation)
