"""Records are written, read back, counted and deleted as they were given."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from contextlib import suppress

import numpy as np
import pytest
from podroute_router.domain import Collection, Metric, Query, Record, Selection
from podroute_router.errors import PodrouteError, ResourceExhausted
from podroute_router.filters import Comparison, Negated, Operator
from podroute_router.metadata import MAX_BYTES

from .harness import Harness
from .judgement import check_records

IDS = [
    "plain",
    " ",
    "  padded  ",
    "'; drop table vecs.docs; --",
    "O''Brien",
    'say "hello"',
    '{"a", b}',
    "{}",
    "NULL",
    "back\\slash \\n \\",
    "%s %(id)s $1 :id ?",
    "two\nlines\tand\ra tab",
    "\x01\x7f",
    "a",
    "A",
    "é",
    "e\u0301",
    "ﬁ",
    "ß",
    "İstanbul",
    "шалом",
    "שלום \u202eעולם",
    "مرحبا",
    "数据库",
    "😀👩‍👩‍👧‍👦",
    "\ufffd",
    "\U0010ffff",
    "\u200b",
    "x" * 1024,
    "😀" * 256,
]

METADATA = [
    "{}",
    ' { "spaced" : [ 1 , 2 ] } ',
    '{"null": null, "true": true, "false": false}',
    '{"nested": {"deeper": {"deepest": [1, [2, [3, {"x": []}]]]}}, "empty": {}}',
    json.dumps({"big": 2**70, "bigger": -(10**300)}),
    '{"decimal": 0.123456789012345678901234567890123456789, "pi": 3.14159265358979323846264338327950288}',
    '{"one": 1, "same": 1.0, "hundred": 1e2, "none": -0, "small": 1e-300, "huge": 12345678901234567890e100}',
    '{"int64": 9223372036854775807, "beyond": 9223372036854775808}',
    json.dumps({"ключ": "значение", "键": "值", "😀": "👍", "é": "e\u0301"}, ensure_ascii=False),
    json.dumps({"ключ": "значение", "键": "值", "😀": "👍", "é": "e\u0301"}),
    json.dumps(
        {'"': '"', "'": "'", "\\": "\\", ".": ".", "$": "$", "": "", " ": " ", "a.b": 1, "%s": "%s", "\n": "\t"}
    ),
    '{"twice": 1, "twice": {"last": "wins"}}',
    json.dumps({"text": "it's; drop table vecs.docs; --"}),
    json.dumps({"long": "x" * 100_000}),
    '{"deep": ' + "[" * 62 + "]" * 62 + "}",
    json.dumps({str(number): number for number in range(500)}),
]


def make_records(count: int, metadata: str = "{}", start: int = 0) -> list[Record]:
    return [
        Record(id=f"r{number}", vector=np.array([number, 1, -number], np.float32), metadata=metadata)
        for number in range(start, start + count)
    ]


async def fetch(harness: Harness, collection: Collection, ids: Sequence[str]) -> list[Record]:
    return await harness.backend.fetch(collection, ids, harness.deadline())


async def count(harness: Harness, collection: Collection) -> int:
    return await harness.backend.count(collection, None, harness.deadline())


async def test_a_new_collection_is_empty(harness: Harness, collection: Collection) -> None:
    query = Query(vector=np.ones(3, np.float32), limit=10, metric=Metric.COSINE)
    assert await count(harness, collection) == 0
    assert await fetch(harness, collection, ["a"]) == []
    result = await harness.backend.query(collection, query, harness.deadline())
    assert result.matches == []
    assert result.complete
    assert await harness.backend.delete(collection, Selection(ids=("a",)), harness.deadline()) == 0


async def test_upsert_inserts_and_says_how_many(harness: Harness, collection: Collection) -> None:
    records = make_records(5)
    assert await harness.backend.upsert(collection, records, harness.deadline()) == 5
    assert await count(harness, collection) == 5
    check_records(await fetch(harness, collection, [record.id for record in records]), records)


async def test_upsert_replaces_the_whole_record(harness: Harness, collection: Collection) -> None:
    old = make_records(4, '{"old": 1, "kept": false}')
    new = [Record(id=r.id, vector=r.vector + 100, metadata='{"new": 2}') for r in make_records(4, start=2)]
    await harness.backend.upsert(collection, old, harness.deadline())
    assert await harness.backend.upsert(collection, new, harness.deadline()) == 4, "replaced ones count too"
    check_records(await fetch(harness, collection, [f"r{n}" for n in range(6)]), old[:2] + new)


async def test_the_last_of_many_writes_wins(harness: Harness, collection: Collection) -> None:
    for number in range(5):
        record = Record(id="same", vector=np.full(3, number, np.float32), metadata=json.dumps({"n": number}))
        await harness.backend.upsert(collection, [record], harness.deadline())
    assert await count(harness, collection) == 1
    check_records(await fetch(harness, collection, ["same"]), [record])


async def test_a_large_upsert_is_one_write(harness: Harness, collection: Collection) -> None:
    records = make_records(2500)
    assert await harness.backend.upsert(collection, records, harness.deadline()) == 2500
    assert await harness.backend.upsert(collection, records, harness.deadline()) == 2500
    assert await count(harness, collection) == 2500


async def test_an_upsert_in_several_statements_is_one_transaction(
    harness: Harness, collection: Collection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("podroute_router.postgres.access.TEXT_COMPONENTS", 7 * collection.dimension)
    records = make_records(30)
    ids = [record.id for record in records]
    assert await harness.backend.upsert(collection, records, harness.deadline()) == 30
    check_records(await fetch(harness, collection, ids), records)
    changed = make_records(20, metadata='{"new": true}')
    broken = Record(id="zz", vector=records[0].vector, metadata="no JSON")  # in the last of them
    with pytest.raises((PodrouteError, ValueError)):
        await harness.backend.upsert(collection, [*changed, broken], harness.deadline())
    check_records(await fetch(harness, collection, ids), records)


async def test_concurrent_writers_of_one_record_all_succeed(harness: Harness, collection: Collection) -> None:
    async def write(writer: int) -> None:
        for _ in range(5):
            record = Record(id="hot", vector=np.full(3, writer, np.float32))
            assert await harness.backend.upsert(collection, [record], harness.deadline()) == 1

    await asyncio.gather(*(write(writer) for writer in range(4)))
    assert await count(harness, collection) == 1


async def test_collections_do_not_see_each_other(harness: Harness, collection: Collection) -> None:
    async with harness.collection(3, make_records(3)) as other:
        await harness.backend.upsert(collection, make_records(1), harness.deadline())
        assert await count(harness, collection) == 1
        assert await harness.backend.delete(other, Selection(ids=("r0", "r1")), harness.deadline()) == 2
        assert await count(harness, collection) == 1


async def test_fetch_finds_those_that_exist(harness: Harness, collection: Collection) -> None:
    records = make_records(3)
    await harness.backend.upsert(collection, records, harness.deadline())
    check_records(await fetch(harness, collection, ["r2", "nowhere", "r0", ""]), [records[2], records[0]])


async def test_delete_by_ids_counts_those_that_existed(harness: Harness, collection: Collection) -> None:
    await harness.backend.upsert(collection, make_records(5), harness.deadline())
    selection = Selection(ids=("r1", "r3", "r3", "nowhere"))
    assert await harness.backend.delete(collection, selection, harness.deadline()) == 2
    assert await harness.backend.delete(collection, selection, harness.deadline()) == 0
    check_records(await fetch(harness, collection, [f"r{n}" for n in range(5)]), make_records(5)[::2])


async def test_delete_by_filter_leaves_the_rest(harness: Harness, collection: Collection) -> None:
    records = make_records(4, '{"keep": true}') + make_records(3, '{"keep": false}', start=4)
    await harness.backend.upsert(collection, records, harness.deadline())
    keep = Comparison(("keep",), Operator.EQ, (True,))
    assert await harness.backend.count(collection, keep, harness.deadline()) == 4
    assert await harness.backend.delete(collection, Selection(filter=Negated(keep)), harness.deadline()) == 3
    check_records(await fetch(harness, collection, [record.id for record in records]), records[:4])


async def test_a_deletion_says_which_records_it_deleted(harness: Harness, collection: Collection) -> None:
    await harness.backend.upsert(
        collection, make_records(3) + make_records(2, '{"old": true}', start=3), harness.deadline()
    )
    by_ids = Selection(ids=("r2", "r0", "r2", "nowhere"))
    deleted = await harness.backend.delete_returning(collection, by_ids, 1000, harness.deadline())
    assert sorted(deleted) == ["r0", "r2"]
    assert await harness.backend.delete_returning(collection, by_ids, 1000, harness.deadline()) == []
    by_filter = Selection(filter=Comparison(("old",), Operator.EQ, (True,)))
    deleted = await harness.backend.delete_returning(collection, by_filter, 1000, harness.deadline())
    assert sorted(deleted) == ["r3", "r4"]
    assert await count(harness, collection) == 1


@pytest.mark.parametrize(
    "everything",
    [
        Selection(ids=tuple(f"r{n}" for n in range(5))),
        Selection(filter=Comparison(("old",), Operator.EQ, (True,))),
        Selection(filter=Comparison(("old",), Operator.EXISTS)),
    ],
    ids=["ids", "equality", "existence"],
)
async def test_nothing_is_deleted_where_the_ids_would_find_no_room(
    harness: Harness, collection: Collection, everything: Selection
) -> None:
    await harness.backend.upsert(collection, make_records(5, '{"old": true}'), harness.deadline())
    with pytest.raises(ResourceExhausted) as refused:
        await harness.backend.delete_returning(collection, everything, 24, harness.deadline())
    assert refused.value.reason == "RESPONSE_TOO_LARGE"
    assert await count(harness, collection) == 5
    assert len(await harness.backend.delete_returning(collection, everything, 25, harness.deadline())) == 5
    if everything.ids is None:
        assert await harness.backend.delete_returning(collection, everything, 0, harness.deadline()) == []


async def test_a_deleted_record_can_be_written_again(harness: Harness, collection: Collection) -> None:
    [record] = make_records(1)
    await harness.backend.upsert(collection, [record], harness.deadline())
    await harness.backend.delete(collection, Selection(ids=(record.id,)), harness.deadline())
    assert await fetch(harness, collection, [record.id]) == []
    await harness.backend.upsert(collection, [record], harness.deadline())
    check_records(await fetch(harness, collection, [record.id]), [record])


async def test_any_id_is_kept_to_the_letter(harness: Harness, collection: Collection) -> None:
    records = [
        Record(id=record_id, vector=np.array([number, 0, 0], np.float32), metadata=json.dumps({"id": record_id}))
        for number, record_id in enumerate(IDS)
    ]
    assert await harness.backend.upsert(collection, records, harness.deadline()) == len(IDS)
    check_records(await fetch(harness, collection, IDS), records)
    for record in records:
        query = Query(vector=record.vector, limit=1, metric=Metric.L2, include_metadata=True)
        [match] = (await harness.backend.query(collection, query, harness.deadline())).matches
        assert match.id == record.id
    assert await harness.backend.delete(collection, Selection(ids=tuple(IDS[::2])), harness.deadline()) == len(IDS[::2])
    check_records(await fetch(harness, collection, IDS), records[1::2])


async def test_any_metadata_keeps_its_meaning(harness: Harness, collection: Collection) -> None:
    records = [
        Record(id=f"m{number}", vector=np.array([number, 0, 0], np.float32), metadata=text)
        for number, text in enumerate(METADATA)
    ]
    await harness.backend.upsert(collection, records, harness.deadline())
    check_records(await fetch(harness, collection, [record.id for record in records]), records)
    query = Query(vector=np.zeros(3, np.float32), limit=100, metric=Metric.L2, include_metadata=True)
    result = await harness.backend.query(collection, query, harness.deadline())
    vectors = {record.id: record.vector for record in records}
    found = [Record(id=m.id, vector=vectors[m.id], metadata=m.metadata or "") for m in result.matches]
    check_records(found, records)


async def test_the_longest_metadata_is_kept(harness: Harness, collection: Collection) -> None:
    texts = ["x" * (MAX_BYTES - 12), "\\\\" * (MAX_BYTES // 2 - 6), "\U0001f600" * (MAX_BYTES // 4 - 3)]
    records = [
        Record(id=f"l{number}", vector=np.array([number, 0, 0], np.float32), metadata=f'{{"text": "{text}"}}')
        for number, text in enumerate(texts)
    ]
    assert all(MAX_BYTES - 16 <= len(record.metadata.encode()) <= MAX_BYTES for record in records)
    assert await harness.backend.upsert(collection, records, harness.deadline()) == len(records)
    check_records(await fetch(harness, collection, [record.id for record in records]), records)


@pytest.mark.parametrize(
    "components",
    [
        [3.4028235e38, -3.4028235e38, 1.1754944e-38],
        [1e-45, -1e-45, 0],
        [0, -0.0, 0],
        [0.1, 1 / 3, 16777217],
    ],
    ids=["largest", "denormal", "zero", "rounded"],
)
async def test_any_float32_is_kept_to_the_bit(
    harness: Harness, collection: Collection, components: list[float]
) -> None:
    record = Record(id="v", vector=np.array(components, np.float32))
    await harness.backend.upsert(collection, [record], harness.deadline())
    check_records(await fetch(harness, collection, ["v"]), [record])


@pytest.mark.parametrize("dimension", [1, 2, 4096, 16000])
async def test_any_dimension_works(harness: Harness, dimension: int) -> None:
    vectors = np.random.default_rng(dimension).normal(size=(4, dimension)).astype(np.float32)
    records = [Record(id=f"d{number}", vector=vector) for number, vector in enumerate(vectors)]
    async with harness.collection(dimension, records) as collection:
        check_records(await fetch(harness, collection, ["d0", "d3"]), [records[0], records[3]])
        query = Query(vector=vectors[2], limit=1, metric=Metric.L2)
        [match] = (await harness.backend.query(collection, query, harness.deadline())).matches
        assert (match.id, match.distance) == ("d2", 0.0)


async def test_a_cancelled_call_leaves_the_backend_in_order(harness: Harness, collection: Collection) -> None:
    await harness.backend.upsert(collection, make_records(500), harness.deadline())
    for number in range(20):
        call = asyncio.ensure_future(count(harness, collection))
        await asyncio.sleep(number * 0.0002)
        call.cancel()
        with suppress(asyncio.CancelledError):
            assert await call == 500
    assert await asyncio.gather(*(count(harness, collection) for _ in range(20))) == [500] * 20
