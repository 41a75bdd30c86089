"""Indexes of metadata: what they serve, and how they stand beside those of vectors."""

from __future__ import annotations

import uuid

import podroute
import psycopg
import pytest
from pod_sessions import ask
from podroute_pgvector.backend import PgvectorBackend
from podroute_router.domain import (
    Collection,
    MetadataGin,
    Metric,
    Selection,
)
from podroute_router.embedded import Cluster
from podroute_router.filters import Comparison, Operator
from podroute_router.sql import statements
from podroute_router.sql.containment import compile_narrowed

from .harness import COUNT, DIMENSION, built, soon, wanted


async def test_an_index_of_metadata_serves_what_would_read_every_record(
    cluster: Cluster, store: PgvectorBackend, collection: Collection
) -> None:
    index = await built(store, collection, wanted(MetadataGin()))
    assert (index.metric, index.method, index.valid) == (None, MetadataGin(), True)
    in_bin = Comparison(("bin",), Operator.EQ, (7,))
    condition = compile_narrowed(in_bin)
    ask(cluster, f"analyze vecs.{collection.name}")
    table = statements.Relation("vecs", collection.name)
    for statement in (
        statements.count(table, filtered=True, narrowed=True),
        statements.delete_matching(table, narrowed=True),
    ):
        assert index.name in generic_plan(cluster, statement, ("jsonpath", "jsonb", "jsonb"), condition)
    search = statements.query(
        table,
        "public",
        Metric.L2,
        10,
        filtered=True,
        exact=True,
        include_metadata=False,
        include_vector=False,
        narrowed=True,
    )
    vector = f"[{','.join('1' * DIMENSION)}]"
    types = ("public.vector", "jsonpath", "jsonb", "jsonb")
    assert index.name in generic_plan(cluster, search, types, (vector, *condition))
    assert await store.count(collection, in_bin, soon()) == COUNT // 50
    assert await store.delete(collection, Selection(filter=in_bin), soon()) == COUNT // 50
    assert await store.count(collection, in_bin, soon()) == 0


def generic_plan(cluster: Cluster, statement: str, types: tuple[str, ...], values: tuple[str, ...]) -> str:
    alpha = cluster.pods["alpha"]
    with psycopg.connect(alpha.admin_conninfo(alpha.database)) as session, psycopg.ClientCursor(session) as cursor:
        cursor.execute("set plan_cache_mode = force_generic_plan")
        cursor.execute(f"prepare p({', '.join(types)}) as {statement}".encode())
        cursor.execute(f"explain execute p({', '.join(['%s'] * len(values))})".encode(), values)
        return "\n".join(line for (line,) in cursor.fetchall())


async def test_an_index_of_metadata_and_one_of_vectors_stand_side_by_side(
    client: podroute.AsyncClient,
) -> None:
    name = f"kinds_{uuid.uuid4().hex[:8]}"
    await client.create_collection(name, dimension=3, pod="alpha")
    of_vectors = await client.create_index(name, method="ivfflat", lists=3)
    of_metadata = await client.create_index(name, method="metadata_gin")
    assert await client.list_indexes(name) == (of_metadata, of_vectors)
    assert (of_metadata.method, of_metadata.metric, of_metadata.lists) == ("metadata_gin", "unknown", None)
    with pytest.raises(podroute.InvalidArgument) as refused:
        await client.create_index(name, method="metadata_gin", metric="l2")
    assert refused.value.reason == "METRIC_UNUSED"
    with pytest.raises(podroute.InvalidArgument) as refused:
        await client.create_index(name, method="ivfflat", metric="l1")
    assert refused.value.reason == "METRIC_NOT_INDEXABLE"
    await client.delete_collection(name)


async def test_vectors_too_long_for_an_index_may_still_have_one_of_metadata(client: podroute.AsyncClient) -> None:
    name = f"kinds_{uuid.uuid4().hex[:8]}"
    await client.create_collection(name, dimension=2001, pod="alpha")
    with pytest.raises(podroute.InvalidArgument) as refused:
        await client.create_index(name)
    assert refused.value.reason == "DIMENSION_NOT_INDEXABLE"
    assert (await client.create_index(name, method="metadata_gin")).valid
    await client.delete_collection(name)
