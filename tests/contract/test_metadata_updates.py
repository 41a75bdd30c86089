"""Metadata is merged or replaced, by ids or by filter, and the rest of a record stays."""

from __future__ import annotations

import asyncio
import json

import numpy as np
import pytest
from podroute_router.domain import Collection, MetadataUpdate, Record, Selection, UpdateMode
from podroute_router.filters import Comparison, Negated, Operator

from .harness import Harness
from .judgement import check_records

KEEP = Comparison(("keep",), Operator.EQ, (True,))


def make(*metadata: str) -> list[Record]:
    return [
        Record(id=f"r{number}", vector=np.array([number, 1, -number], np.float32), metadata=text)
        for number, text in enumerate(metadata)
    ]


async def update(
    harness: Harness, collection: Collection, selection: Selection, metadata: str, mode: UpdateMode
) -> int:
    change = MetadataUpdate(selection=selection, metadata=metadata, mode=mode)
    return await harness.backend.update_metadata(collection, change, harness.deadline())


async def check_all(harness: Harness, collection: Collection, expected: list[Record]) -> None:
    found = await harness.backend.fetch(collection, [record.id for record in expected], harness.deadline())
    check_records(found, expected)


@pytest.mark.parametrize(
    ("before", "change", "after"),
    [
        ("{}", '{"a": 1}', '{"a": 1}'),
        ('{"a": 1, "b": {"c": 2, "d": 3}}', '{"b": {"c": 4}}', '{"a": 1, "b": {"c": 4}}'),
        ('{"a": [1, 2]}', '{"a": null, "é😀": "it\'s"}', '{"a": null, "é😀": "it\'s"}'),
        ('{"a": 1}', "{}", '{"a": 1}'),
        ('{"n": 0.12345678901234567890123456789}', '{"m": 9223372036854775808}', None),
        (' { "a" : [ "}" , { "b" : "\\"" } ] , "a" : 2 } ', '{"twice": 1, "twice": 2}', '{"a": 2, "twice": 2}'),
    ],
)
async def test_merging_sets_top_level_keys(
    harness: Harness, collection: Collection, before: str, change: str, after: str | None
) -> None:
    await harness.backend.upsert(collection, make(before, before), harness.deadline())
    assert await update(harness, collection, Selection(ids=("r0", "nowhere")), change, UpdateMode.MERGE) == 1
    wanted = after or before[:-1] + ", " + change[1:]
    await check_all(harness, collection, make(wanted, before))


async def test_replacing_leaves_nothing_of_what_was(harness: Harness, collection: Collection) -> None:
    await harness.backend.upsert(collection, make('{"a": 1}', '{"b": 2}', '{"c": 3}'), harness.deadline())
    ids = Selection(ids=("r0", "r2", "r2"))
    assert await update(harness, collection, ids, '{"d": 4}', UpdateMode.REPLACE) == 2
    await check_all(harness, collection, make('{"d": 4}', '{"b": 2}', '{"d": 4}'))
    assert await update(harness, collection, ids, "{}", UpdateMode.REPLACE) == 2
    await check_all(harness, collection, make("{}", '{"b": 2}', "{}"))


@pytest.mark.parametrize("mode", list(UpdateMode))
async def test_a_filter_selects_by_what_was_before(harness: Harness, collection: Collection, mode: UpdateMode) -> None:
    before = ['{"keep": true}', '{"keep": false, "n": 1}', '{"keep": false, "n": 2}']
    await harness.backend.upsert(collection, make(*before), harness.deadline())
    others = Selection(filter=Negated(KEEP))
    assert await update(harness, collection, others, '{"keep": true}', mode) == 2
    assert await update(harness, collection, others, '{"keep": true}', mode) == 0
    assert await harness.backend.count(collection, KEEP, harness.deadline()) == 3
    merged = mode is UpdateMode.MERGE
    after = [json.dumps({"keep": True, "n": n} if merged else {"keep": True}) for n in (1, 2)]
    await check_all(harness, collection, make(before[0], *after))


async def test_an_update_that_selects_nothing_changes_nothing(harness: Harness, collection: Collection) -> None:
    records = make('{"a": 1}')
    await harness.backend.upsert(collection, records, harness.deadline())
    assert await update(harness, collection, Selection(ids=("nowhere",)), '{"b": 1}', UpdateMode.REPLACE) == 0
    assert await update(harness, collection, Selection(filter=KEEP), '{"b": 1}', UpdateMode.MERGE) == 0
    await check_all(harness, collection, records)


async def test_concurrent_merges_into_one_record_all_last(harness: Harness, collection: Collection) -> None:
    async def merge(writer: int) -> None:
        for turn in range(4):
            change = json.dumps({f"{writer}_{turn}": turn})
            assert await update(harness, collection, Selection(ids=("r0",)), change, UpdateMode.MERGE) == 1

    await harness.backend.upsert(collection, make("{}"), harness.deadline())
    await asyncio.gather(*(merge(writer) for writer in range(4)))
    wanted = {f"{writer}_{turn}": turn for writer in range(4) for turn in range(4)}
    await check_all(harness, collection, make(json.dumps(wanted)))
