"""The primary's foreign objects follow the shard map; what agrees is left alone, what drifted is mended."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import psycopg
import pytest
import pytest_asyncio
from podroute_fdw import backend as backend_module
from podroute_fdw import comparison, reconcile
from podroute_fdw.backend import FdwBackend
from podroute_pgvector.backend import PgvectorBackend
from podroute_router.config import Config, make_config
from podroute_router.domain import Collection, Deadline, Metric, Placement, Record
from podroute_router.embedded import Cluster
from podroute_router.errors import PodrouteError, Unavailable
from podroute_router.shard_map import Change, ShardMap
from podroute_router.wrappers import within
from servers import kept_verifier, router_values, separate_primary

_numbers = itertools.count()


def deadline() -> Deadline:
    return Deadline.after(20)


class Primary(NamedTuple):
    """A primary of the test's own: another database on the primary's server."""

    name: str
    config: Config
    admin: psycopg.Connection

    def foreign_tables(self) -> dict[str, int]:
        """Their names and object ids."""
        return dict(
            self.admin.execute(
                "select relname, oid::int from pg_class "
                "where relnamespace = 'podroute_fdw'::regnamespace and relkind = 'f'"
            ).fetchall()
        )

    def server_options(self, pod: str) -> dict[str, str]:
        [(options,)] = self.admin.execute(
            "select srvoptions from pg_foreign_server where srvname = %s", (f"podroute_{pod}",)
        ).fetchall()
        return dict(option.split("=", 1) for option in options)


@pytest.fixture
def primary(cluster: Cluster) -> Iterator[Primary]:
    name = separate_primary(cluster)
    with psycopg.connect(cluster.primary.admin_conninfo(name), autocommit=True) as admin:
        yield Primary(name, make_config(router_values(cluster, primary=name)), admin)


@pytest_asyncio.fixture
async def store(cluster_config: Config) -> AsyncIterator[PgvectorBackend]:
    opened = PgvectorBackend(cluster_config)
    yield opened
    await opened.close()


@asynccontextmanager
async def fdw(config: Config) -> AsyncIterator[FdwBackend]:
    assert config.primary is not None
    backend = FdwBackend(config, config.primary)
    yield backend
    await backend.close()


@asynccontextmanager
async def collection(store: PgvectorBackend, pod: str = "alpha") -> AsyncIterator[Collection]:
    name = f"reconciled_{next(_numbers)}"
    made = Collection(name=name, dimension=3, metric=Metric.L2, placement=Placement(pod=pod, schema="vecs", table=name))
    await store.create_collection(made, deadline())
    yield made
    await store.drop_collection(made, deadline())


def shard_map(revision: int, *collections: Collection) -> ShardMap:
    changes = [Change(known.name, known) for known in collections]
    return ShardMap().changed(revision, ["alpha", "beta"], changes)


def followed(primary: Primary) -> int:
    """The revision that the foreign tables were brought to."""
    [(revision,)] = primary.admin.execute('select revision from podroute_fdw."followed:revision"').fetchall()
    return int(revision)


def several(name: str, number: int) -> list[Collection]:
    """Collections in the map only: foreign tables of theirs can be made, and not used."""
    return [
        Collection(name=each, dimension=3, metric=Metric.L2, placement=Placement(pod="beta", schema="vecs", table=each))
        for each in (f"{name}_{n}" for n in range(number))
    ]


def tables_of(*collections: Collection) -> set[str]:
    return {name for each in collections for name in (each.name, f"{each.name}:upsert")}


CONTROLS = {"alpha:control", "beta:control"}
RECORD = Record(id="a", vector=np.ones(3, dtype=np.float32))


async def test_objects_come_and_go_with_the_map(primary: Primary, store: PgvectorBackend) -> None:
    async with fdw(primary.config) as backend, collection(store) as a, collection(store, "beta") as b:
        await backend.follow(shard_map(1, a), deadline())
        assert primary.foreign_tables().keys() == {a.name, f"{a.name}:upsert"} | CONTROLS
        assert await backend.upsert(a, [RECORD], deadline()) == 1
        await backend.follow(shard_map(2, b), deadline())
        assert primary.foreign_tables().keys() == {b.name, f"{b.name}:upsert"} | CONTROLS
        with pytest.raises(Unavailable) as gone:
            await backend.count(a, None, deadline())
        assert gone.value.reason == "TABLE_MISSING"
        assert await backend.upsert(b, [RECORD], deadline()) == 1


async def test_what_agrees_is_left_alone(primary: Primary, store: PgvectorBackend) -> None:
    async with collection(store) as a, collection(store) as b:
        for revision, known in ((1, [a]), (2, [a, b]), (3, [a, b])):
            before = primary.foreign_tables()
            async with fdw(primary.config) as started_anew:
                await started_anew.follow(shard_map(revision, *known), deadline())
            after = primary.foreign_tables()
            assert before.items() <= after.items()


async def test_drift_is_mended_at_the_next_start(primary: Primary, store: PgvectorBackend) -> None:
    async with collection(store) as a:
        async with fdw(primary.config) as backend:
            await backend.follow(shard_map(1, a), deadline())
        wanted = primary.server_options("alpha")
        primary.admin.execute(f'drop foreign table podroute_fdw."{a.name}"'.encode())
        primary.admin.execute(
            f"alter foreign table podroute_fdw.\"{a.name}:upsert\" options (set table_name 'elsewhere')".encode()
        )
        primary.admin.execute(
            "alter server podroute_alpha options (set port '1', drop extensions, add async_capable 'true')"
        )
        primary.admin.execute("drop user mapping for podroute server podroute_beta")
        async with fdw(primary.config) as backend:
            await backend.follow(shard_map(1, a), deadline())
            assert primary.server_options("alpha") == wanted
            assert await backend.upsert(a, [RECORD], deadline()) == 1
            assert await backend.count(a, None, deadline()) == 1


async def test_a_collection_made_anew_with_another_dimension_gets_new_tables(
    primary: Primary, store: PgvectorBackend
) -> None:
    async with fdw(primary.config) as backend, collection(store) as a:
        await backend.follow(shard_map(1, a), deadline())
        await store.drop_collection(a, deadline())
        larger = Collection(name=a.name, dimension=5, metric=a.metric, placement=a.placement)
        await store.create_collection(larger, deadline())
        await backend.follow(shard_map(2, larger), deadline())
        record = Record(id="a", vector=np.ones(5, dtype=np.float32))
        assert await backend.upsert(larger, [record], deadline()) == 1


async def test_many_collections_are_readied_in_parts_and_an_older_map_takes_no_part_back(
    primary: Primary, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reconcile, "TABLES_A_TRANSACTION", 5)
    monkeypatch.setattr(reconcile, "TABLES_A_MESSAGE", 2)
    monkeypatch.setattr(comparison, "ROWS_AT_A_TIME", 3)
    many = several("many", 7)
    first = tables_of(many[0])
    taken = f'create table podroute_fdw."{many[-1].name}:upsert" ()'
    async with fdw(primary.config) as backend:
        primary.admin.execute(taken.encode())  # what must not be in the way of the last is
        with pytest.raises(PodrouteError):
            await backend.follow(shard_map(3, *many), deadline())
        assert first < primary.foreign_tables().keys(), "what was made before stays"
        async with fdw(primary.config) as older:
            await older.follow(shard_map(2, *many[2:]), deadline())
        assert first < primary.foreign_tables().keys()
        primary.admin.execute(f'drop table podroute_fdw."{many[-1].name}:upsert"'.encode())
        await backend.follow(shard_map(3, *many), deadline())
        assert primary.foreign_tables().keys() == CONTROLS | tables_of(*many)
        assert followed(primary) == 3
        before = primary.foreign_tables()
        await backend.follow(shard_map(4, *many[:1], *many[5:]), deadline())
        assert primary.foreign_tables().items() <= before.items()
    async with fdw(primary.config) as started_anew:
        await started_anew.follow(shard_map(5, *many[:1]), deadline())
    assert primary.foreign_tables().keys() == CONTROLS | first


async def test_a_change_of_one_collection_looks_at_no_other(primary: Primary, store: PgvectorBackend) -> None:
    """Else each change would take the longer the more collections there are. A drift is mended at the next start."""
    async with fdw(primary.config) as backend, collection(store) as a, collection(store) as b:
        first = shard_map(1, a)
        await backend.follow(first, deadline())
        primary.admin.execute(f'drop foreign table podroute_fdw."{a.name}"'.encode())
        await backend.follow(first.changed(2, first.pods, [Change(b.name, b)]), deadline())
        assert a.name not in primary.foreign_tables()
        assert await backend.upsert(b, [RECORD], deadline()) == 1
        assert followed(primary) == 2


async def test_a_router_with_an_older_map_takes_nothing_back(primary: Primary, store: PgvectorBackend) -> None:
    async with collection(store) as a, fdw(primary.config) as newer, fdw(primary.config) as older:
        await newer.follow(shard_map(2, a), deadline())
        await older.follow(shard_map(1), deadline())
        assert a.name in primary.foreign_tables()


async def test_a_router_that_knows_fewer_pods_leaves_the_others_theirs(
    primary: Primary, store: PgvectorBackend, cluster: Cluster
) -> None:
    values = router_values(cluster, primary=primary.name)
    del values["pods"]["beta"]
    async with (
        collection(store) as a,
        collection(store, "beta") as b,
        fdw(primary.config) as knows_both,
        fdw(make_config(values)) as knows_alpha,
    ):
        await knows_both.follow(shard_map(1, b), deadline())
        await knows_alpha.follow(shard_map(2, a, b), deadline())
        of_beta = {"beta:control", b.name, f"{b.name}:upsert"}
        assert primary.foreign_tables().keys() == {"alpha:control", a.name, f"{a.name}:upsert"} | of_beta
        assert await knows_both.upsert(b, [RECORD], deadline()) == 1
        await knows_alpha.follow(shard_map(3, a), deadline())  # no router has a use for what is deleted
        assert primary.foreign_tables().keys() == {"alpha:control", "beta:control", a.name, f"{a.name}:upsert"}


async def test_a_table_that_somebody_holds_is_dropped_last_and_not_waited_for_long(
    primary: Primary, store: PgvectorBackend
) -> None:
    async with collection(store) as a, collection(store) as b, fdw(primary.config) as backend:
        await backend.follow(shard_map(1, a), deadline())
        with primary.admin.transaction():
            primary.admin.execute(f"comment on foreign table podroute_fdw.{a.name} is 'held'".encode())
            began = time.monotonic()
            with pytest.raises(Unavailable) as held:
                await backend.follow(shard_map(2, b), deadline())
            assert time.monotonic() - began < 3.5
            assert held.value.reason == "LOCKED"
            assert await backend.upsert(b, [RECORD], deadline()) == 1
        await backend.follow(shard_map(2, b), deadline())
        assert a.name not in primary.foreign_tables()


async def test_nobody_else_can_hold_up_or_mislead_the_following(primary: Primary, store: PgvectorBackend) -> None:
    """What keeps the order is a table of the owner's; anyone may take an advisory lock, or has once set a comment."""
    primary.admin.execute("comment on schema podroute_fdw is 'podroute shard map revision 1000'")
    primary.admin.execute("select pg_advisory_lock(hashtextextended('podroute_fdw', 0))")
    [(may,)] = primary.admin.execute(
        "select has_table_privilege('podroute_reader', 'podroute_fdw.\"followed:revision\"', 'select,update,delete')"
    ).fetchall()
    assert not may
    async with collection(store) as a, fdw(primary.config) as backend:
        await within(Deadline.after(3), backend.follow(shard_map(1, a), deadline()))
        assert a.name in primary.foreign_tables()


async def test_after_a_restored_catalog_the_revision_is_set_back_by_hand(
    primary: Primary, store: PgvectorBackend
) -> None:
    """As docs/operations.md has it: the tables follow a map of a lower revision only then."""
    async with collection(store) as a, collection(store) as b:
        async with fdw(primary.config) as backend:
            await backend.follow(shard_map(17, a), deadline())
        async with fdw(primary.config) as backend:
            await backend.follow(shard_map(12, b), deadline())
            assert b.name not in primary.foreign_tables()
        primary.admin.execute('update podroute_fdw."followed:revision" set revision = 0')
        async with fdw(primary.config) as backend:
            await backend.follow(shard_map(12, b), deadline())
            assert await backend.upsert(b, [RECORD], deadline()) == 1
            assert a.name not in primary.foreign_tables()


async def test_a_pod_with_another_password_gets_a_mapping_that_holds_it(
    primary: Primary, store: PgvectorBackend, cluster: Cluster
) -> None:
    values = router_values(cluster, primary=primary.name)
    del values["pods"]["beta"]["password_file"]
    values["pods"]["beta"]["password"] = "of-its-own"
    secret = kept_verifier(cluster.router_role, "of-its-own")
    with psycopg.connect(cluster.pods["beta"].admin_conninfo(), autocommit=True) as admin:
        [(kept,)] = admin.execute("select rolpassword from pg_authid where rolname = 'podroute'").fetchall()
        async with collection(store, "beta") as b, fdw(make_config(values)) as backend:
            admin.execute(f"alter role podroute password '{secret}'".encode())
            try:
                await backend.follow(shard_map(1, b), deadline())
                assert "use_scram_passthrough" not in primary.server_options("beta")
                assert await backend.upsert(b, [RECORD], deadline()) == 1
            finally:
                admin.execute(f"alter role podroute password '{kept}'".encode())


async def test_two_routers_may_follow_at_once(primary: Primary, store: PgvectorBackend) -> None:
    async with collection(store) as a, collection(store) as b, fdw(primary.config) as one, fdw(primary.config) as two:
        for revision, known in enumerate(([], [a], [a, b], [b]), start=1):
            await asyncio.gather(*(backend.follow(shard_map(revision, *known), deadline()) for backend in (one, two)))
        assert {b.name, f"{b.name}:upsert"} < primary.foreign_tables().keys()


async def test_a_password_changed_under_way_is_used_by_the_next_session(
    primary: Primary, store: PgvectorBackend, cluster: Cluster, tmp_path: Path
) -> None:
    """Pass-through logs in with the session's own keys: one opened before the change cannot reach the pod any more."""
    old = cluster.router_password_file.read_text(encoding="utf-8").strip()
    password_file = tmp_path / "password"
    password_file.write_text(old, encoding="utf-8")
    values = router_values(cluster, primary=primary.name)
    for database in (values["primary"], values["pods"]["beta"]):
        database["password_file"] = str(password_file)
    async with collection(store, "beta") as b, fdw(make_config(values)) as backend:
        await backend.follow(shard_map(1, b), deadline())
        await backend.upsert(b, [RECORD], deadline())
        try:
            set_password(cluster, "another-password")
            password_file.write_text("another-password", encoding="utf-8")
            with psycopg.connect(cluster.pods["beta"].admin_conninfo(), autocommit=True) as admin:
                admin.execute("select pg_terminate_backend(pid, 2000) from pg_stat_activity where usename = 'podroute'")
            with suppress(Unavailable):
                await backend.count(b, None, deadline())
            assert await backend.count(b, None, deadline()) == 1
        finally:
            set_password(cluster, old)


def set_password(cluster: Cluster, password: str) -> None:
    secret = kept_verifier(cluster.router_role, password)
    for server in (cluster.primary, cluster.pods["beta"]):
        with psycopg.connect(server.admin_conninfo(), autocommit=True) as admin:
            admin.execute(f"alter role podroute password '{secret}'".encode())


def put_back_old_upsert_table(primary: Primary, made: Collection) -> int:
    """The collection's foreign table for upserts as 0.1.0 made it; its object id."""
    upserts = f'podroute_fdw."{made.name}:upsert"'
    primary.admin.execute(
        f"drop foreign table {upserts}; create foreign table {upserts} (id text not null, vec vector(3) not null, "
        f"metadata jsonb not null) server podroute_{made.placement.pod} "
        f"options (schema_name 'podroute', table_name '{made.name}')".encode()
    )
    primary.admin.execute(f"alter foreign table {upserts} owner to podroute_owner".encode())
    return primary.foreign_tables()[f"{made.name}:upsert"]


async def refused(backend: FdwBackend, made: Collection) -> None:
    with pytest.raises(Unavailable) as stale:
        await backend.upsert(made, [RECORD], deadline())
    assert stale.value.reason == "STALE_PLAN"


async def seconds_until_served(backend: FdwBackend, made: Collection) -> float:
    began = time.monotonic()
    while time.monotonic() < began + 10:
        with suppress(Unavailable):
            assert await backend.upsert(made, [RECORD], deadline()) == 1
            return time.monotonic() - began
        await asyncio.sleep(0.02)
    raise AssertionError("not served within 10 s")


async def test_an_upsert_table_of_an_earlier_version_is_made_anew_at_the_start(
    primary: Primary, store: PgvectorBackend
) -> None:
    async with collection(store) as a:
        async with fdw(primary.config) as backend:
            await backend.follow(shard_map(1, a), deadline())
        wanted = primary.foreign_tables()
        old = put_back_old_upsert_table(primary, a)
        async with fdw(primary.config) as started_anew:
            await started_anew.follow(shard_map(1, a), deadline())
            after = primary.foreign_tables()
            assert after.keys() == wanted.keys()
            assert after[f"{a.name}:upsert"] != old
            assert after[a.name] == wanted[a.name]
            assert await started_anew.upsert(a, [RECORD], deadline()) == 1
            assert await started_anew.count(a, None, deadline()) == 1


async def test_upsert_tables_of_an_earlier_version_are_made_anew_by_a_running_router_that_meets_one(
    primary: Primary, store: PgvectorBackend
) -> None:
    async with collection(store) as a, collection(store, "beta") as b, fdw(primary.config) as backend:
        await backend.follow(shard_map(1, a, b), deadline())
        right = primary.foreign_tables()
        for each in (a, b):
            put_back_old_upsert_table(primary, each)
        await refused(backend, b)
        assert await seconds_until_served(backend, b) < 5
        await backend.follow(shard_map(2, a, b), deadline())  # after what is under way
        assert await backend.upsert(a, [RECORD], deadline()) == 1, "the others were compared too"
        after = primary.foreign_tables()
        assert {after[name] == right[name] for name in (a.name, b.name)} == {True}


async def test_tables_that_an_earlier_version_puts_back_again_are_made_anew_now_and_then_only(
    primary: Primary, store: PgvectorBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backend_module, "MEND_INTERVAL_S", 1.5)
    async with collection(store) as a, fdw(primary.config) as backend:
        await backend.follow(shard_map(1, a), deadline())
        put_back_old_upsert_table(primary, a)
        await refused(backend, a)
        began = time.monotonic()
        assert await seconds_until_served(backend, a) < 1
        old = put_back_old_upsert_table(primary, a)
        await refused(backend, a)
        await asyncio.sleep(max(0, began + 1 - time.monotonic()))
        assert primary.foreign_tables()[f"{a.name}:upsert"] == old
        assert await seconds_until_served(backend, a) < 5


async def test_a_change_passed_over_for_a_newer_map_of_another_router_is_made_with_the_next(
    primary: Primary, store: PgvectorBackend
) -> None:
    """That router may have had no address for the pod in question."""
    alpha_only = primary.config.model_copy(update={"pods": {"alpha": primary.config.pods["alpha"]}})
    async with (
        collection(store) as a,
        collection(store, "beta") as b,
        fdw(primary.config) as backend,
        fdw(alpha_only) as other,
    ):
        await backend.follow(shard_map(3), deadline())
        fourth = shard_map(4, b)
        fifth = fourth.changed(5, fourth.pods, [Change(a.name, a)])
        await other.follow(fifth, deadline())
        await backend.follow(fourth, deadline())
        assert b.name not in primary.foreign_tables()
        await backend.follow(fifth, deadline())
        assert await backend.upsert(b, [RECORD], deadline()) == 1
        assert await backend.count(b, None, deadline()) == 1


async def test_a_start_from_a_map_behind_that_of_others_compares_everything_with_the_next(
    primary: Primary, store: PgvectorBackend
) -> None:
    async with collection(store) as a:
        fourth = shard_map(4, a)
        fifth = fourth.changed(5, fourth.pods, [])
        async with fdw(primary.config) as other:
            await other.follow(fifth, deadline())
        wanted = primary.server_options("alpha")
        primary.admin.execute("alter server podroute_alpha options (set port '1')")
        primary.admin.execute(f'drop foreign table podroute_fdw."{a.name}:upsert"'.encode())
        primary.admin.execute('create foreign table podroute_fdw."gone:upsert" () server podroute_alpha')
        primary.admin.execute('alter foreign table podroute_fdw."gone:upsert" owner to podroute_owner')
        async with fdw(primary.config) as started_anew:
            await started_anew.follow(fourth, deadline())
            assert f"{a.name}:upsert" not in primary.foreign_tables()
            await started_anew.follow(fifth, deadline())
            assert primary.server_options("alpha") == wanted
            assert await started_anew.upsert(a, [RECORD], deadline()) == 1
            assert "gone:upsert" not in primary.foreign_tables()


async def test_work_cut_short_by_another_routers_newer_map_goes_on_with_that_where_it_ended(
    primary: Primary, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither lost nor begun from its start: else other routers' changes could keep a start from ever ending."""
    monkeypatch.setattr(reconcile, "TABLES_A_TRANSACTION", 4)
    many = several("cut", 6)
    # The next part of the work meets a newer revision: another router's, that had its turn in between.
    primary.admin.execute("""
        create function public.cut() returns event_trigger language plpgsql as $$ begin
            if exists (select from pg_event_trigger_ddl_commands() where object_identity like '%cut_1:upsert%') then
                update podroute_fdw."followed:revision" set revision = 6;
            end if;
        end $$
    """)
    primary.admin.execute("create event trigger cut on ddl_command_end execute function public.cut()")
    fifth = shard_map(5, *many)
    sixth = fifth.changed(6, fifth.pods, [])
    async with fdw(primary.config) as backend:
        await backend.follow(fifth, deadline())
        made = primary.foreign_tables().keys()
        assert made > tables_of(*many[:2])
        assert made.isdisjoint(tables_of(many[5]))
        primary.admin.execute("drop event trigger cut")
        primary.admin.execute('drop foreign table podroute_fdw."cut_0"')
        await backend.follow(sixth, deadline())
        assert primary.foreign_tables().keys() == CONTROLS | tables_of(*many) - {"cut_0"}


async def test_what_a_killed_router_left_half_made_the_others_make_whole(
    primary: Primary, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The revision stands from the first part of the work on, and keeps nobody from going through all of it."""
    monkeypatch.setattr(reconcile, "TABLES_A_TRANSACTION", 4)
    many = several("half", 6)
    running_map = shard_map(2)
    newest = running_map.changed(3, running_map.pods, [Change(each.name, each) for each in many])
    async with fdw(primary.config) as running:
        await running.follow(running_map, deadline())
        in_the_way = 'podroute_fdw."half_3:upsert"'
        primary.admin.execute(f"create table {in_the_way} ()".encode())
        async with fdw(primary.config) as killed:
            with pytest.raises(PodrouteError):
                await killed.follow(newest, deadline())
        primary.admin.execute(f"drop table {in_the_way}".encode())
        assert followed(primary) == 3
        assert tables_of(many[0]) < primary.foreign_tables().keys() < CONTROLS | tables_of(*many)
        await running.follow(newest, deadline())
        assert primary.foreign_tables().keys() == CONTROLS | tables_of(*many)
    primary.admin.execute('drop foreign table podroute_fdw."half_5"')
    async with fdw(primary.config) as started_anew:
        await started_anew.follow(newest, deadline())
        assert primary.foreign_tables().keys() == CONTROLS | tables_of(*many)


async def test_a_router_that_freezes_at_its_work_keeps_the_others_out_for_a_while_only(
    primary: Primary, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        reconcile, "_BOUNDS", "set local lock_timeout = '2s'; set local idle_in_transaction_session_timeout = '300ms'"
    )
    compare, is_frozen, goes_on = reconcile.compare_servers, asyncio.Event(), asyncio.Event()

    async def freeze(*arguments: Any) -> Any:
        monkeypatch.setattr(reconcile, "compare_servers", compare)
        is_frozen.set()
        await goes_on.wait()
        return await compare(*arguments)

    monkeypatch.setattr(reconcile, "compare_servers", freeze)
    async with fdw(primary.config) as frozen, fdw(primary.config) as other:
        freezing = asyncio.create_task(frozen.follow(shard_map(1), deadline()))
        await is_frozen.wait()
        await within(Deadline.after(10), other.follow(shard_map(1), deadline()))
        goes_on.set()
        with pytest.raises(Unavailable):
            await freezing
        await frozen.follow(shard_map(1), deadline())
    assert primary.foreign_tables().keys() == CONTROLS
