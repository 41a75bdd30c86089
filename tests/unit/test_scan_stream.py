"""A scan's pages and responses: as large as they may be, one page at a time, resumed after any response."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
from podroute.v1 import vector_service_pb2 as vectors
from podroute_memory.backend import MemoryBackend
from podroute_router.api.scan_stream import FIRST_PAGE_RECORDS, PAGE_BYTES, RESPONSE_BYTES, ScanStream, next_size
from podroute_router.domain import (
    AccessPath,
    Collection,
    Deadline,
    Metric,
    Placement,
    Record,
    Route,
    ScannedRecord,
    ScanPage,
)
from podroute_router.errors import DeadlineExceeded, InvalidArgument, Unavailable

DOCS = Collection(name="docs", dimension=2, metric=Metric.L2, placement=Placement(pod="a", schema="vecs", table="docs"))
ROUTE = Route(path=AccessPath.DIRECT, pods=("a",), map_revision=1, on_primary=False)
MESSAGE_BYTES = 64 * 1024 * 1024


@dataclass
class Pages:
    """Reads from an oracle, and keeps how many records each page had."""

    backend: MemoryBackend
    sizes: list[int] = field(default_factory=list)

    async def read(
        self, name: str, page: ScanPage, path: AccessPath, deadline: Deadline
    ) -> tuple[list[ScannedRecord], Route]:
        found = await self.backend.scan(DOCS, page, deadline)
        self.sizes.append(len(found))
        return found, ROUTE


async def pages(count: int, text: str = "") -> Pages:
    backend = MemoryBackend()
    await backend.create_collection(DOCS, Deadline.after(10))
    records = [
        Record(id=f"{number:06d}", vector=np.ones(2, np.float32), metadata=json.dumps({"text": text}))
        for number in range(count)
    ]
    await backend.upsert(DOCS, records, Deadline.after(10))
    return Pages(backend)


def scan(source: Pages, *, seconds: float = 10, stopping: asyncio.Event | None = None, **fields: Any) -> ScanStream:
    return ScanStream(
        vectors.ScanRequest(**{"collection": "docs", "page_size": 1000, **fields}),
        read=source.read,
        deadline=Deadline.after(seconds),
        page_s=10,
        max_message_bytes=MESSAGE_BYTES,
        stopping=stopping or asyncio.Event(),
    )


def ids(responses: list[vectors.ScanResponse]) -> list[str]:
    return [record.id for response in responses for record in response.records]


async def all_of(responses: AsyncIterator[vectors.ScanResponse]) -> list[vectors.ScanResponse]:
    return [response async for response in responses]


async def test_pages_grow_to_the_size_asked_for() -> None:
    source = await pages(1000)
    found = await all_of(scan(source, page_size=200).answer())
    assert ids(found) == [f"{number:06d}" for number in range(1000)]
    assert source.sizes == [FIRST_PAGE_RECORDS, 128, 200, 200, 200, 200, 8]
    assert [len(response.records) for response in found] == source.sizes


async def test_no_response_is_without_records() -> None:
    assert await all_of(scan(await pages(0)).answer()) == []
    assert [len(response.records) for response in await all_of(scan(await pages(64)).answer())] == [64]


async def test_long_records_make_short_pages_and_responses() -> None:
    source = await pages(200, "x" * (PAGE_BYTES // 20))
    found = await all_of(scan(source, include_metadata=True).answer())
    assert len(ids(found)) == 200
    assert source.sizes[:2] == [FIRST_PAGE_RECORDS, 16]
    assert max(source.sizes[1:]) == 16
    assert max(response.ByteSize() for response in found) <= RESPONSE_BYTES + 200
    assert sum(len(response.records) for response in found[:4]) > 4, "a response has several records where they fit"


@pytest.mark.parametrize(
    ("size", "sent_bytes", "wanted"),
    [(64, 1, 128), (64, PAGE_BYTES // 2, 128), (64, PAGE_BYTES, 64), (64, PAGE_BYTES + 1, 32), (1, 3 * PAGE_BYTES, 1)],
)
def test_the_next_page_is_twice_as_large_or_as_small_as_fits(size: int, sent_bytes: int, wanted: int) -> None:
    assert next_size(size, sent_bytes) == wanted


async def test_a_scan_goes_on_after_any_response() -> None:
    source = await pages(300, "x" * 20_000)
    whole = await all_of(scan(source, include_metadata=True).answer())
    assert len(whole) > 5
    for at, response in enumerate(whole):
        rest = await all_of(scan(source, resume_token=response.resume_token).answer())
        assert ids(rest) == ids(whole[at + 1 :])


async def test_the_next_page_is_read_when_the_one_before_has_been_taken() -> None:
    source = await pages(1000)
    responses = scan(source).answer()
    for read in range(1, 4):
        await anext(responses)
        assert len(source.sizes) == read
    await responses.aclose()
    assert len(source.sizes) == 3


async def test_a_router_that_stops_ends_a_scan_so_that_it_can_be_resumed() -> None:
    source, stopping = await pages(100), asyncio.Event()
    responses = scan(source, stopping=stopping).answer()
    first = await anext(responses)
    stopping.set()
    with pytest.raises(Unavailable) as caught:
        await anext(responses)
    assert caught.value.reason == "SHUTTING_DOWN"
    rest = await all_of(scan(source, resume_token=first.resume_token).answer())
    assert len(ids([first, *rest])) == 100


async def test_the_end_of_the_scans_own_time_is_told_apart_from_a_slow_page() -> None:
    source = await pages(100)
    with pytest.raises(DeadlineExceeded) as caught:
        await all_of(scan(source, seconds=0).answer())
    assert caught.value.reason == "STREAM_DEADLINE"


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"collection": "No"}, "COLLECTION_NAME"),
        ({"path": 9}, "ACCESS_PATH"),
        ({"filter": {}}, "FILTER_EMPTY"),
        ({"page_size": -1}, "PAGE_SIZE"),
        ({"page_size": 1001}, "PAGE_SIZE"),
        ({"resume_token": "?"}, "RESUME_TOKEN"),
        ({"resume_token": "YQ=="}, "RESUME_TOKEN"),
        ({"resume_token": "b3RoZXI6YQ=="}, "RESUME_TOKEN"),
        ({"resume_token": "ZG9jczo="}, "RESUME_TOKEN"),
        ({"resume_token": "ZG9jczph/w=="}, "RESUME_TOKEN"),
        ({"resume_token": "é"}, "RESUME_TOKEN"),
    ],
)
async def test_a_scan_beyond_the_bounds_is_refused_before_anything_is_read(fields: dict[str, Any], reason: str) -> None:
    source = await pages(1)
    with pytest.raises(InvalidArgument) as caught:
        scan(source, **fields)
    assert caught.value.reason == reason
