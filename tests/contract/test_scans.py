"""A scan reads every record that matches once, in code-point order of ids, whatever the pages."""

from __future__ import annotations

import json

import numpy as np
import pytest
from podroute_router.domain import Collection, Record, ScannedRecord, ScanPage
from podroute_router.filters import Comparison, Filter, Negated, Operator

from .harness import Harness
from .judgement import check_records

IDS = [
    "a",
    "A",
    "b",
    "B",
    "_",
    " ",
    "10",
    "9",
    "é",
    "e\u0301",
    "ß",
    "z",
    "шалом",
    "数据库",
    "😀",
    "\ufffd",
    "\U0010ffff",
    "\x01",
]
EVEN = Comparison(("even",), Operator.EQ, (True,))


def make(ids: list[str]) -> list[Record]:
    return [
        Record(
            id=record_id,
            vector=np.array([number, 1, -number], np.float32),
            metadata=json.dumps({"even": number % 2 == 0, "id": record_id}),
        )
        for number, record_id in enumerate(ids)
    ]


async def scan(
    harness: Harness, collection: Collection, limit: int, filter: Filter | None = None, *, whole: bool = False
) -> list[ScannedRecord]:
    """All pages; each but the last is full."""
    found: list[ScannedRecord] = []
    after = ""
    while True:
        page = ScanPage(after=after, limit=limit, filter=filter, include_metadata=whole, include_vector=whole)
        records = await harness.backend.scan(collection, page, harness.deadline())
        found += records
        if len(records) < limit:
            return found
        assert len(records) == limit
        after = records[-1].id


async def test_an_empty_collection_has_nothing_to_scan(harness: Harness, collection: Collection) -> None:
    assert await scan(harness, collection, 10) == []


@pytest.mark.parametrize("limit", [1, 2, len(IDS), 100])
async def test_ids_come_in_code_point_order(harness: Harness, collection: Collection, limit: int) -> None:
    await harness.backend.upsert(collection, make(IDS), harness.deadline())
    found = await scan(harness, collection, limit)
    assert found == [ScannedRecord(id=record_id) for record_id in sorted(IDS)]


async def test_records_come_whole_where_they_are_asked_for(harness: Harness, collection: Collection) -> None:
    records = make(IDS)
    await harness.backend.upsert(collection, records, harness.deadline())
    found = [
        Record(id=one.id, vector=one.vector, metadata=one.metadata)
        for one in await scan(harness, collection, 5, whole=True)
        if one.vector is not None and one.metadata is not None
    ]
    check_records(found, records)


@pytest.mark.parametrize("limit", [1, 3, 100])
async def test_a_scan_has_only_what_matches(harness: Harness, collection: Collection, limit: int) -> None:
    await harness.backend.upsert(collection, make(IDS), harness.deadline())
    even = [record.id for record in await scan(harness, collection, limit, EVEN)]
    odd = [record.id for record in await scan(harness, collection, limit, Negated(EVEN), whole=True)]
    assert even == sorted(IDS[::2])
    assert odd == sorted(IDS[1::2])


async def test_what_is_written_under_way_does_not_disturb_the_rest(harness: Harness, collection: Collection) -> None:
    records = make([f"{number:04d}" for number in range(30)])
    await harness.backend.upsert(collection, records, harness.deadline())
    seen: list[str] = []
    after = ""
    for number in range(3):
        page = await harness.backend.scan(collection, ScanPage(after=after, limit=10), harness.deadline())
        seen += [record.id for record in page]
        after = seen[-1]
        again = [record for record in records if record.id <= after]  # moves them in the table
        await harness.backend.upsert(collection, [*again, *make([f"-{number}"])], harness.deadline())
    assert seen == [record.id for record in records]
