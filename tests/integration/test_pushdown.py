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
from podroute_router.sql.containment import compile_narrowed
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


def is_direct_modify(root: Any) -> bool:
    """The statement is the pod's own: no row comes here, and none goes out again."""
    operations = [node.get("Operation") for node in nodes(root)]
    return is_pushed_down(root) and operations[1:] in (["Update"], ["Delete"])


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
        for statement in (
            statements.count(table, filtered=True),
            statements.delete_matching(table),
            statements.delete_returning(table, filtered=True),
            statements.id_sizes(table),
        ):
            found = plan(primary, statement, ["jsonpath", "jsonb"], [path, variables])
            assert is_pushed_down(found), shape
            assert found["Node Type"] != "ModifyTable" or is_direct_modify(found), shape
            assert "WHERE (jsonb_path_exists(metadata" in remote_sql(found), shape


async def test_what_matches_contain_is_asked_for_on_the_pod_as_well(
    primary: psycopg.Connection, collection: str
) -> None:
    table = objects.read_table(collection)
    search = statements.query(
        table,
        "public",
        Metric.COSINE,
        10,
        filtered=True,
        exact=True,
        include_metadata=True,
        include_vector=False,
        narrowed=True,
    )
    update = statements.update_metadata(table, merge=True, filtered=True, narrowed=True)
    narrowed = [(shape, compile_narrowed(shape)) for shape in shapes()]
    narrowed = [(shape, parameters) for shape, parameters in narrowed if len(parameters) > 2]
    assert len(narrowed) > 5
    for shape, parameters in narrowed:
        for statement, types, values in (
            (search, ["public.vector"], [VECTOR]),
            (update, ["jsonb"], ["{}"]),
            (statements.count(table, filtered=True, narrowed=True), [], []),
            (statements.delete_matching(table, narrowed=True), [], []),
            (statements.delete_returning(table, filtered=True, narrowed=True), [], []),
            (statements.id_sizes(table, narrowed=True), [], []),
        ):
            found = plan(primary, statement, [*types, "jsonpath", "jsonb", "jsonb"], [*values, *parameters])
            assert is_pushed_down(found), shape
            assert found["Node Type"] != "ModifyTable" or is_direct_modify(found), shape
            assert "WHERE (metadata @> " in remote_sql(found).replace("((", "("), shape


@pytest.mark.parametrize("limit", [1, 1000])
@pytest.mark.parametrize("exact", [False, True])
async def test_chosen_keys_of_the_metadata_leave_the_search_on_the_pod(
    primary: psycopg.Connection, collection: str, limit: int, exact: bool
) -> None:
    """postgres_fdw computes what is selected on the primary; so the keys are chosen there, of the matches alone."""
    path, variables = compile_filter(CASES[0].filter)
    for types, values, filtered in (
        (["public.vector", "text[]"], [VECTOR, ["a"]], False),
        (["public.vector", "jsonpath", "jsonb", "text[]"], [VECTOR, path, variables, ["a"]], True),
    ):
        statement = statements.query(
            objects.read_table(collection),
            "public",
            Metric.L2,
            limit,
            filtered=filtered,
            exact=exact,
            include_metadata=True,
            include_vector=False,
            choose_keys=True,
        )
        found = plan(primary, statement, types, values)
        search = {**found, "Plans": [part for part in found["Plans"] if part["Parent Relationship"] != "SubPlan"]}
        while search["Node Type"] == "Result":  # the projection may stand above the search
            [search] = search["Plans"]
        assert is_pushed_down(search)
        for part in ("ORDER BY", f"LIMIT {limit}::bigint", *(["WHERE (jsonb_path_exists(metadata"] * filtered)):
            assert part in remote_sql(search)


async def test_counts_fetches_and_deletes_are_one_remote_statement(
    primary: psycopg.Connection, collection: str
) -> None:
    table = objects.read_table(collection)
    for statement, types, values, part in (
        (statements.count(table, filtered=False), [], [], "count(*)"),
        (statements.fetch(table, "public"), ["text[]"], [["a"]], "WHERE ((id = ANY"),
        (statements.delete_ids(table), ["text[]"], [["a"]], "WHERE ((id = ANY"),
        (statements.delete_returning(table, filtered=False), ["text[]"], [["a"]], "RETURNING id"),
    ):
        found = plan(primary, statement, types, values)
        assert is_pushed_down(found)
        assert part in remote_sql(found)


@pytest.mark.parametrize("merge", [True, False])
async def test_an_update_of_metadata_is_one_remote_statement(
    primary: psycopg.Connection, collection: str, merge: bool
) -> None:
    table, change = objects.read_table(collection), '{"a": 1}'
    by_ids = statements.update_metadata(table, merge=merge, filtered=False)
    found = plan(primary, by_ids, ["jsonb", "text[]"], [change, ["a"]])
    assert is_direct_modify(found)
    assert "WHERE ((id = ANY" in remote_sql(found)
    assert ("metadata ||" in remote_sql(found)) is merge
    by_filter = statements.update_metadata(table, merge=merge, filtered=True)
    for shape in shapes():
        path, variables = compile_filter(shape)
        found = plan(primary, by_filter, ["jsonb", "jsonpath", "jsonb"], [change, path, variables])
        assert is_direct_modify(found), shape
        assert "WHERE (jsonb_path_exists(metadata" in remote_sql(found), shape


async def test_an_update_of_existing_records_is_one_remote_statement(
    primary: psycopg.Connection, collection: str
) -> None:
    statement = statements.update_existing_foreign(objects.read_table(collection), DIMENSION)
    found = plan(primary, statement, ["text[]", "real[]", "jsonb[]"], [["a"], [1.0] * DIMENSION, ["{}"]])
    assert is_direct_modify(found)
    assert "WHERE ((id = ANY" in remote_sql(found)


async def test_an_insert_of_new_records_goes_out_in_batches(primary: psycopg.Connection, collection: str) -> None:
    statement = statements.insert_new(objects.read_table(collection), "public")
    found = plan(primary, statement, ["text[]", "public.vector[]", "text[]"], [["a"], [VECTOR], ["{}"]])
    assert found["Node Type"] == "ModifyTable"
    assert found["Batch Size"] == 1000
    assert remote_sql(found).endswith("ON CONFLICT DO NOTHING")


@pytest.mark.parametrize("whole", [False, True])
async def test_a_page_of_a_scan_is_ordered_and_limited_on_the_pod(
    primary: psycopg.Connection, collection: str, whole: bool
) -> None:
    table = objects.read_table(collection)
    statement = statements.scan(table, "public", 100, filtered=False, include_metadata=whole, include_vector=whole)
    found = plan(primary, statement, ["text"], ["a"])
    assert is_pushed_down(found)
    for part in ("WHERE ((id > ", "ORDER BY id ASC", "LIMIT 100::bigint"):
        assert part in remote_sql(found)
    statement = statements.scan(table, "public", 64, filtered=True, include_metadata=whole, include_vector=whole)
    for shape in shapes():
        path, variables = compile_filter(shape)
        found = plan(primary, statement, ["text", "jsonpath", "jsonb"], ["a", path, variables])
        assert is_pushed_down(found), shape
        for part in ("jsonb_path_exists(metadata", "(id > ", "ORDER BY id ASC", "LIMIT 64::bigint"):
            assert part in remote_sql(found), shape


async def test_a_page_of_a_scan_reads_the_key_on_the_pod(cluster: Cluster, collection: str) -> None:
    pod = cluster.pods["alpha"]
    statement = statements.scan(
        statements.Relation("vecs", collection),
        "public",
        100,
        filtered=False,
        include_metadata=True,
        include_vector=True,
    )
    with psycopg.connect(pod.admin_conninfo(pod.database), autocommit=True) as connection:
        connection.execute("set enable_seqscan = off")
        connection.execute("set enable_bitmapscan = off")
        found = plan(connection, statement, ["text"], ["a"])
    assert [node["Node Type"] for node in nodes(found)] == ["Limit", "Index Scan"]


async def test_a_condition_that_cannot_be_shipped_is_recognised(primary: psycopg.Connection, collection: str) -> None:
    table = objects.read_table(collection).identifier.as_string()
    found = plan(primary, f"select id from {table} where metadata->>'a' = $1 limit 10", ["text"], ["x"])
    assert not is_pushed_down(found)
