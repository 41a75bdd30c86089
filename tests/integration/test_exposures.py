"""Exposures come, change and go; what is someone else's stays, and what rests on a view is left alone."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Iterator

import podroute
import psycopg
import pytest
import pytest_asyncio
from podroute_router.embedded import Cluster
from servers import POD_ON_PRIMARY

from integration.exposure_setup import Databases, databases, nodes, plan, relations

URL = {"url": "text"}


@pytest.fixture(scope="module")
def sql_side(cluster: Cluster) -> Iterator[Databases]:
    with databases(cluster) as found:
        yield found


@pytest.fixture
def web(sql_side: Databases) -> str:
    return sql_side.role()


@pytest_asyncio.fixture
async def docs(client: podroute.AsyncClient) -> AsyncIterator[str]:
    """A collection of one record, whatever exposures a test left of it."""
    name = f"docs_{uuid.uuid4().hex[:8]}"
    await client.create_collection(name, dimension=2, pod="alpha")
    await client.upsert(name, [("a", [1.0, 2.0], {"url": "/a", "n": 1})])
    yield name
    for each in await client.list_exposures(name):
        await client.unexpose_collection(name, schema=each.view_schema, view=each.view_name)
    await client.delete_collection(name)


OF_COLLECTION = {("podroute_fdw", "f")}


async def test_an_exposure_comes_and_goes_on_pod_and_primary(
    client: podroute.AsyncClient, sql_side: Databases, web: str, docs: str
) -> None:
    exposed = await client.expose_collection(docs, columns={"url": "text", "n": "bigint"}, roles=[web])
    assert exposed == podroute.Exposure(
        collection=docs,
        view_schema="public",
        view_name=docs,
        columns=(
            podroute.ExposedColumn(name="url", path=("url",)),
            podroute.ExposedColumn(name="n", type="bigint", path=("n",)),
        ),
        roles=(web,),
    )
    assert await client.list_exposures(docs) == (exposed,)
    assert exposed in await client.list_exposures()
    assert relations(sql_side.primary, docs) == {*OF_COLLECTION, ("podroute_exposed", "f"), ("public", "v")}
    assert ("public", "v") in relations(sql_side.alpha, docs)
    with sql_side.as_role(web) as session:
        assert session.execute(f"select id, url, n from public.{docs}".encode()).fetchall() == [("a", "/a", 1)]
    await client.unexpose_collection(docs)
    assert await client.list_exposures(docs) == ()
    assert relations(sql_side.primary, docs) == OF_COLLECTION
    assert ("public", "v") not in relations(sql_side.alpha, docs)
    with pytest.raises(podroute.NotFound) as gone:
        await client.unexpose_collection(docs)
    assert gone.value.reason == "EXPOSURE_NOT_FOUND"


async def test_a_pod_on_the_primary_needs_the_view_only(
    client: podroute.AsyncClient, sql_side: Databases, web: str
) -> None:
    name = f"home_{uuid.uuid4().hex[:8]}"
    await client.create_collection(name, dimension=2, pod=POD_ON_PRIMARY)
    await client.upsert(name, [("a", [1.0, 2.0], {"url": "/a"})])
    await client.expose_collection(name, columns=[podroute.ExposedColumn(name="url", indexed=True)], roles=[web])
    assert relations(sql_side.primary, name) >= {("public", "v"), ("vecs", "r")}
    assert not any(kind == "f" for _, kind in relations(sql_side.primary, name))
    with sql_side.as_role(web) as session:
        found = session.execute(f"select id from public.{name} where url = '/a'".encode()).fetchall()
    assert found == [("a",)]
    await client.unexpose_collection(name)
    await client.delete_collection(name)


async def test_a_collection_has_several_exposures_with_columns_of_their_own(
    client: podroute.AsyncClient, sql_side: Databases, docs: str
) -> None:
    for connection in (sql_side.primary, sql_side.alpha):
        connection.execute("create schema shown")
        connection.execute("grant usage, create on schema shown to podroute_owner")
        connection.execute("grant usage on schema shown to podroute_reader")
    indexed = [podroute.ExposedColumn(name="link", path=("url",), indexed=True)]
    await client.expose_collection(docs, columns=indexed)
    await client.expose_collection(docs, schema="shown", view="Links & more", columns=indexed)
    await client.unexpose_collection(docs)
    found = sql_side.primary.execute('select link from shown."Links & more"').fetchall()
    assert found == [("/a",)]
    kept = (
        "select from pg_indexes "
        "where tablename = %s and indexname like 'podroute_exposed_%%' and indexdef like '%%url%%'"
    )
    assert sql_side.alpha.execute(kept, [docs]).rowcount == 1  # both had the same
    await client.unexpose_collection(docs, schema="shown", view="Links & more")
    assert sql_side.alpha.execute(kept, [docs]).rowcount == 0
    for connection in (sql_side.primary, sql_side.alpha):
        connection.execute("drop schema shown")


@pytest.mark.parametrize("place", ["primary", "pod"])
@pytest.mark.parametrize(
    "theirs",
    [
        "create table public.{0} (id text)",
        "create view public.{0} as select 1 as id",
        "create type public.{0} as enum ('a')",
        # podroute_owner's, but not an exposure of this collection
        "create view public.{0} as select 1 as id; alter view public.{0} owner to podroute_owner",
        "create view public.{0} as select 1 as id; alter view public.{0} owner to podroute_owner; "
        "comment on view public.{0} is 'podroute exposure of another: 0'",
        # says that it is ours, but is someone else's
        "create view public.{0} as select 1 as id; comment on view public.{0} is 'podroute exposure of {0}: 0'",
    ],
)
async def test_a_name_that_is_someone_elses_is_refused_and_left_alone(
    client: podroute.AsyncClient, sql_side: Databases, docs: str, place: str, theirs: str
) -> None:
    connection = sql_side.primary if place == "primary" else sql_side.alpha
    other = sql_side.alpha if place == "primary" else sql_side.primary
    connection.execute(theirs.format(docs).encode())
    before, elsewhere = relations(connection, docs), relations(other, docs)
    with pytest.raises(podroute.AlreadyExists) as refused:
        await client.expose_collection(docs)
    assert refused.value.reason == "VIEW_NAME_TAKEN"
    assert relations(connection, docs) == before
    assert relations(other, docs) == elsewhere
    assert await client.list_exposures(docs) == ()
    kind = next(word for word in ("table", "type", "view") if f"create {word}" in theirs)
    connection.execute(f"drop {kind} public.{docs}".encode())
    await client.expose_collection(docs)


async def test_an_exposure_of_another_collection_is_not_taken(client: podroute.AsyncClient, docs: str) -> None:
    other = f"docs_{uuid.uuid4().hex[:8]}"
    await client.create_collection(other, dimension=2, pod="beta")
    await client.expose_collection(docs)
    for call in (
        client.expose_collection(other, view=docs),
        client.unexpose_collection(other, view=docs),
    ):
        with pytest.raises(podroute.Error) as refused:
            await call
        assert refused.value.reason in ("EXPOSURE_EXISTS", "EXPOSURE_NOT_FOUND")
    assert [each.collection for each in await client.list_exposures() if each.view_name == docs] == [docs]
    await client.delete_collection(other)


async def test_what_rests_on_a_view_is_named_and_survives(
    client: podroute.AsyncClient, sql_side: Databases, docs: str
) -> None:
    await client.expose_collection(docs, columns=URL)
    sql_side.primary.execute(f"create view public.{docs}_links as select url from public.{docs}".encode())
    with pytest.raises(podroute.FailedPrecondition) as kept:
        await client.unexpose_collection(docs)
    assert kept.value.reason == "EXPOSURE_HAS_DEPENDENTS"
    assert kept.value.metadata["dependents"] == f"public.{docs}_links"
    with pytest.raises(podroute.FailedPrecondition) as kept:
        await client.expose_collection(docs, columns={"n": "bigint"})
    assert kept.value.reason == "EXPOSURE_HAS_DEPENDENTS"
    links = f"select url from public.{docs}_links".encode()
    assert sql_side.primary.execute(links).fetchall() == [("/a",)]
    await client.expose_collection(docs, columns={"url": "text", "n": "bigint"})  # more columns harm nobody
    assert sql_side.primary.execute(links).fetchall() == [("/a",)]
    assert sql_side.primary.execute(f"select n from public.{docs}".encode()).fetchall() == [(1,)]
    sql_side.primary.execute(f"drop view public.{docs}_links".encode())
    await client.expose_collection(docs, columns={"n": "bigint"})
    assert sql_side.primary.execute(f"select * from public.{docs}".encode()).fetchall()[0][3:] == (1,)


async def test_a_role_whose_right_is_revoked_cannot_read(
    client: podroute.AsyncClient, sql_side: Databases, docs: str
) -> None:
    kept, revoked = sql_side.role(), sql_side.role()
    select = f"select from public.{docs}".encode()
    await client.expose_collection(docs, roles=[kept, revoked])
    with sql_side.as_role(revoked) as session:
        session.execute(select)
        await client.expose_collection(docs, roles=[kept])
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            session.execute(select)
    with sql_side.as_role(kept) as session:
        session.execute(select)
        sql_side.primary.execute(f"revoke select on public.{docs} from {kept}".encode())
        await client.expose_collection(docs, roles=[kept])  # as it was: an administrator's word stands
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            session.execute(select)


async def test_everybody_reads_what_is_granted_to_public(
    client: podroute.AsyncClient, sql_side: Databases, docs: str, web: str
) -> None:
    await client.expose_collection(docs, roles=["public"])
    with sql_side.as_role(web) as session:
        assert session.execute(f"select id from public.{docs}".encode()).fetchall() == [("a",)]


async def test_what_is_missing_is_named_and_nothing_is_made(
    client: podroute.AsyncClient, sql_side: Databases, docs: str
) -> None:
    sql_side.primary.execute("create schema if not exists closed")
    sql_side.alpha.execute("create schema if not exists closed")
    for arguments, reason in (
        ({"roles": ["nobody_is_called_so"]}, "ROLE_NOT_FOUND"),
        ({"schema": "no_such_schema"}, "SCHEMA_NOT_FOUND"),
        ({"schema": "closed"}, "SCHEMA_RIGHTS"),
        ({"schema": "podroute_catalog"}, "SCHEMA_NAME"),
        ({"schema": "vecs"}, "SCHEMA_NAME"),
        ({"view": "x" * 64}, "VIEW_NAME"),
        ({"columns": {"id": "text"}}, "COLUMN_NAME"),
        ({"columns": [podroute.ExposedColumn(name="a", path=("",))]}, "COLUMN_PATH"),
        ({"columns": [podroute.ExposedColumn(name="a", type="jsonb", indexed=True)]}, "COLUMN_INDEXED"),
        ({"columns": {f"c{i}": "text" for i in range(101)}}, "COLUMN_COUNT"),
    ):
        with pytest.raises(podroute.Error) as refused:
            await client.expose_collection(docs, **arguments)  # type: ignore[arg-type]
        assert refused.value.reason == reason
    assert await client.list_exposures(docs) == ()
    assert relations(sql_side.primary, docs) == OF_COLLECTION


async def test_an_exposed_collection_is_not_deleted(client: podroute.AsyncClient, docs: str) -> None:
    await client.expose_collection(docs)
    with pytest.raises(podroute.FailedPrecondition) as refused:
        await client.delete_collection(docs)
    assert refused.value.reason == "COLLECTION_EXPOSED"
    assert (await client.count(docs)).count == 1


async def test_of_two_collections_exposed_at_once_under_one_name_one_is_left_as_it_was(
    client: podroute.AsyncClient, sql_side: Databases, docs: str
) -> None:
    other, view = f"docs_{uuid.uuid4().hex[:8]}", f"{docs}_view"
    await client.create_collection(other, dimension=2, pod="beta")
    pods = {docs: sql_side.alpha, other: sql_side.pods["beta"]}
    calls = [client.expose_collection(name, view=view) for name in pods]
    found = await asyncio.gather(*calls, return_exceptions=True)
    [refused] = [each for each in found if isinstance(each, BaseException)]
    assert isinstance(refused, podroute.AlreadyExists)
    [exposed] = [each for each in found if isinstance(each, podroute.Exposure)]
    [loser] = set(pods) - {exposed.collection}
    assert relations(pods[loser], view) == set()
    await client.unexpose_collection(exposed.collection, view=view)
    await client.delete_collection(other)


async def test_a_table_that_something_rests_on_is_not_deleted(
    client: podroute.AsyncClient, sql_side: Databases, docs: str
) -> None:
    """A view of a user's, or that of an exposure that was cut off before it was registered."""
    sql_side.alpha.execute(f"create view public.{docs} as select id from vecs.{docs}".encode())
    with pytest.raises(podroute.FailedPrecondition) as refused:
        await client.delete_collection(docs)
    assert refused.value.reason == "TABLE_HAS_DEPENDENTS"
    sql_side.alpha.execute(f"drop view public.{docs}".encode())
    assert (await client.upsert(docs, [("b", [1.0, 2.0], {})], path="fdw")).upserted_count == 1


async def test_paths_and_names_are_values_and_never_sql(
    client: podroute.AsyncClient, sql_side: Databases, docs: str
) -> None:
    hostile = "\"; drop table vecs.x; --'"
    await client.upsert(docs, [("b", [1.0, 2.0], {hostile: {"{a,b}": "found"}})])
    columns = [podroute.ExposedColumn(name=hostile, path=(hostile, "{a,b}"), indexed=True)]
    await client.expose_collection(docs, view=hostile, columns=columns)
    name = hostile.replace('"', '""')
    found = sql_side.primary.execute(f'select "{name}" from public."{name}" where id = \'b\''.encode()).fetchall()
    assert found == [("found",)]


async def test_collections_are_exposed_at_once_on_a_pod_that_knows_no_exposure_yet(
    client: podroute.AsyncClient, sql_side: Databases
) -> None:
    beta = sql_side.pods["beta"]
    for name in ("as_bigint", "as_timestamptz"):
        beta.execute(f"drop function if exists podroute.{name}(jsonb)".encode())
    names = [f"at_once_{i}_{uuid.uuid4().hex[:6]}" for i in range(6)]
    columns = [
        podroute.ExposedColumn(name="n", type="bigint", indexed=True),
        podroute.ExposedColumn(name="at", type="timestamptz"),
    ]
    for name in names:
        await client.create_collection(name, dimension=2, pod="beta")
    await asyncio.gather(*(client.expose_collection(name, columns=columns) for name in names))
    assert {each.collection for each in await client.list_exposures()} >= set(names)
    for name in names:
        assert sql_side.primary.execute(f"select n, at from public.{name}".encode()).fetchall() == []
    await asyncio.gather(*(client.unexpose_collection(name) for name in names))
    for name in names:
        await client.delete_collection(name)


async def test_the_primary_forgets_the_password_with_the_last_exposure_of_a_pod(
    client: podroute.AsyncClient, sql_side: Databases, docs: str
) -> None:
    mappings = "select usename from pg_user_mappings where srvname = 'podroute_alpha:exposed'"
    await client.expose_collection(docs)
    await client.expose_collection(docs, view=f"{docs}_too")
    await client.unexpose_collection(docs)
    assert sql_side.primary.execute(mappings).fetchall() == [("podroute_owner",)]
    await client.unexpose_collection(docs, view=f"{docs}_too")
    assert sql_side.primary.execute(mappings).fetchall() == []


async def test_an_adopted_table_of_another_owner_is_exposed_without_indexes(
    client: podroute.AsyncClient, sql_side: Databases
) -> None:
    """Its ids sort as the database does, so that its key serves them."""
    name = f"old_{uuid.uuid4().hex[:8]}"
    for statement in (
        "create table vecs.{0} (id varchar primary key, vec public.vector(2) not null, "
        "metadata jsonb not null default '{{}}'::jsonb)",
        "insert into vecs.{0} select i::text, '[1,2]', jsonb_build_object('url', '/' || i) "
        "from generate_series(1, 2000) i",
        "analyze vecs.{0}",
        "grant select, insert, update, delete on vecs.{0} to podroute_owner",
    ):
        sql_side.alpha.execute(statement.format(name).encode())
    await client.adopt_collection("alpha", name)
    with pytest.raises(podroute.FailedPrecondition) as refused:
        await client.expose_collection(name, columns=[podroute.ExposedColumn(name="url", indexed=True)])
    assert refused.value.reason == "TABLE_NOT_OWNED"
    assert ("public", "v") not in relations(sql_side.alpha, name)
    await client.expose_collection(name, columns=URL)
    select = f"select url from public.{name} where id = '7'"
    assert sql_side.primary.execute(select.encode()).fetchall() == [("/7",)]
    assert any(node.get("Index Name") == f"{name}_pkey" for node in nodes(plan(sql_side.alpha, select)))
    await client.unexpose_collection(name)
    sql_side.alpha.execute(f"alter table vecs.{name} owner to podroute_owner".encode())
    await client.delete_collection(name)
