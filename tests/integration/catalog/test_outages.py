"""Routers serve while the catalog is away, start from the saved map, and follow it again."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

import pytest
from podroute_router.catalog import saved_map
from podroute_router.catalog.saved_map import SavedMapError
from podroute_router.errors import (
    DeadlineExceeded,
    PodrouteError,
    Unavailable,
    Unreachable,
)
from podroute_router.shard_map import ShardMap

from .harness import Catalog, CountingStore, make, soon, until


async def test_a_router_starts_from_the_saved_map_and_follows_the_catalog_once_it_is_back(
    catalog: Catalog, store: CountingStore, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "shard_map.json"
    await store.add_collection(make("docs"), soon())
    async with catalog.source(path=path) as source:
        saved = source.current
    assert saved_map.load(path) == saved
    catalog.server.kill()
    async with catalog.source(path=path, started=False) as source:
        await source.start(1.0)
        assert source.current == saved
        assert source.age_s is None
        assert "starting from the saved shard map, revision 2" in caplog.text
        catalog.server.start()
        await store.add_collection(make("notes"), soon())
        assert await until(lambda: "notes" in source.current.collections) < 4.0
    assert saved_map.load(path) == source.current


async def test_a_router_that_stops_saves_the_map_it_held_last(
    catalog: Catalog, store: CountingStore, tmp_path: Path
) -> None:
    path = tmp_path / "shard_map.json"
    async with catalog.source(path=path) as source:
        await until(path.exists)
        await store.add_collection(make("docs"), soon())
        await source.refresh(soon())  # within the pause that follows a saving
    assert saved_map.load(path) == source.current
    assert "docs" in source.current.collections


async def test_without_catalog_and_saved_map_a_router_does_not_start(
    catalog: Catalog, store: CountingStore, tmp_path: Path
) -> None:
    catalog.server.kill()
    for path in (None, tmp_path / "shard_map.json"):
        async with catalog.source(path=path, started=False) as source:
            with pytest.raises(Unreachable):
                await source.start(1.0)


async def test_a_damaged_saved_map_is_refused_and_kept(catalog: Catalog, store: CountingStore, tmp_path: Path) -> None:
    path = tmp_path / "shard_map.json"
    async with catalog.source(path=path):
        pass
    damaged = path.read_bytes().replace(b"alpha", b"alphb")
    path.write_bytes(damaged)
    catalog.server.kill()
    async with catalog.source(path=path, started=False) as source:
        with pytest.raises(SavedMapError, match="checksum") as caught:
            await source.start(1.0)
    assert str(path) in str(caught.value)
    assert path.read_bytes() == damaged


async def test_a_router_serves_while_the_catalog_is_away_and_follows_it_again(
    catalog: Catalog, store: CountingStore
) -> None:
    await store.add_collection(make("docs"), soon())
    async with catalog.source() as source:
        held = source.current
        catalog.server.kill()
        began = time.monotonic()
        with pytest.raises(Unavailable):
            await source.refresh(soon())
        assert time.monotonic() - began < 1.0, "a refused connection is no reason to wait"
        assert source.current is held
        catalog.server.start()
        await store.add_collection(make("notes"), soon())
        assert await until(lambda: "notes" in source.current.collections) < 4.0


async def test_a_frozen_catalog_holds_up_nobody_and_is_followed_again_when_thawed(
    catalog: Catalog, store: CountingStore
) -> None:
    async with catalog.source(poll_interval_s=0.3) as source:
        held = source.current
        catalog.server.freeze()
        try:
            began = time.monotonic()
            with pytest.raises(DeadlineExceeded):
                await source.refresh(soon(0.3))
            assert time.monotonic() - began < 1.0
            with pytest.raises(PodrouteError):  # in a freeze that outlasts every bound
                await source.refresh(soon(5.0))
            assert source.current is held
        finally:
            catalog.server.thaw()
        await store.add_collection(make("docs"), soon())
        assert await until(lambda: "docs" in source.current.collections) < 5.0


async def test_a_map_that_cannot_be_saved_is_no_reason_not_to_serve(
    catalog: Catalog, store: CountingStore, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "a_folder"
    path.mkdir()
    async with catalog.source(path=path) as source:
        await store.add_collection(make("docs"), soon())
        await until(lambda: "docs" in source.current.collections)
        await until(lambda: "cannot be saved" in caplog.text)


async def test_a_standby_is_read_but_never_believed_to_be_a_restored_backup(
    catalog: Catalog, store: CountingStore
) -> None:
    server = catalog.server
    await store.add_collection(make("docs"), soon())
    held = await store.load(ShardMap(), soon())
    async with catalog.source() as source:
        server.stop()
        signal_file = server.data_dir / "standby.signal"
        signal_file.touch()
        try:
            server.start()
            await store.migrate(soon())
            assert await store.load(ShardMap(), soon()) == held
            assert await source.refresh(soon()) == held
            ahead = replace(held, revision=held.revision + 1)
            for full in (False, True):
                with pytest.raises(Unavailable) as caught:
                    await store.load(ahead, soon(), full=full)
                assert caught.value.reason == "CATALOG_BEHIND"
            with pytest.raises(Unavailable) as caught:
                await store.remove_collection("docs", soon())
            assert caught.value.reason == "READ_ONLY"
        finally:
            server.stop()
            signal_file.unlink()
        server.start()
        await store.remove_collection("docs", soon())
        await until(lambda: not source.current.collections)
