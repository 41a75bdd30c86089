"""Foreign tables that an earlier version made are made anew, at the start or when one is met."""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress

import pytest
from podroute_fdw import backend as backend_module
from podroute_fdw.backend import FdwBackend
from podroute_pgvector.backend import PgvectorBackend
from podroute_router.domain import Collection
from podroute_router.errors import Unavailable

from .harness import RECORD, Primary, collection, deadline, fdw, shard_map


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
