"""Indexes of every kind are built, told of as they are, left alone, replaced and dropped."""

from __future__ import annotations

import re

import pytest
from pod_sessions import ask
from podroute_pgvector.backend import PgvectorBackend, build_settings
from podroute_router.config import Pod, make_config
from podroute_router.domain import (
    Collection,
    Hnsw,
    IndexMethod,
    IvfFlat,
    MetadataGin,
    Metric,
    Selection,
)
from podroute_router.embedded import Cluster
from podroute_router.errors import AlreadyExists, FailedPrecondition, NotFound
from servers import router_values

from .harness import COUNT, OF_HNSW, OF_IVFFLAT, built, soon, wanted


@pytest.mark.parametrize(
    ("metric", "asked", "stands", "name"),
    [
        *((metric, *case) for metric in Metric for case in OF_HNSW),
        *((metric, *case) for metric in Metric if metric is not Metric.L1 for case in OF_IVFFLAT),
    ],
    ids=str,
)
async def test_an_index_is_told_of_by_what_the_catalogs_have(  # noqa: PLR0917 (fixtures and cases)
    store: PgvectorBackend,
    collection: Collection,
    metric: Metric,
    asked: IndexMethod,
    stands: IndexMethod,
    name: str,
) -> None:
    index = await built(store, collection, wanted(asked, metric))
    assert (index.metric, index.method, index.valid) == (metric, stands, True)
    assert re.fullmatch(name, index.name)
    assert index.size_bytes >= 8192
    assert await store.list_indexes(collection, soon()) == [index]


async def test_an_index_by_another_name_is_known_for_what_it_is(
    cluster: Cluster, store: PgvectorBackend, collection: Collection
) -> None:
    ask(
        cluster,
        f'create index "ix_vector_ip_ops_hnsw_m99_efc1_x" on vecs.{collection.name} using hnsw '
        "(vec public.vector_l2_ops) with (m = 7)",
    )
    ask(
        cluster,
        f"create index kept_apart on vecs.{collection.name} using hnsw (vec public.vector_l2_ops) "
        "where metadata @> '{}'",
    )
    odd, partial = await store.list_indexes(collection, soon())
    assert (odd.metric, odd.method) == (Metric.L2, Hnsw(m=7, ef_construction=64))
    assert (partial.name, partial.metric, partial.method) == ("kept_apart", None, None)
    assert await built(store, collection, wanted(Hnsw(m=7))) == odd


@pytest.mark.parametrize("kind", [Hnsw(m=5), IvfFlat(lists=12), IvfFlat(), MetadataGin()], ids=str)
async def test_what_stands_as_wanted_is_left_as_it_is(
    store: PgvectorBackend, collection: Collection, kind: IndexMethod
) -> None:
    first = await built(store, collection, wanted(kind))
    assert await built(store, collection, wanted(kind)) == first


async def test_an_index_of_metadata_is_built_anew_on_request(store: PgvectorBackend, collection: Collection) -> None:
    of_vectors = await built(store, collection, wanted(Hnsw(m=5)))
    first = await built(store, collection, wanted(MetadataGin()))
    await store.delete(collection, Selection(ids=tuple(str(i) for i in range(COUNT // 2))), soon())
    second = await built(store, collection, wanted(MetadataGin(), replace=True))
    assert second.name == first.name
    assert second.size_bytes < first.size_bytes
    assert await store.list_indexes(collection, soon()) == [second, of_vectors]


@pytest.mark.parametrize("other", [Hnsw(m=6), IvfFlat()], ids=str)
async def test_what_stands_otherwise_is_replaced_on_request_only(
    store: PgvectorBackend, collection: Collection, other: IndexMethod
) -> None:
    first = await built(store, collection, wanted(Hnsw(m=5)))
    with pytest.raises(AlreadyExists) as refused:
        await built(store, collection, wanted(other))
    assert (refused.value.reason, refused.value.facts["index"]) == ("INDEX_EXISTS", first.name)
    second = await built(store, collection, wanted(other, replace=True))
    assert await store.list_indexes(collection, soon()) == [second]
    again = await built(store, collection, wanted(other, replace=True))
    assert (await store.list_indexes(collection, soon()), again.name) == ([again], second.name)


async def test_an_index_is_dropped_by_its_name(store: PgvectorBackend, collection: Collection) -> None:
    index = await built(store, collection, wanted(Hnsw()))
    with pytest.raises(NotFound) as missing:
        await store.drop_index(collection, "another", soon())
    assert missing.value.reason == "INDEX_NOT_FOUND"
    with pytest.raises(FailedPrecondition) as refused:
        await store.drop_index(collection, f"{collection.name}_pkey", soon())
    assert refused.value.reason == "INDEX_OF_CONSTRAINT"
    await store.drop_index(collection, index.name, soon())
    assert await store.list_indexes(collection, soon()) == []


async def test_a_build_has_the_memory_that_its_pod_is_configured_with(cluster: Cluster, collection: Collection) -> None:
    values = router_values(cluster)
    values["pods"]["alpha"] |= {"index_memory_mb": 1, "index_workers": 0}
    frugal = PgvectorBackend(make_config(values))
    try:
        with pytest.raises(FailedPrecondition) as refused:
            await built(frugal, collection, wanted(IvfFlat(lists=1000)))
        assert refused.value.reason == "INDEX_MEMORY"
        assert (await built(frugal, collection, wanted(IvfFlat(lists=10)))).valid
    finally:
        await frugal.close()


def test_memory_and_workers_of_a_build_are_the_pods_own_unless_configured() -> None:
    assert build_settings(Pod(dsn="host=x")) == {"statement_timeout": "0"}
    assert build_settings(Pod(dsn="host=x", index_memory_mb=64, index_workers=0)) == {
        "statement_timeout": "0",
        "maintenance_work_mem": "64MB",
        "max_parallel_maintenance_workers": "0",
    }
