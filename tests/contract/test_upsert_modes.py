"""INSERT_ONLY leaves what exists as it is, UPDATE_ONLY makes nothing new; both count what they wrote."""

from __future__ import annotations

import asyncio
import json

import numpy as np
import pytest
from podroute_router.domain import Collection, Record, UpsertMode

from .harness import Harness
from .judgement import check_records

ONLY = [UpsertMode.INSERT_ONLY, UpsertMode.UPDATE_ONLY]
ODD_IDS = ["'; drop table vecs.docs; --", '{"a", b}', "NULL", "back\\slash \\n", "é", "e\u0301", "😀", "x" * 1024]
ODD_METADATA = (
    '{"decimal": 0.123456789012345678901234567890123, "text": "it\'s \\"é\\" 😀", "nested": {"a": [1, null]}}'
)
ODD_NUMBERS = np.array([3.4028235e38, 1e-45, -0.1], np.float32)


def make(first: int, count: int, value: float, metadata: str = "{}") -> list[Record]:
    return [
        Record(id=f"r{number}", vector=np.array([number, value, -1], np.float32), metadata=metadata)
        for number in range(first, first + count)
    ]


async def upsert(harness: Harness, collection: Collection, records: list[Record], mode: UpsertMode) -> int:
    return await harness.backend.upsert(collection, records, harness.deadline(), mode)


async def check_all(harness: Harness, collection: Collection, expected: list[Record]) -> None:
    assert await harness.backend.count(collection, None, harness.deadline()) == len(expected)
    found = await harness.backend.fetch(collection, [record.id for record in expected], harness.deadline())
    check_records(found, expected)


async def test_insert_only_leaves_records_that_exist_as_they_are(harness: Harness, collection: Collection) -> None:
    old, new = make(0, 4, 1, '{"old": true}'), make(2, 5, 2, '{"new": true}')
    assert await upsert(harness, collection, old, UpsertMode.INSERT_ONLY) == 4
    assert await upsert(harness, collection, new, UpsertMode.INSERT_ONLY) == 3
    assert await upsert(harness, collection, new, UpsertMode.INSERT_ONLY) == 0
    await check_all(harness, collection, old + new[2:])


async def test_update_only_writes_ids_that_exist(harness: Harness, collection: Collection) -> None:
    old, new = make(0, 4, 1, '{"old": true}'), make(2, 5, 2, '{"new": true}')
    assert await upsert(harness, collection, new, UpsertMode.UPDATE_ONLY) == 0
    await upsert(harness, collection, old, UpsertMode.REPLACE)
    assert await upsert(harness, collection, new, UpsertMode.UPDATE_ONLY) == 2
    assert await upsert(harness, collection, new, UpsertMode.UPDATE_ONLY) == 2, "those count that are so already"
    await check_all(harness, collection, old[:2] + new[:2])


@pytest.mark.parametrize("mode", ONLY)
async def test_a_record_is_written_to_the_letter_in_any_mode(
    harness: Harness, collection: Collection, mode: UpsertMode
) -> None:
    if mode is UpsertMode.UPDATE_ONLY:
        blank = [Record(id=record_id, vector=np.zeros(3, np.float32)) for record_id in ODD_IDS]
        await upsert(harness, collection, blank, UpsertMode.REPLACE)
    records = [Record(id=record_id, vector=ODD_NUMBERS, metadata=ODD_METADATA) for record_id in ODD_IDS]
    assert await upsert(harness, collection, records, mode) == len(ODD_IDS)
    await check_all(harness, collection, records)


async def test_a_large_upsert_is_whole_in_any_mode(harness: Harness, collection: Collection) -> None:
    first, all_of_them = make(0, 1200, 1), make(0, 2500, 2, '{"n": 1}')
    assert await upsert(harness, collection, first, UpsertMode.INSERT_ONLY) == 1200
    assert await upsert(harness, collection, all_of_them, UpsertMode.UPDATE_ONLY) == 1200
    await check_all(harness, collection, all_of_them[:1200])
    assert await upsert(harness, collection, all_of_them, UpsertMode.INSERT_ONLY) == 1300
    await check_all(harness, collection, all_of_them)


async def test_of_concurrent_inserters_one_wins_each_record(harness: Harness, collection: Collection) -> None:
    async def insert(writer: int) -> int:
        return await upsert(harness, collection, make(0, 20, writer), UpsertMode.INSERT_ONLY)

    assert sum(await asyncio.gather(*(insert(writer) for writer in range(4)))) == 20
    assert await harness.backend.count(collection, None, harness.deadline()) == 20


async def test_concurrent_updaters_of_one_record_all_succeed(harness: Harness, collection: Collection) -> None:
    async def update(writer: int) -> None:
        for turn in range(4):
            [record] = make(0, 1, writer, json.dumps({"turn": turn}))
            assert await upsert(harness, collection, [record], UpsertMode.UPDATE_ONLY) == 1

    await upsert(harness, collection, make(0, 1, 9), UpsertMode.REPLACE)
    await asyncio.gather(*(update(writer) for writer in range(4)))
    assert await harness.backend.count(collection, None, harness.deadline()) == 1
