"""SQL users read collections by their exposures: joins, a REST layer's statements, nearest neighbours, odd records."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime
from typing import Any

import numpy as np
import podroute
import psycopg
import pytest
import pytest_asyncio
from podroute_router.embedded import Cluster
from psycopg import sql

from integration.exposure_setup import Databases, databases, nodes, plan, remote_sql

DIMENSION = 4
RECORDS = 3000
VECTOR = "[1,2,3,4]"
COLUMNS = (
    podroute.ExposedColumn(name="url", indexed=True),
    podroute.ExposedColumn(name="year", type="bigint", path=("about", "year"), indexed=True),
    podroute.ExposedColumn(name="at", type="timestamptz", indexed=True),
)
PLANS = ("force_generic_plan", "force_custom_plan")


@pytest.fixture(scope="module")
def sql_side(cluster: Cluster) -> Iterator[Databases]:
    with databases(cluster) as found:
        yield found


@pytest.fixture(scope="module")
def web(sql_side: Databases) -> str:
    return sql_side.role()


@pytest_asyncio.fixture(scope="module")
async def docs(client: podroute.AsyncClient, sql_side: Databases, web: str) -> AsyncIterator[str]:
    """A collection with an index, exposed under its name in `public`, and the ordinary table `pages` beside it."""
    name = f"docs_{uuid.uuid4().hex[:8]}"
    await client.create_collection(name, dimension=DIMENSION, pod="alpha")
    records = [
        (str(i), [float(i), 1, 2, 3], {"url": f"/page-{i}", "about": {"year": 1900 + i % 100}}) for i in range(RECORDS)
    ]
    records[7][2]["url"] = "/hello-world"
    await client.upsert_many(name, records)
    await client.create_index(name)
    await client.expose_collection(name, columns=COLUMNS, roles=[web])
    sql_side.primary.execute("create table public.pages (path text primary key, doc_id text, title text)")
    sql_side.primary.execute(
        "insert into public.pages select '/page-' || i, i::text, 'title ' || i from generate_series(1, 20000) i"
    )
    sql_side.primary.execute("insert into public.pages values ('/hello-world', '7', 'Hello')")
    sql_side.primary.execute("analyze public.pages")
    sql_side.primary.execute(f"grant select on public.pages to {web}".encode())
    yield name
    sql_side.primary.execute("drop table public.pages")
    await client.unexpose_collection(name)
    await client.delete_collection(name)


@pytest.fixture
def session(sql_side: Databases, web: str) -> Iterator[psycopg.Connection]:
    """A role without any right but to read the exposure and `pages`."""
    with sql_side.as_role(web) as connection:
        yield connection


def pod_plan(sql_side: Databases, statement: str) -> Any:
    """How the pod runs a statement that the primary sent it."""
    sql_side.alpha.execute("set role podroute_reader")
    try:
        # postgres_fdw reads through a cursor, which the planner takes for a wish to see the first rows soon.
        explained = f"explain (verbose, format json) declare c cursor for {statement}"
        [(found,)] = sql_side.alpha.execute(explained.encode()).fetchall()
        return found[0]["Plan"]
    finally:
        sql_side.alpha.execute("reset role")


async def test_a_role_without_other_rights_joins_an_ordinary_table(session: psycopg.Connection, docs: str) -> None:
    joined = session.execute(
        f"select p.title, d.year from public.pages p join public.{docs} d on d.url = p.path where p.path = %s".encode(),
        ["/hello-world"],
    ).fetchall()
    assert joined == [("Hello", 1907)]
    for denied in (f'podroute_fdw."{docs}"', "podroute_catalog.exposures"):
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            session.execute(f"select from {denied}".encode())
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        session.execute(f"delete from public.{docs}".encode())
    options = session.execute("select umoptions from pg_user_mappings where srvname like 'podroute%'").fetchall()
    assert options
    assert {row[0] for row in options} == {None}


@pytest.mark.parametrize("column", ["url", "id"])
async def test_a_join_looks_only_the_rows_up_that_it_needs(
    session: psycopg.Connection, sql_side: Databases, docs: str, column: str
) -> None:
    key = {"url": "path", "id": "doc_id"}[column]
    statement = (
        f"select d.year from public.pages p join public.{docs} d on d.{column} = p.{key} where p.path = '/hello-world'"
    )
    sent = remote_sql(plan(session, statement))
    assert "WHERE" in sent
    assert column in sent.partition("WHERE")[2]
    of_pod = pod_plan(sql_side, f"select id from public.{docs} where {column} = '7'")
    assert any("podroute_exposed_" in node.get("Index Name", "") for node in nodes(of_pod))


@pytest.mark.parametrize("kind", PLANS)
async def test_nearest_neighbours_are_looked_up_in_an_ordinary_table_by_its_key(
    session: psycopg.Connection, docs: str, kind: str
) -> None:
    session.execute(f"set plan_cache_mode = {kind}".encode())
    statement = (
        f"select p.title from (select url from public.{docs} order by embedding <=> $1 limit 10) d "
        "join public.pages p on p.path = d.url"
    )
    found = plan(session, statement, "public.vector", (VECTOR,))
    assert "LIMIT 10::bigint" in remote_sql(found)
    assert any(node.get("Index Name") == "pages_pkey" for node in nodes(found))


@pytest.mark.parametrize("kind", PLANS)
async def test_a_rest_layer_selects_by_a_column_and_the_pod_uses_its_index(
    session: psycopg.Connection, sql_side: Databases, web: str, docs: str, kind: str
) -> None:
    """The statement is one of PostgREST's, for /docs?url=eq./hello-world&select=id,url."""
    table = sql.Identifier("public", docs)
    statement = sql.SQL(
        "with pgrst_source as (select {t}.id, {t}.url from {t} where {t}.url = $1 limit $2 offset $3) "
        "select null::bigint as total_result_set, pg_catalog.count(_postgrest_t) as page_total, "
        "coalesce(json_agg(_postgrest_t), '[]') as body "
        "from (select * from pgrst_source) _postgrest_t"
    ).format(t=table)
    session.execute("reset role")
    session.execute(f"set plan_cache_mode = {kind}".encode())
    with session.transaction():
        session.execute(f"set local role {web}".encode())
        session.execute("set local search_path to public")
        values = ("/hello-world", 100, 0)
        found = plan(session, statement.as_string(), "text, bigint, bigint", values)
        with psycopg.RawCursor(session) as cursor:
            cursor.execute(statement, values)
            assert cursor.fetchall() == [(None, 1, [{"id": "7", "url": "/hello-world"}])]
    sent = remote_sql(found)
    assert "WHERE ((url = " in sent
    assert not any("Filter" in node for node in nodes(found))
    of_pod = pod_plan(sql_side, f"select id, url from public.{docs} where (url = '/hello-world')")
    assert [node.get("Index Name", "")[:17] for node in nodes(of_pod) if "Index Name" in node] == ["podroute_exposed_"]


@pytest.mark.parametrize("kind", PLANS)
@pytest.mark.parametrize("condition", ["", "where year between 1910 and 1950", "where url > '/page-2'"])
async def test_nearest_neighbours_are_found_by_sql_alone_in_one_remote_statement(
    session: psycopg.Connection, docs: str, kind: str, condition: str
) -> None:
    session.execute(f"set plan_cache_mode = {kind}".encode())
    statement = f"select id, url from public.{docs} {condition} order by embedding <=> $1 limit 10"
    found = plan(session, statement, "public.vector", (VECTOR,))
    assert [node["Node Type"] for node in nodes(found)] == ["Foreign Scan"]
    for part in ("ORDER BY (embedding", "LIMIT 10::bigint", *(["WHERE"] if condition else [])):
        assert part in remote_sql(found)


async def test_sql_finds_the_neighbours_that_the_router_finds(
    session: psycopg.Connection, sql_side: Databases, client: podroute.AsyncClient, docs: str
) -> None:
    statement = f"select id from public.{docs} order by embedding <=> '{VECTOR}' limit 10"
    by_sql = [row[0] for row in session.execute(statement.encode()).fetchall()]
    by_router = await client.query(docs, [1, 2, 3, 4], limit=10)
    assert by_sql == [match.id for match in by_router.matches]
    of_pod = pod_plan(sql_side, statement)
    assert any("Order By" in node for node in nodes(of_pod))  # the HNSW index


async def test_neighbours_beyond_the_first_candidates_come_in_order(
    client: podroute.AsyncClient, session: psycopg.Connection, web: str
) -> None:
    name, vector = f"ordered_{uuid.uuid4().hex[:8]}", str([0.5] * 16)
    await client.create_collection(name, dimension=16, metric="l2", pod="alpha")
    vectors = np.random.default_rng(1).random((3000, 16), np.float32)
    await client.upsert_many(name, [(str(i), vector, {}) for i, vector in enumerate(vectors)])
    await client.create_index(name)
    await client.expose_collection(name, roles=[web])
    statement = f"select embedding <-> '{vector}' from public.{name} order by embedding <-> '{vector}' limit 200"
    distances = [row[0] for row in session.execute(statement.encode()).fetchall()]
    assert len(distances) > 40  # what the index finds at first
    assert distances == sorted(distances)
    await client.unexpose_collection(name)
    await client.delete_collection(name)


async def test_texts_are_sorted_on_the_pod_as_the_primary_sorts_them(session: psycopg.Connection, docs: str) -> None:
    statement = f"select id, url from public.{docs} order by url, id limit 50"
    assert "ORDER BY url ASC NULLS LAST, id ASC NULLS LAST LIMIT 50" in remote_sql(plan(session, statement))
    found = session.execute(statement.encode()).fetchall()
    here = session.execute(
        "select a, b from unnest(%s::text[], %s::text[]) as s (a, b) order by b, a",
        [[row[0] for row in found], [row[1] for row in found]],
    ).fetchall()
    assert found == here


ODD: tuple[tuple[Any, tuple[Any, ...]], ...] = (
    # metadata → text, bigint, double precision, boolean, timestamptz, jsonb of the key v
    ({}, (None, None, None, None, None, None)),
    ({"v": None}, (None, None, None, None, None, None)),
    ({"v": "/hello"}, ("/hello", None, None, None, None, "/hello")),
    ({"v": 5}, ("5", 5, 5.0, None, None, 5)),
    ({"v": 1.5}, ("1.5", None, 1.5, None, None, 1.5)),
    ({"v": 2**63 - 1}, (str(2**63 - 1), 2**63 - 1, float(2**63), None, None, 2**63 - 1)),
    ({"v": 2**63}, (str(2**63), None, float(2**63), None, None, 2**63)),
    ({"v": 10**400}, (str(10**400), None, None, None, None, 10**400)),
    ({"v": True}, ("true", None, None, True, None, True)),
    ({"v": "true"}, ("true", None, None, None, None, "true")),
    ({"v": [1]}, ("[1]", None, None, None, None, [1])),
    ({"v": {"a": 1}}, ('{"a": 1}', None, None, None, None, {"a": 1})),
    ({"v": "\\u0000"}, ("\\u0000", None, None, None, None, "\\u0000")),
    ({"v": "2024-02-30"}, ("2024-02-30", None, None, None, None, "2024-02-30")),
    ({"v": "infinity"}, ("infinity", None, None, None, None, "infinity")),
    (
        {"v": "2024-05-31T10:00:00.5+02:00"},
        (
            "2024-05-31T10:00:00.5+02:00",
            None,
            None,
            None,
            datetime(2024, 5, 31, 8, 0, 0, 500_000, tzinfo=UTC),
            "2024-05-31T10:00:00.5+02:00",
        ),
    ),
    ({"v": "x" * 100_000}, ("x" * 100_000, None, None, None, None, "x" * 100_000)),
)


async def test_no_odd_record_breaks_a_select_or_an_upsert(
    client: podroute.AsyncClient, sql_side: Databases, web: str, session: psycopg.Connection
) -> None:
    name = f"odd_{uuid.uuid4().hex[:8]}"
    await client.create_collection(name, dimension=1, pod="alpha")
    types: tuple[podroute.ColumnType, ...] = ("text", "bigint", "double precision", "boolean", "timestamptz", "jsonb")
    columns = [
        podroute.ExposedColumn(name=f"c{i}", type=kind, path=("v",), indexed=kind != "jsonb")
        for i, kind in enumerate(types)
    ]
    await client.expose_collection(name, columns=columns, roles=[web])
    await client.upsert(name, [(f"{i:02}", [1.0], metadata) for i, (metadata, _) in enumerate(ODD)])
    names = ", ".join(column.name for column in columns)
    session.execute("set time zone 'UTC'")
    found = session.execute(f"select {names} from public.{name} order by id".encode()).fetchall()
    assert found == [expected for _, expected in ODD]
    for i, kind in enumerate(types):  # each comparison is made on the pod, where it meets every record
        value = {"boolean": "true", "timestamptz": "'2024-05-31 08:00:00.5Z'", "text": "'5'", "jsonb": "'5'"}.get(
            kind, "5"
        )
        statement = f"select id from public.{name} where c{i} = {value}"
        assert "WHERE" in remote_sql(plan(session, statement)), kind
        assert len(session.execute(statement.encode()).fetchall()) == 1, kind
    await client.unexpose_collection(name)
    left = sql_side.alpha.execute("select indexname from pg_indexes where tablename = %s", [name]).fetchall()
    assert left == [(f"{name}_pkey",)]
    await client.delete_collection(name)
