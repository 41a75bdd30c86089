"""Routers that follow at once, with maps of different age, or cut short, leave the work whole."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from podroute_fdw import reconcile
from podroute_pgvector.backend import PgvectorBackend
from podroute_router.domain import Deadline
from podroute_router.errors import PodrouteError, Unavailable
from podroute_router.shard_map import Change
from podroute_router.wrappers import within

from .harness import CONTROLS, RECORD, Primary, collection, deadline, fdw, followed, several, shard_map, tables_of


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
