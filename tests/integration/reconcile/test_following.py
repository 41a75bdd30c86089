"""The primary's foreign objects follow the shard map; what agrees is left alone, what drifted is mended."""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from pathlib import Path

import numpy as np
import psycopg
import pytest
from podroute_fdw import comparison, reconcile
from podroute_pgvector.backend import PgvectorBackend
from podroute_router.config import make_config
from podroute_router.domain import Collection, Deadline, Record
from podroute_router.embedded import Cluster
from podroute_router.errors import PodrouteError, Unavailable
from podroute_router.shard_map import Change
from podroute_router.wrappers import within
from servers import kept_verifier, router_values

from .harness import (
    CONTROLS,
    RECORD,
    Primary,
    collection,
    deadline,
    fdw,
    followed,
    set_password,
    several,
    shard_map,
    tables_of,
)


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
