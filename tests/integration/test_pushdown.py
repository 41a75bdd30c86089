"""What the FDW path sends is decided on the pod: WHERE, ORDER BY and LIMIT are in the remote SQL, for every filter."""

from __future__ import annotations

import json
import uuid
from collections.abc import AsyncIterator, Iterator, Sequence
from typing import Any

import podroute
import psycopg
import pytest
import pytest_asyncio
from contract.filter_cases import CASES
from podroute_fdw import objects
from podroute_fdw.backend import FOREIGN_SETTINGS
from podroute_router.domain import Metric
from podroute_router.embedded import Cluster
from podroute_router.filters import AllOf, AnyOf, Comparison, Filter, Negated, Operator
from podroute_router.sql import statements
from podroute_router.sql.filters import compile_filter

DIMENSION = 4
VECTOR = "[1,2,3,4]"
RECORDS = (0, 3000)
"""Sizes of the collection: a planner that goes by size is tempted to fetch a small one whole."""


@pytest_asyncio.fixture(scope="module", params=RECORDS, ids=lambda size: f"{size} records")
async def collection(request: pytest.FixtureRequest, client: podroute.AsyncClient) -> AsyncIterator[str]:
    """Nothing but plans is made of it."""
    name = f"c_{uuid.uuid4().hex[:12]}"
    await client.create_collection(name, dimension=DIMENSION, pod="alpha")
    if request.param:
        await client.upsert(name, [(str(i), [float(i), 1, 2, 3], {"n": i}) for i in range(request.param)])
    yield name
    await client.delete_collection(name)


@pytest.fixture
def primary(cluster: Cluster) -> Iterator[psycopg.Connection]:
    """A session of the router's role on the primary, as the FDW backend has it."""
    password = cluster.router_password_file.read_text(encoding="utf-8").strip()
    with psycopg.connect(
        cluster.primary.conninfo(cluster.router_role), password=password, autocommit=True
    ) as connection:
        for name, value in {**FOREIGN_SETTINGS, "search_path": ""}.items():
            connection.execute("select set_config(%s, %s, false)", (name, value))
        yield connection


def plan(connection: psycopg.Connection, statement: str, types: Sequence[str], values: Sequence[object]) -> Any:
    """The generic plan of a prepared statement, as PostgreSQL describes it."""
    name = f"p_{uuid.uuid4().hex[:8]}"
    with psycopg.ClientCursor(connection) as cursor:
        typed = f"({', '.join(types)})" if types else ""
        cursor.execute(f"prepare {name}{typed} as {statement}")
        places = f"({', '.join(['%s'] * len(values))})" if values else ""
        cursor.execute(f"explain (verbose, format json) execute {name}{places}", list(values))
        [(found,)] = cursor.fetchall()
    return (json.loads(found) if isinstance(found, str) else found)[0]["Plan"]


def nodes(root: Any) -> Iterator[Any]:
    yield root
    for child in root.get("Plans", ()):
        yield from nodes(child)


def is_pushed_down(root: Any) -> bool:
    """One remote statement does everything: nothing is filtered, sorted, limited or aggregated on the primary."""
    kinds = [node["Node Type"] for node in nodes(root)]
    filtered_here = any("Filter" in node for node in nodes(root))
    return kinds in (["Foreign Scan"], ["ModifyTable", "Foreign Scan"]) and not filtered_here


def remote_sql(root: Any) -> str:
    return next(node["Remote SQL"] for node in nodes(root) if "Remote SQL" in node)


def shapes() -> list[Filter]:
    """Every operator and combinator, and all the filters of the contract suite."""
    plain = Comparison(("a", "b"), Operator.EQ, ("x",))
    return [
        AllOf((plain, AnyOf((plain, Negated(plain))))),
        Negated(AllOf((plain, Negated(AnyOf((plain,)))))),
        *(case.filter for case in CASES),
    ]


@pytest.mark.parametrize("limit", [1, 10, 1000])
@pytest.mark.parametrize("metric", list(Metric))
@pytest.mark.parametrize("exact", [False, True])
async def test_a_search_is_ordered_and_limited_on_the_pod(
    primary: psycopg.Connection, collection: str, metric: Metric, limit: int, exact: bool
) -> None:
    statement = statements.query(
        objects.read_table(collection),
        "public",
        metric,
        limit,
        filtered=False,
        exact=exact,
        include_metadata=True,
        include_vector=True,
    )
    found = plan(primary, statement, ["public.vector"], [VECTOR])
    assert is_pushed_down(found)
    assert "ORDER BY" in remote_sql(found)
    assert f"LIMIT {limit}::bigint" in remote_sql(found)


async def test_every_filter_is_applied_on_the_pod(primary: psycopg.Connection, collection: str) -> None:
    table = objects.read_table(collection)
    for shape in shapes():
        path, variables = compile_filter(shape)
        for limit, exact in ((10, False), (1000, False), (10, True)):
            statement = statements.query(
                table,
                "public",
                Metric.COSINE,
                limit,
                filtered=True,
                exact=exact,
                include_metadata=True,
                include_vector=False,
            )
            found = plan(primary, statement, ["public.vector", "jsonpath", "jsonb"], [VECTOR, path, variables])
            assert is_pushed_down(found), shape
            for part in ("WHERE (jsonb_path_exists(metadata", "ORDER BY", "LIMIT"):
                assert part in remote_sql(found), shape
        for statement in (statements.count(table, filtered=True), statements.delete_matching(table)):
            found = plan(primary, statement, ["jsonpath", "jsonb"], [path, variables])
            assert is_pushed_down(found), shape
            assert "WHERE (jsonb_path_exists(metadata" in remote_sql(found), shape


async def test_counts_fetches_and_deletes_are_one_remote_statement(
    primary: psycopg.Connection, collection: str
) -> None:
    table = objects.read_table(collection)
    for statement, types, values, part in (
        (statements.count(table, filtered=False), [], [], "count(*)"),
        (statements.fetch(table, "public"), ["text[]"], [["a"]], "WHERE ((id = ANY"),
        (statements.delete_ids(table), ["text[]"], [["a"]], "WHERE ((id = ANY"),
    ):
        found = plan(primary, statement, types, values)
        assert is_pushed_down(found)
        assert part in remote_sql(found)


async def test_a_condition_that_cannot_be_shipped_is_recognised(primary: psycopg.Connection, collection: str) -> None:
    table = objects.read_table(collection).identifier.as_string()
    found = plan(primary, f"select id from {table} where metadata->>'a' = $1 limit 10", ["text"], ["x"])
    assert not is_pushed_down(found)
