"""Tables that stand on a pod become collections without being copied, and what keeps one from that is told."""

from __future__ import annotations

import asyncio
import re
import uuid
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager

import podroute
import pytest
import pytest_asyncio
from pod_sessions import ask
from podroute_router.embedded import Cluster

POD = "alpha"
PATHS = ("direct", "fdw")
GRANTED = "grant select, insert, update, delete on vecs.{} to podroute_owner"


def new_name() -> str:
    return f"old_{uuid.uuid4().hex[:8]}"


@contextmanager
def standing(cluster: Cluster, layout: str = "id varchar primary key", *, name: str | None = None) -> Iterator[str]:
    """A table as vecs makes it, with 40 records, of a superuser who granted podroute what it needs: its name.

    layout: the columns beside vec and metadata, or all where it has those.
    """
    made = name or new_name()
    rest = ", vec public.vector(3) not null, metadata jsonb not null default '{}'" if "vec" not in layout else ""
    ask(cluster, f'create table vecs."{made}" ({layout}{rest})')
    if re.fullmatch(r"id (text|varchar).* primary key", layout):
        ask(
            cluster,
            f'insert into vecs."{made}" select i::text, array[i, 1, 1]::public.vector, '
            "jsonb_build_object('n', i) from generate_series(1, 40) i",
        )
    ask(cluster, GRANTED.format(f'"{made}"'))
    yield made
    ask(cluster, f'drop view if exists podroute."{made}"')
    ask(cluster, f'drop table if exists vecs."{made}" cascade')


@pytest_asyncio.fixture
async def forget(client: podroute.AsyncClient) -> AsyncIterator[list[str]]:
    """Collections to delete in the end, after their tables were given to podroute."""
    names: list[str] = []
    yield names
    for name in names:
        await client.delete_collection(name)


def give(cluster: Cluster, table: str) -> None:
    ask(cluster, f'alter table vecs."{table}" owner to podroute_owner')


def reasons(findings: tuple[podroute.Finding, ...]) -> dict[str, bool]:
    """Which findings there are, and which of them block."""
    return {finding.reason: finding.blocking for finding in findings}


@pytest.mark.parametrize("id_type", ["varchar", "text", "varchar(40)", 'text collate "C"'])
async def test_an_adopted_table_is_a_collection_on_both_paths_and_nothing_was_copied(
    cluster: Cluster, client: podroute.AsyncClient, forget: list[str], id_type: str
) -> None:
    with standing(cluster, f"id {id_type} primary key") as name:
        [before] = ask(cluster, f"select pg_relation_filenode('vecs.{name}'), array_agg(ctid::text) from vecs.{name}")
        adopted = await client.adopt_collection(POD, name)
        give(cluster, name)
        forget.append(name)
        assert (adopted.collection.name, adopted.collection.dimension, adopted.collection.metric) == (name, 3, "cosine")
        assert adopted.collection.placement == podroute.Placement(
            pod=POD, table_schema="vecs", table_name=name, generation=1
        )
        for path in PATHS:
            assert (await client.count(name, path=path)).count == 40
            found = await client.query(name, [7.0, 1.0, 1.0], limit=1, metric="l2", include_metadata=True, path=path)
            assert [(match.id, match.distance, match.metadata) for match in found.matches] == [("7", 0.0, {"n": 7})]
            narrow = await client.query(name, [0, 0, 1], limit=9, filter={"n": {"$gte": 38}}, path=path)
            assert sorted(match.id for match in narrow.matches) == ["38", "39", "40"]
            scanned = [record.id async for record in client.scan(name, page_size=7, path=path)]
            assert sorted(scanned, key=int) == [str(i) for i in range(1, 41)]
        [after] = ask(cluster, f"select pg_relation_filenode('vecs.{name}'), array_agg(ctid::text) from vecs.{name}")
        assert after == before
        for path in PATHS:
            await client.upsert(name, [("7", [9, 9, 9], {"by": path}), (path, [0, 0, 1], {})], path=path)
            await client.update_metadata(name, {"seen": True}, ids=["8"], path=path)
            fetched = await client.fetch(name, ["7", path, "8"], path=path)
            assert [record.metadata for record in fetched.records] == [{"by": path}, {}, {"n": 8, "seen": True}]
            assert (await client.delete(name, ids=[path], path=path)).deleted_count == 1


async def test_dimension_and_indexes_are_read_from_the_catalogs_and_not_from_names(
    cluster: Cluster, client: podroute.AsyncClient, forget: list[str]
) -> None:
    with standing(cluster) as table:
        ask(
            cluster,
            f'create index "ix_vector_cosine_ops_ivfflat_nl500_aaaaaaa" on vecs.{table} '
            "using hnsw (vec public.vector_ip_ops) with (m = 5, ef_construction = 30)",
        )
        told = await client.adopt_collection(POD, table, name=f"{table}_new", dry_run=True)
        assert told.collection.placement.generation == 0
        with pytest.raises(podroute.NotFound):
            await client.get_collection(f"{table}_new")
        adopted = await client.adopt_collection(POD, table, name=f"{table}_new")
        give(cluster, table)
        forget.append(f"{table}_new")
        [index] = adopted.indexes
        assert (index.metric, index.method, index.m, index.ef_construction) == ("inner_product", "hnsw", 5, 30)
        assert adopted.collection.metric == "inner_product"
        assert await client.list_indexes(f"{table}_new") == (index,)
        assert (told.indexes, told.findings) == (adopted.indexes, adopted.findings)
        assert reasons(adopted.findings) == {"OTHER_OWNER": False}
        assert await client.get_collection(f"{table}_new") == adopted.collection
        for path in PATHS:
            assert (await client.count(f"{table}_new", path=path)).count == 40


async def test_a_table_of_any_name_is_adopted_under_another(
    cluster: Cluster, client: podroute.AsyncClient, forget: list[str]
) -> None:
    name, table = new_name(), f'Old "{uuid.uuid4().hex[:6]}" Docs'
    quoted = table.replace('"', '""')
    with standing(cluster, name=quoted):
        [listed] = [each for each in await client.list_adoptable_tables(POD) if each.table_name == table]
        assert reasons(listed.findings)["COLLECTION_NAME"]
        with pytest.raises(podroute.InvalidArgument):
            await client.adopt_collection(POD, table)
        await client.adopt_collection(POD, table, name=name, metric="l1")
        give(cluster, quoted)
        forget.append(name)
        assert (await client.get_collection(name)).metric == "l1"
        for path in PATHS:
            assert await client.upsert(name, [("1", [1, 2, 3], {})], path=path)
            assert [match.id for match in (await client.query(name, [1, 2, 3], limit=1, path=path)).matches] == ["1"]
        assert (await client.create_index(name, metric="cosine")).valid
        assert table not in {each.table_name for each in await client.list_adoptable_tables(POD)}


@pytest.mark.parametrize(
    ("layout", "after", "expected"),
    [
        ("id bigint primary key", "", {"ID_COLUMN": True}),
        ("key text primary key", "", {"ID_COLUMN": True, "EXTRA_COLUMN": True}),
        ("id text", "", {"PRIMARY_KEY": True}),
        ("id text, n int, primary key (id, n)", "", {"PRIMARY_KEY": True, "EXTRA_COLUMN": True}),
        ("id varchar(20) primary key", "", {"ID_LENGTH": False}),
        ("id text primary key, vec public.vector not null, metadata jsonb not null", "", {"VEC_COLUMN": True}),
        ("id text primary key, vec public.halfvec(3) not null, metadata jsonb not null", "", {"VEC_COLUMN": True}),
        ("id text primary key, vec public.vector(3) not null, metadata json not null", "", {"METADATA_COLUMN": True}),
        ("id text primary key, vec public.vector(3), metadata jsonb not null", "", {"NULLABLE_COLUMN": True}),
        ("id text primary key, vec public.vector(3) not null, metadata jsonb", "", {"NULLABLE_COLUMN": True}),
        ("id text primary key, owner text", "", {"EXTRA_COLUMN": False}),
        ("id text primary key, owner text not null", "", {"EXTRA_COLUMN": True}),
        ("id text primary key, at timestamptz not null default now()", "", {"EXTRA_COLUMN": False}),
        ("id text primary key", "create table {0}_child () inherits ({0})", {"INHERITANCE": True}),
        ("id text primary key", "create rule r as on insert to {} do instead nothing", {"RULES": True}),
        ("id text primary key", "alter table {} enable row level security", {"ROW_SECURITY": True}),
        ("id text primary key", "revoke update, delete on {} from podroute_owner", {"PRIVILEGES": True}),
        (
            "id text primary key",
            "create trigger t after insert on {} execute function suppress_redundant_updates_trigger()",
            {"TRIGGERS": False},
        ),
        (
            "id text primary key",
            "create index half on {} using hnsw (vec public.vector_l2_ops); "
            "update pg_index set indisvalid = false where indexrelid = 'vecs.half'::regclass",
            {"INDEX_INVALID": False},
        ),
    ],
    ids=str,
)
async def test_what_is_odd_is_told_and_what_would_not_work_is_refused(
    cluster: Cluster, client: podroute.AsyncClient, layout: str, after: str, expected: dict[str, bool]
) -> None:
    with standing(cluster, layout) as table:
        for statement in filter(None, after.split("; ")):
            ask(cluster, statement.format(f"vecs.{table}"))
        [listed] = [each for each in await client.list_adoptable_tables(POD) if each.table_name == table]
        ours = {"INDEX_MISSING": False, "OTHER_OWNER": False}
        assert reasons(listed.findings) == expected | ours
        assert [finding.blocking for finding in listed.findings] == sorted(
            (finding.blocking for finding in listed.findings), reverse=True
        )
        told = await client.adopt_collection(POD, table, dry_run=True)
        assert told.findings == listed.findings
        if not any(expected.values()):
            return
        with pytest.raises(podroute.FailedPrecondition) as refused:
            await client.adopt_collection(POD, table)
        assert refused.value.reason == "NOT_ADOPTABLE"
        assert refused.value.metadata["findings"] == ",".join(reason for reason, blocks in expected.items() if blocks)
        with pytest.raises(podroute.NotFound):
            await client.get_collection(table)


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        ("revoke all on {} from podroute_owner", "PRIVILEGES"),
        ("alter table {} enable row level security", "ROW_SECURITY"),
        ("alter table {} alter column vec drop not null", "NULLABLE_COLUMN"),
    ],
)
async def test_the_statement_that_a_finding_gives_mends_it(
    cluster: Cluster, client: podroute.AsyncClient, forget: list[str], spoil: str, reason: str
) -> None:
    with standing(cluster) as table:
        ask(cluster, spoil.format(f"vecs.{table}"))
        told = await client.adopt_collection(POD, table, dry_run=True)
        [finding] = [each for each in told.findings if each.blocking]
        assert finding.reason == reason
        ask(cluster, finding.message.partition(": ")[2])
        adopted = await client.adopt_collection(POD, table)
        give(cluster, table)
        forget.append(table)
        assert reasons(adopted.findings).get(reason, False) is False
        for path in PATHS:
            assert (await client.upsert(table, [("40", [1, 1, 1], {})], path=path)).upserted_count == 1
            assert (await client.count(table, path=path)).count == 40


async def test_a_policy_lets_podroute_see_what_it_lets_and_no_more(
    cluster: Cluster, client: podroute.AsyncClient, forget: list[str]
) -> None:
    with standing(cluster) as table:
        ask(cluster, f"alter table vecs.{table} enable row level security")
        ask(cluster, f"create policy three on vecs.{table} to podroute_owner using (metadata @> '{{\"n\": 3}}')")
        adopted = await client.adopt_collection(POD, table)
        assert reasons(adopted.findings)["ROW_SECURITY"] is False
        for path in PATHS:
            assert [match.id for match in (await client.query(table, [1, 1, 1], path=path)).matches] == ["3"]
        give(cluster, table)
        forget.append(table)


async def test_what_only_an_owner_may_do_says_so_until_the_owner_lends_his_rights(
    cluster: Cluster, client: podroute.AsyncClient
) -> None:
    with standing(cluster) as table:
        ask(cluster, f'create role "{table}"')
        ask(cluster, f'grant create on schema vecs to "{table}"')
        ask(cluster, f'alter table vecs.{table} owner to "{table}"')
        adopted = await client.adopt_collection(POD, table)
        [told] = [each for each in adopted.findings if each.reason == "OTHER_OWNER"]
        with pytest.raises(podroute.FailedPrecondition) as refused:
            await client.create_index(table)
        assert refused.value.reason == "TABLE_NOT_OWNED"
        assert (await client.count(table)).count == 40
        ask(cluster, told.message.partition(": ")[2])
        assert (await client.create_index(table)).valid
        await client.delete_collection(table)
        assert ask(cluster, "select to_regclass(%s)", f"vecs.{table}") == [(None,)]
    ask(cluster, f'drop owned by "{table}"')
    ask(cluster, f'drop role "{table}"')


async def test_a_superusers_rights_are_never_asked_for(cluster: Cluster, client: podroute.AsyncClient) -> None:
    with standing(cluster) as table:
        told = await client.adopt_collection(POD, table, dry_run=True)
        [finding] = [each for each in told.findings if each.reason == "OTHER_OWNER"]
        assert f'alter table "vecs"."{table}" owner to "podroute_owner"' in finding.message


async def test_names_that_are_taken_or_unknown_are_refused(
    cluster: Cluster, client: podroute.AsyncClient, forget: list[str]
) -> None:
    with standing(cluster) as table, standing(cluster) as other:
        await client.adopt_collection(POD, table)
        give(cluster, table)
        forget.append(table)
        for error, reason, arguments, name in (
            (podroute.AlreadyExists, "COLLECTION_EXISTS", (POD, other), table),
            (podroute.AlreadyExists, "TABLE_TAKEN", (POD, table), f"{table}_again"),
            (podroute.NotFound, "TABLE_NOT_FOUND", (POD, "no_such_table"), None),
            (podroute.NotFound, "TABLE_NOT_FOUND", ("beta", other), None),
            (podroute.NotFound, "POD_NOT_FOUND", ("no_such_pod", table), None),
            (podroute.InvalidArgument, "TABLE_NAME", (POD, "x" * 64), "y"),
        ):
            with pytest.raises(error) as refused:
                await client.adopt_collection(*arguments, name=name, dry_run=True)
            assert refused.value.reason == reason
        listed = {each.table_name: each for each in await client.list_adoptable_tables(POD)}
        assert table not in listed
        assert listed[other].dimension == 3


async def test_a_view_is_no_table(cluster: Cluster, client: podroute.AsyncClient) -> None:
    with standing(cluster) as table:
        ask(cluster, f"create view vecs.{table}_seen as select * from vecs.{table}")
        assert f"{table}_seen" not in {each.table_name for each in await client.list_adoptable_tables(POD)}
        with pytest.raises(podroute.NotFound) as refused:
            await client.adopt_collection(POD, f"{table}_seen")
        assert refused.value.reason == "TABLE_NOT_FOUND"


async def test_adopting_anew_after_a_call_that_was_cut_off_works(
    cluster: Cluster, client: podroute.AsyncClient, forget: list[str]
) -> None:
    """The view stands, the catalog knows nothing."""
    with standing(cluster) as table:
        ask(
            cluster,
            "set role podroute_owner; "
            f"create view podroute.{table} as select id::text, vec, metadata from vecs.{table}",
        )
        await client.adopt_collection(POD, table)
        give(cluster, table)
        forget.append(table)
        assert (await client.upsert(table, [("x", [1, 1, 1], {})], path="fdw")).upserted_count == 1


async def test_a_view_over_another_table_is_not_taken(cluster: Cluster, client: podroute.AsyncClient) -> None:
    """Another call may be making a collection of that name."""
    with standing(cluster) as table, standing(cluster) as other:
        ask(
            cluster,
            "set role podroute_owner; "
            f"create view podroute.{table} as select id::text, vec, metadata from vecs.{other}",
        )
        with pytest.raises(podroute.AlreadyExists) as refused:
            await client.adopt_collection(POD, table)
        assert refused.value.reason == "VIEW_TAKEN"
        with pytest.raises(podroute.NotFound):
            await client.get_collection(table)
        ask(cluster, f"drop view podroute.{table}")


async def test_two_who_adopt_one_table_get_one_collection(
    cluster: Cluster, client: podroute.AsyncClient, forget: list[str]
) -> None:
    with standing(cluster) as table:
        calls = [client.adopt_collection(POD, table) for _ in range(4)]
        found = await asyncio.gather(*calls, return_exceptions=True)
        give(cluster, table)
        forget.append(table)
        refused = [each for each in found if isinstance(each, BaseException)]
        assert len(refused) == 3
        assert {type(each) for each in refused} == {podroute.AlreadyExists}
        assert (await client.upsert(table, [("1", [1, 1, 1], {})], path="fdw")).upserted_count == 1
        assert (await client.count(table, path="fdw")).count == 40


async def test_what_a_tables_own_constraint_or_trigger_refuses_is_the_callers_mistake(
    cluster: Cluster, client: podroute.AsyncClient, forget: list[str]
) -> None:
    body = "begin if new.id = 'odd' then raise exception 'no'; end if; return new; end"
    with standing(cluster) as table:
        ask(cluster, f"alter table vecs.{table} add check (id <> 'bad')")
        ask(cluster, f"create function vecs.{table}_look() returns trigger language plpgsql as $${body}$$")
        ask(
            cluster,
            f"create trigger look before insert on vecs.{table} for each row execute function vecs.{table}_look()",
        )
        await client.adopt_collection(POD, table)
        give(cluster, table)
        forget.append(table)
        for path in PATHS:
            for record_id, state in (("bad", "23514"), ("odd", "P0001")):
                with pytest.raises(podroute.InvalidArgument) as refused:
                    await client.upsert(table, [(record_id, [1, 1, 1], {})], path=path)
                assert (refused.value.reason, refused.value.metadata["sqlstate"]) == ("DATA_REFUSED", state)
        assert (await client.count(table)).count == 40
    ask(cluster, f"drop function vecs.{table}_look() cascade")


async def test_row_estimates_need_no_count(cluster: Cluster, client: podroute.AsyncClient) -> None:
    with standing(cluster) as table:
        ask(cluster, f"analyze vecs.{table}")
        told = await client.adopt_collection(POD, table, dry_run=True)
        assert told.record_estimate == 40
