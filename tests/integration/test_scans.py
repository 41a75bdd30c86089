"""Scan on a real channel: a caller who does not read holds the router back, and errors come as everywhere."""

from __future__ import annotations

import asyncio
import json

import grpc
import pytest
from podroute.v1 import collection_service_pb2 as collections_pb
from podroute.v1 import vector_service_pb2 as vectors_pb
from podroute_memory.backend import MemoryBackend
from podroute_router.domain import Collection, Deadline, ScannedRecord, ScanPage

from .api.face import CALL_TIMEOUT_S, LIMIT_BYTES, Face, a_config, failure, serving

RECORDS = 1200
TEXT = "x" * 20_000


class CountedPages(MemoryBackend):
    """A backend that counts the pages read."""

    def __init__(self) -> None:
        super().__init__()
        self.pages = 0

    async def scan(self, collection: Collection, page: ScanPage, deadline: Deadline) -> list[ScannedRecord]:
        self.pages += 1
        return await super().scan(collection, page, deadline)


async def fill(face: Face) -> None:
    await face.collections.CreateCollection(collections_pb.CreateCollectionRequest(name="docs", dimension=1))
    for start in range(0, RECORDS, 3):
        records = [
            {"id": f"{number:06d}", "vector": {"values": [1]}, "metadata": json.dumps({"text": TEXT})}
            for number in range(start, start + 3)
        ]
        await face.vectors.Upsert(vectors_pb.UpsertRequest(collection="docs", records=records), timeout=CALL_TIMEOUT_S)


async def test_a_caller_who_does_not_read_holds_the_router_back() -> None:
    backend = CountedPages()
    async with serving(a_config(), backend) as face:
        await fill(face)
        request = vectors_pb.ScanRequest(collection="docs", page_size=1000, include_metadata=True)
        stream = aiter(face.vectors.Scan(request))
        first = await anext(stream)
        await asyncio.sleep(0.5)
        read_ahead = backend.pages
        rest = [response async for response in stream]
        ids = [record.id for response in (first, *rest) for record in response.records]
    assert ids == [f"{number:06d}" for number in range(RECORDS)]
    assert max(response.ByteSize() for response in rest) <= LIMIT_BYTES, "however small the bound on a message"
    assert backend.pages > 8
    assert read_ahead < backend.pages / 2


async def test_a_scan_that_cannot_be_is_refused_with_a_reason() -> None:
    async with serving(a_config()) as face:
        code, info, _ = await failure(face.vectors.Scan(vectors_pb.ScanRequest(collection="nowhere")).read())
        assert (code, info.reason) == (grpc.StatusCode.NOT_FOUND, "COLLECTION_NOT_FOUND")
        bad = vectors_pb.ScanRequest(collection="docs", resume_token="?")
        code, info, _ = await failure(face.vectors.Scan(bad).read())
        assert (code, info.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "RESUME_TOKEN")
        assert info.metadata["field"] == "resume_token"


async def test_a_scan_whose_caller_sets_no_deadline_may_take_as_long_as_a_stream() -> None:
    seconds: list[float] = []

    class Timed(MemoryBackend):
        async def scan(self, collection: Collection, page: ScanPage, deadline: Deadline) -> list[ScannedRecord]:
            seconds.append(deadline.remaining_s())
            return await super().scan(collection, page, deadline)

    async with serving(a_config(), Timed()) as face:
        await face.collections.CreateCollection(collections_pb.CreateCollectionRequest(name="docs", dimension=1))
        request = vectors_pb.ScanRequest(collection="docs")
        assert [response async for response in face.vectors.Scan(request)] == []
        assert [response async for response in face.vectors.Scan(request, timeout=5)] == []
    assert seconds == [pytest.approx(60.0, abs=2), pytest.approx(5.0, abs=2)], "statement_s bounds each page"


async def test_a_caller_who_leaves_ends_the_scan_without_a_word(caplog: pytest.LogCaptureFixture) -> None:
    backend = CountedPages()
    async with serving(a_config(), backend) as face:
        await fill(face)
        request = vectors_pb.ScanRequest(collection="docs", page_size=1000, include_metadata=True)
        for _ in range(10):
            call = face.vectors.Scan(request)
            await anext(aiter(call))
            call.cancel()
        await asyncio.sleep(0.3)
        pages = backend.pages
        await asyncio.sleep(0.3)
        assert backend.pages == pages
    assert [record.getMessage() for record in caplog.records if record.levelname != "DEBUG"] == []
