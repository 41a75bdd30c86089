"""Another role of the same databases can neither have code of its own run as the router nor hold it up for long."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import podroute
import psycopg
import pytest
from podroute_router.config import make_config
from podroute_router.embedded import Cluster
from podroute_router.embedded.server import Server
from podroute_router.server import Router
from psycopg import sql
from servers import POD_ON_PRIMARY, router_values, separate_primary

EVE = "eve"
PASSWORD = "of eve"
VACUUM_DELAY_MS = 15
WAITS_FOR = "select pid from pg_locks where relation = '%s'::regclass and mode = 'AccessExclusiveLock' and not granted"
TABLE = "(id text primary key, vec public.vector(3) not null, metadata jsonb not null default '{}')"


@contextmanager
def eve_on(server: Server, database: str, rights: str) -> Iterator[psycopg.Connection[Any]]:
    """A session of a role that was granted the rights, and is gone with all it made afterwards."""
    with psycopg.connect(server.admin_conninfo(database), autocommit=True) as admin:
        admin.execute(sql.SQL("create role {} login password {}").format(sql.Identifier(EVE), sql.Literal(PASSWORD)))
        try:
            admin.execute(f"grant {rights} to {EVE}".encode())
            with psycopg.connect(server.conninfo(EVE, database), password=PASSWORD, autocommit=True) as session:
                yield session
        finally:
            admin.execute(f"drop owned by {EVE} cascade; drop role {EVE}".encode())


def administrate(cluster: Cluster, statement: str) -> list[Any]:
    alpha = cluster.pods["alpha"]
    with psycopg.connect(alpha.admin_conninfo(alpha.database), autocommit=True) as admin:
        cursor = admin.execute(statement.encode())
        return cursor.fetchall() if cursor.description else []


@pytest.fixture
def eve(cluster: Cluster) -> Iterator[psycopg.Connection[Any]]:
    """May make tables beside the collections on pod alpha, and has a function that tells who ran it."""
    alpha = cluster.pods["alpha"]
    with eve_on(alpha, alpha.database, "usage, create on schema vecs, public") as session:
        session.execute("create table public.ran (as_role text)")
        session.execute("grant all on public.ran to public")
        session.execute(
            "create function public.tell() returns trigger language plpgsql as "
            "$$ begin insert into public.ran values (current_user); return new; end $$"
        )
        session.execute(
            "create function public.told() returns text language plpgsql volatile as "
            "$$ begin insert into public.ran values (current_user); return 'x'; end $$"
        )
        yield session


def new_name() -> str:
    return f"hostile_{uuid.uuid4().hex[:8]}"


PLANTED = {
    "table": f"create table vecs.%(name)s {TABLE}",
    "table_with_a_trigger": f"""
        create table vecs.%(name)s {TABLE};
        create trigger tell before insert on vecs.%(name)s for each row execute function public.tell()""",
    "table_with_a_default": f"""
        create table vecs.%(name)s {TABLE};
        alter table vecs.%(name)s add column told text default public.told()""",
    "table_with_a_rule": f"""
        create table vecs.%(name)s {TABLE};
        create rule tell as on insert to vecs.%(name)s do also select public.told()""",
    "view": """
        create view vecs.%(name)s as
        select public.told() as id, null::public.vector(3) as vec, '{}'::jsonb as metadata where public.told() = ''""",
    "materialized_view": """
        create materialized view vecs.%(name)s as
        select 'a'::text as id, null::public.vector(3) as vec, '{}'::jsonb as metadata with no data""",
    "partitioned_table": """
        create table vecs.%(name)s (id text, vec public.vector(3), metadata jsonb) partition by hash (id)""",
}


@pytest.mark.parametrize("kind", PLANTED)
async def test_what_another_role_planted_is_no_collection_and_runs_no_code(
    client: podroute.AsyncClient, eve: psycopg.Connection[Any], kind: str
) -> None:
    name = new_name()
    eve.execute((PLANTED[kind] % {"name": name}).encode())
    if kind != "partitioned_table":
        eve.execute(f"grant all on vecs.{name} to public".encode())
    eve.execute("delete from public.ran")
    with pytest.raises(podroute.AlreadyExists) as refused:
        await client.create_collection(name, dimension=3, pod="alpha")
    assert refused.value.reason == "TABLE_EXISTS"
    assert eve.execute("select * from public.ran").fetchall() == []
    with pytest.raises(podroute.NotFound):
        await client.get_collection(name)


@pytest.mark.parametrize(
    "addition",
    [
        "create trigger tell before insert on vecs.%s for each row execute function public.tell()",
        "create rule tell as on insert to vecs.%s do also select public.told()",
    ],
    ids=["trigger", "rule"],
)
async def test_an_empty_table_of_the_owners_that_holds_code_is_not_taken(
    client: podroute.AsyncClient, cluster: Cluster, eve: psycopg.Connection[Any], addition: str
) -> None:
    name = new_name()
    administrate(cluster, f"create table vecs.{name} {TABLE}; alter table vecs.{name} owner to podroute_owner")
    administrate(cluster, addition % name)
    with pytest.raises(podroute.AlreadyExists) as refused:
        await client.create_collection(name, dimension=3, pod="alpha")
    assert refused.value.reason == "TABLE_EXISTS"
    assert eve.execute("select * from public.ran").fetchall() == []
    administrate(cluster, f"drop table vecs.{name}")


async def test_an_empty_table_of_the_owners_is_made_anew_whatever_its_layout(
    client: podroute.AsyncClient, cluster: Cluster
) -> None:
    name = new_name()
    administrate(cluster, f"create table vecs.{name} (id int); alter table vecs.{name} owner to podroute_owner")
    await client.create_collection(name, dimension=3, pod="alpha")
    for path in ("direct", "fdw"):
        assert (await client.upsert(name, [(path, [1.0, 2.0, 3.0], {})], path=path)).upserted_count == 1
    await client.delete_collection(name)


async def test_a_reader_with_an_open_transaction_holds_up_its_collection_only(
    client: podroute.AsyncClient, cluster: Cluster
) -> None:
    held, other = new_name(), new_name()
    for name in (held, other):
        await client.create_collection(name, dimension=3, pod="alpha")
        await client.upsert(name, [("a", [1.0, 2.0, 3.0], {})])
    alpha = cluster.pods["alpha"]
    with psycopg.connect(alpha.admin_conninfo(alpha.database)) as reader:
        reader.execute(f"select from vecs.{held}".encode())
        began = time.perf_counter()
        deleting = asyncio.create_task(client.delete_collection(held, timeout=20))
        async with asyncio.timeout(2):
            while not administrate(cluster, WAITS_FOR % f"vecs.{held}"):
                await asyncio.sleep(0.01)

        async def count_on() -> None:
            while not deleting.done():
                assert (await client.count(held, path="direct", timeout=20)).count == 1, "nothing was dropped"

        # More than there are places, and all of them queue up behind the deletion's lock, each time.
        waiting = [asyncio.create_task(count_on()) for _ in range(12)]
        while not deleting.done():
            for path in ("direct", "fdw"):
                assert (await client.count(other, path=path, timeout=1)).count == 1
            await asyncio.sleep(0.05)
        with pytest.raises(podroute.Unavailable) as locked:
            await deleting
        assert locked.value.reason == "LOCKED"
        await asyncio.gather(*waiting)
        assert time.perf_counter() - began < 2.5
    for name in (held, other):
        await client.delete_collection(name)


async def test_a_vacuum_of_the_long_vectors_alone_is_waited_for(client: podroute.AsyncClient, cluster: Cluster) -> None:
    """It holds no lock of the collection's table, so its deletion meets it last, with that table locked."""
    name = new_name()
    await client.create_collection(name, dimension=2_000, pod="alpha")
    await client.upsert(name, [(str(n), [float(n + 1)] * 2_000, {}) for n in range(20)])
    [(toast,)] = administrate(
        cluster, f"select reltoastrelid::regclass::text from pg_class where oid = 'vecs.{name}'::regclass"
    )
    await client.delete(name, ids=[str(n) for n in range(20)])
    vacuum = f"set vacuum_cost_limit = 1; set vacuum_cost_delay = {VACUUM_DELAY_MS}"
    alpha = cluster.pods["alpha"]
    with psycopg.connect(alpha.admin_conninfo(alpha.database), autocommit=True) as session:
        session.execute(vacuum.encode())
        vacuuming = asyncio.create_task(asyncio.to_thread(session.execute, f"vacuum {toast}".encode()))
        async with asyncio.timeout(5):
            while not administrate(cluster, f"select pid from pg_locks where relation = '{toast}'::regclass"):
                await asyncio.sleep(0.01)
        began = time.perf_counter()
        await client.delete_collection(name, timeout=20)
        took = time.perf_counter() - began
        await vacuuming
    assert took > 0.3, "it was not held up"


async def test_a_function_in_public_is_not_taken_for_postgresqls_own(cluster: Cluster) -> None:
    name = separate_primary(cluster)
    values = router_values(cluster, primary=name)
    with eve_on(cluster.primary, name, "usage, create on schema public") as session:
        session.execute("create table public.ran (as_role text)")
        session.execute("grant all on public.ran to public")
        for arguments in ("text[]", "text[], text[]"):
            session.execute(
                f"create function public.unnest({arguments}) returns setof text language plpgsql as "
                "$$ begin insert into public.ran values (current_user); "
                "return query select * from pg_catalog.unnest($1); end $$".encode()
            )
        for arguments in ("text", "text, text", "text, text, boolean"):
            session.execute(
                f"create function public.set_config({arguments}) returns text language plpgsql as "
                "$$ begin insert into public.ran values (current_user); return ''; end $$".encode()
            )
        router = await Router.start(make_config(values))
        try:
            async with podroute.AsyncClient(router.address) as client:
                async with asyncio.timeout(10):
                    while not (await client.shard_map()).pods:
                        await asyncio.sleep(0.02)
                table = new_name()
                await client.create_collection(table, dimension=3, pod=POD_ON_PRIMARY)
                for path in ("direct", "fdw"):
                    await client.upsert(table, [("a", [1.0, 2.0, 3.0], {})], path=path)
                    await client.query(table, [1.0, 2.0, 3.0], ef_search=50, path=path)
                await client.delete_collection(table)
        finally:
            await router.stop()
        assert session.execute("select * from public.ran").fetchall() == []
