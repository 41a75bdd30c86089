"""Routers follow the catalog: by notification, by polling, and by looking for themselves."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import pytest
from podroute_router.catalog.watcher import ShardMapSource
from podroute_router.config import Database, Timeouts
from podroute_router.shard_map import ShardMap

from .harness import NEVER_S, PASSWORD, PODS, Catalog, CountingStore, make, soon, until


async def test_two_routers_see_a_change_by_notification(catalog: Catalog, store: CountingStore) -> None:
    async with catalog.source() as one, catalog.source() as other:
        await catalog.wait_for_listeners(2)
        await store.add_collection(make("docs"), soon())
        took_s = await until(lambda: "docs" in one.current.collections and "docs" in other.current.collections)
        await store.remove_collection("docs", soon())
        took_s = max(took_s, await until(lambda: not one.current.collections and not other.current.collections))
        assert took_s < 1.0
        assert one.current == other.current


async def test_what_others_notify_is_no_reason_to_stop_following(
    catalog: Catalog, store: CountingStore, caplog: pytest.LogCaptureFixture
) -> None:
    async with catalog.source() as source:
        for payload in ("", "abc", "-1", "1.5", "٣", "9" * 18, "9" * 19, "9" * 5000, "0" * 5000):
            catalog.admin("select pg_notify('podroute_shard_map', %s)", payload)
        await store.add_collection(make("docs"), soon())
        await until(lambda: "docs" in source.current.collections, 2.0)
        assert source.revision == 2
    assert not caplog.records


async def test_a_password_file_that_is_damaged_for_a_while_ends_no_following(
    catalog: Catalog, store: CountingStore, tmp_path: Path
) -> None:
    password_file = tmp_path / "password"
    password_file.write_text(PASSWORD)
    database = Database(dsn=catalog.database.dsn, password_file=password_file)
    source = ShardMapSource(
        database=database, store=store, timeouts=Timeouts(connect_s=1.0, poll_interval_s=NEVER_S), saved_map=None
    )
    await source.start(5.0)
    try:
        await catalog.wait_for_listeners(1)
        password_file.write_bytes(b"\xff\xfe")
        catalog.drop_listeners()
        await asyncio.sleep(0.3)  # an attempt or two
        assert not catalog.listeners()
        password_file.write_text(PASSWORD)
        await store.add_collection(make("docs"), soon())
        await until(lambda: "docs" in source.current.collections, 3.0)
    finally:
        await source.close()


async def test_a_change_that_nobody_notified_is_found_by_the_poll(catalog: Catalog, store: CountingStore) -> None:
    async with catalog.source(poll_interval_s=0.2) as source:
        catalog.admin("update podroute_catalog.revision set revision = revision + 1")
        catalog.admin(
            "insert into podroute_catalog.collections (name, pod, table_schema, table_name, dimension, metric, "
            "generation, revision) select 'docs', 'alpha', 'vecs', 'docs', 3, 'cosine', 1, revision "
            "from podroute_catalog.revision"
        )
        await until(lambda: "docs" in source.current.collections)
        assert source.current.collection("docs") == make("docs")


async def test_a_change_missed_while_the_connection_was_lost_is_seen_once_it_is_back(
    catalog: Catalog, store: CountingStore
) -> None:
    async with catalog.source() as source:
        catalog.drop_listeners()
        await store.add_collection(make("docs"), soon())
        await until(lambda: "docs" in source.current.collections)
        await catalog.wait_for_listeners(1)
        await store.add_collection(make("notes"), soon())
        assert await until(lambda: "notes" in source.current.collections) < 1.0


async def test_a_backup_restored_during_an_outage_is_noticed_even_at_the_revision_held(
    catalog: Catalog, store: CountingStore
) -> None:
    await store.add_collection(make("lost"), soon())
    async with catalog.source() as source:
        assert set(source.current.collections) == {"lost"}
        catalog.admin("update podroute_catalog.collections set name = 'other', table_name = 'other'")
        catalog.drop_listeners()
        await until(lambda: set(source.current.collections) == {"other"})
        assert source.revision == 2


async def test_subscribers_are_told_of_every_map_in_order_and_one_that_fails_harms_nobody(
    catalog: Catalog, store: CountingStore
) -> None:
    async with catalog.source() as source:
        seen: list[int] = []

        def fail(shard_map: ShardMap) -> None:
            raise RuntimeError("a subscriber's own fault")

        source.subscribe(fail)
        source.subscribe(lambda shard_map: seen.append(shard_map.revision))
        for n in range(4):
            await store.add_collection(make(f"c{n}"), soon())
            assert len((await source.refresh(soon())).collections) == n + 1
        assert seen == [2, 3, 4, 5]


async def test_a_refresh_shows_the_callers_own_change_however_many_share_a_load(catalog: Catalog) -> None:
    async with catalog.source() as source:
        store = source._store
        assert isinstance(store, CountingStore)
        await store.register_pods(PODS, soon())

        async def change(n: int) -> None:
            await store.add_collection(make(f"c{n}"), soon())
            assert f"c{n}" in (await source.refresh(soon())).collections

        await asyncio.gather(*(change(n) for n in range(40)))
        before, began = store.loads, time.monotonic()
        await asyncio.gather(*(source.refresh(soon()) for _ in range(500)))
        assert store.loads - before <= 2
        while time.monotonic() < began + 0.5:
            await source.refresh(soon())
        assert store.loads - before <= 2 + 0.5 / 0.05 + 1


async def test_the_age_of_the_map_is_that_of_the_catalogs_last_word(catalog: Catalog, store: CountingStore) -> None:
    async with catalog.source() as source:
        await until(lambda: source.age_s is not None and source.age_s > 0.3)
        await source.refresh(soon())
        assert source.age_s is not None
        assert source.age_s < 0.3
