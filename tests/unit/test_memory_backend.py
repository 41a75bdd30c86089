"""What the memory backend does beyond the contract suite's tests."""

from __future__ import annotations

import numpy as np
import podroute_memory.plugin
import pytest
from podroute_memory.backend import MemoryBackend
from podroute_router.backend import BackendContext, CollectionStore, MapFollower
from podroute_router.config import Config, Database
from podroute_router.domain import AccessPath, Collection, Deadline, Metric, Placement, Query, Record, WantedIndex
from podroute_router.errors import DeadlineExceeded, Unavailable, Unsupported
from podroute_router.plugins import load_backend_factories

DOCS = Collection(
    name="docs", dimension=2, metric=Metric.L2, placement=Placement(pod="alpha", schema="vecs", table="docs")
)


def soon() -> Deadline:
    return Deadline.after(10)


async def backend_with(*records: Record) -> MemoryBackend:
    backend = MemoryBackend()
    await backend.create_collection(DOCS, soon())
    if records:
        await backend.upsert(DOCS, records, soon())
    return backend


def record(record_id: str, x: float, y: float) -> Record:
    return Record(id=record_id, vector=np.array([x, y], np.float32))


def test_the_plugin_offers_a_direct_backend_that_makes_its_own_collections() -> None:
    factories = load_backend_factories([podroute_memory.plugin])
    assert list(factories) == ["memory"]
    assert factories["memory"].access_path is AccessPath.DIRECT
    opened = factories["memory"].open(BackendContext(Config(primary=Database(dsn="dbname=unused"))))
    assert isinstance(opened, CollectionStore)
    assert not isinstance(opened, MapFollower)


async def test_matches_come_in_the_order_of_distance_then_id() -> None:
    backend = await backend_with(
        record("zero", 0, 0), record("é", 1, 0), record("Z", 1, 0), record("a", 1, 0), record("off", 1, 1)
    )
    query = Query(vector=np.array([2, 0], np.float32), limit=10, metric=Metric.COSINE)
    matches = (await backend.query(DOCS, query, soon())).matches
    assert [match.id for match in matches] == ["Z", "a", "é", "off", "zero"]


async def test_a_stored_vector_is_safe_from_its_giver_and_its_takers() -> None:
    given = record("a", 1, 2)
    backend = await backend_with(given)
    given.vector[0] = 99
    [stored] = await backend.fetch(DOCS, ["a"], soon())
    assert stored.vector.tolist() == [1, 2]
    with pytest.raises(ValueError, match="read-only"):
        stored.vector[0] = 99


async def test_fetching_an_id_twice_finds_it_once() -> None:
    backend = await backend_with(record("a", 1, 2))
    assert len(await backend.fetch(DOCS, ["a", "a"], soon())) == 1


async def test_metadata_that_is_no_json_leaves_everything_as_it_was() -> None:
    backend = await backend_with()
    broken = Record(id="b", vector=np.zeros(2, np.float32), metadata="{")
    with pytest.raises(ValueError, match="Expecting"):
        await backend.upsert(DOCS, [record("a", 1, 2), broken], soon())
    assert await backend.count(DOCS, None, soon()) == 0


async def test_a_call_whose_time_has_run_out_is_refused_and_writes_nothing() -> None:
    backend = await backend_with()
    with pytest.raises(DeadlineExceeded):
        await backend.upsert(DOCS, [record("a", 1, 2)], Deadline.after(-1))
    assert await backend.count(DOCS, None, soon()) == 0


async def test_an_index_is_unsupported() -> None:
    backend = await backend_with()
    with pytest.raises(Unsupported, match="exactly"):
        backend.create_index(DOCS, WantedIndex(metric=Metric.L2), soon())


async def test_the_estimate_counts_the_pods_records_and_no_others() -> None:
    backend = await backend_with(record("a", 1, 2), record("b", 3, 4))
    assert await backend.record_estimate("alpha", soon()) == 2
    assert await backend.record_estimate("beta", soon()) == 0


async def test_a_closed_backend_has_forgotten_everything() -> None:
    backend = await backend_with(record("a", 1, 2))
    await backend.close()
    with pytest.raises(Unavailable) as raised:
        await backend.count(DOCS, None, soon())
    assert raised.value.reason == "TABLE_MISSING"
    assert raised.value.facts == {"collection": "docs", "pod": "alpha"}
