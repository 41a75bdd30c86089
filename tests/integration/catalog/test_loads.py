"""The shard map as it is loaded: of one moment, in steps or in full, quick when it is large."""

from __future__ import annotations

import asyncio
import random
import sys
import time
from pathlib import Path

import pytest
from podroute_router.catalog import saved_map
from podroute_router.embedded.server import Server
from podroute_router.errors import (
    AlreadyExists,
    DeadlineExceeded,
    Unreachable,
)
from podroute_router.shard_map import ShardMap

from .harness import PODS, Catalog, CountingStore, make, soon


async def test_an_unchanged_map_is_handed_back_itself(store: CountingStore) -> None:
    await store.add_collection(make("docs"), soon())
    held = await store.load(ShardMap(), soon())
    assert await store.load(held, soon()) is held


async def test_a_load_is_of_one_moment_however_busy_the_writers(catalog: Catalog, store: CountingStore) -> None:
    async def write() -> None:
        for n in range(150):  # each change adds one collection, so that a revision says how many there are
            await store.add_collection(make(f"c{n}"), soon())

    writing = asyncio.create_task(write())
    async with catalog.store() as reader:
        held = ShardMap()
        while not writing.done():
            held = await reader.load(held, soon())
            whole = await reader.load(ShardMap(), soon())
            assert len(held.collections) == max(0, held.revision - 1)
            assert len(whole.collections) == max(0, whole.revision - 1)
    await writing


async def test_step_by_step_and_in_full_come_to_the_same_map(store: CountingStore) -> None:
    choose = random.Random(5)
    held = ShardMap()
    for _ in range(60):
        name = f"c{choose.randrange(8)}"
        try:
            await store.add_collection(make(name, choose.choice(PODS)), soon())
        except AlreadyExists:
            await store.remove_collection(name, soon())
        if choose.random() < 0.4:
            held = await store.load(held, soon())
    assert (
        await store.load(held, soon())
        == await store.load(ShardMap(), soon())
        == await store.load(held, soon(), full=True)
    )


async def test_a_full_load_keeps_what_is_as_it_was_and_so_shows_what_is_not(
    catalog: Catalog, store: CountingStore
) -> None:
    for name in ("kept", "moved", "lost"):
        await store.add_collection(make(name), soon())
    held = await store.load(ShardMap(), soon())
    again = await store.load(held, soon(), full=True)
    assert again == held
    assert again.changed_names(held) == []
    catalog.admin("update podroute_catalog.collections set pod = 'beta', generation = 2 where name = 'moved'")
    catalog.admin("delete from podroute_catalog.collections where name = 'lost'")
    restored = await store.load(held, soon(), full=True)
    assert restored.collection("kept") is held.collection("kept")
    assert restored.changed_names(held) == ["moved", "lost"]
    assert restored.collection("moved").placement.pod == "beta"


async def test_a_catalog_restored_from_a_backup_is_loaded_in_full_with_a_warning(
    catalog: Catalog, store: CountingStore, caplog: pytest.LogCaptureFixture
) -> None:
    await store.add_collection(make("kept"), soon())
    await store.add_collection(make("lost"), soon())
    held = await store.load(ShardMap(), soon())
    catalog.admin("delete from podroute_catalog.collections where name = 'lost'")
    catalog.admin("update podroute_catalog.revision set revision = 2")
    restored = await store.load(held, soon())
    assert (restored.revision, set(restored.collections)) == (2, {"kept"})
    assert "restored from a backup" in caplog.text


async def test_a_frozen_catalog_is_let_go_of_at_the_deadline(server: Server, store: CountingStore) -> None:
    held = await store.load(ShardMap(), soon())
    server.freeze()
    try:
        for call in (
            lambda: store.load(held, soon(0.3)),
            lambda: store.add_collection(make("docs"), soon(0.3)),
            lambda: store.migrate(soon(0.3)),
        ):
            began = time.monotonic()
            with pytest.raises((DeadlineExceeded, Unreachable)):
                await call()
            assert time.monotonic() - began < 1.0
    finally:
        server.thaw()
    assert (await store.load(held, soon())).revision >= held.revision


async def test_ten_thousand_collections_load_quickly_and_one_change_quicker(
    catalog: Catalog, store: CountingStore, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    catalog.admin(
        "insert into podroute_catalog.collections (name, pod, table_schema, table_name, dimension, metric, "
        "generation, revision) select 'c' || n, 'alpha', 'vecs', 'c' || n, 384, 'cosine', 1, n + 1 "
        "from generate_series(1, 10000) n"
    )
    catalog.admin("update podroute_catalog.revision set revision = 10001")
    began = time.perf_counter()
    held = await store.load(ShardMap(), soon())
    full_s = time.perf_counter() - began
    assert len(held.collections) == 10_000
    await store.add_collection(make("docs"), soon())
    began = time.perf_counter()
    later = await store.load(held, soon())
    step_s = time.perf_counter() - began
    assert len(later.collections) == 10_001
    began = time.perf_counter()
    assert await store.load(later, soon()) is later
    poll_s = time.perf_counter() - began
    path = tmp_path / "shard_map.json"
    began = time.perf_counter()
    saved_map.save(later, path)
    save_s = time.perf_counter() - began
    assert saved_map.load(path) == later
    async with catalog.source(path=path) as source:
        assert source.current == later
    with capsys.disabled():
        sys.stdout.write(
            f"\n10,000 collections: full load {full_s * 1e3:.0f} ms, one change {step_s * 1e3:.1f} ms, "
            f"no change {poll_s * 1e3:.1f} ms, saving {save_s * 1e3:.0f} ms\n"
        )
    assert full_s < 2.0
    assert step_s < 0.5
