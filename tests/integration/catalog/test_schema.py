"""The catalog's tables: made once by whoever comes first, and read by earlier and later routers."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import psycopg
import pytest
from podroute_router.catalog import store as store_module
from podroute_router.catalog.store import MINIMUM_READER, VERSION
from podroute_router.errors import (
    FailedPrecondition,
    PodrouteError,
)
from podroute_router.exposures import ColumnType, ExposedColumn, Exposure
from podroute_router.shard_map import ShardMap

from .harness import PODS, Catalog, CountingStore, make, soon

EXPOSURE = Exposure(
    collection="docs",
    schema="public",
    view="Docs",
    columns=(
        ExposedColumn(name="url", type=ColumnType.TEXT, path=("a", "\u00e9\"'"), indexed=True),
        ExposedColumn(name="n", type=ColumnType.DOUBLE_PRECISION, path=("n",)),
    ),
    roles=("web", "public"),
    code_point_order=True,
)


async def test_a_new_catalog_is_an_empty_map_of_revision_zero_and_its_owner_owns_it(catalog: Catalog) -> None:
    async with catalog.store() as store:
        await store.migrate(soon())
        assert await store.load(ShardMap(), soon()) == ShardMap()
    owners = catalog.admin(
        "select distinct pg_get_userbyid(relowner) from pg_class where relnamespace = 'podroute_catalog'::regnamespace"
    )
    assert owners == [("podroute_owner",)]


async def test_routers_that_migrate_at_once_and_again_make_one_catalog(catalog: Catalog) -> None:
    async with catalog.store() as one, catalog.store() as other:
        await asyncio.gather(*(store.migrate(soon()) for store in [one, other] * 3))
        await one.register_pods(PODS, soon())
        await other.migrate(soon())
        assert (await other.load(ShardMap(), soon())).pods == set(PODS)
    assert catalog.admin("select version, minimum_reader from podroute_catalog.schema_version") == [
        (VERSION, MINIMUM_READER)
    ]


async def test_a_database_that_was_not_prepared_is_refused_with_the_remedy(unprepared: Catalog) -> None:
    async with unprepared.store() as store:
        with pytest.raises(FailedPrecondition, match="podroute pods prepare") as caught:
            await store.migrate(soon())
    assert caught.value.reason == "NOT_PREPARED"


async def test_a_catalog_of_the_next_version_is_used_as_it_is(catalog: Catalog, store: CountingStore) -> None:
    catalog.admin("update podroute_catalog.schema_version set version = %s", VERSION + 1)
    await store.migrate(soon())
    await store.add_collection(make("docs"), soon())
    assert "docs" in (await store.load(ShardMap(), soon())).collections


async def test_a_catalog_of_the_version_before_goes_forward_and_its_routers_go_on(
    catalog: Catalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with catalog.store() as earlier:
        with monkeypatch.context() as of_version_1:
            of_version_1.setattr(store_module, "MIGRATIONS", store_module.MIGRATIONS[:1])
            of_version_1.setattr(store_module, "VERSION", 1)
            await earlier.migrate(soon())
            await earlier.register_pods(PODS, soon())
            await earlier.add_collection(make("docs"), soon())
        async with catalog.store() as later:
            await later.migrate(soon())
            await later.put_exposure(EXPOSURE, soon())
            with monkeypatch.context() as of_version_1:
                of_version_1.setattr(store_module, "VERSION", 1)
                await earlier.migrate(soon())
                await earlier.add_collection(make("images"), soon())
                assert sorted((await earlier.load(ShardMap(), soon())).collections) == ["docs", "images"]
                assert await earlier.remove_collection("docs", soon())
            assert (await later.exposures(soon()))[1] == []
    assert catalog.admin("select version, minimum_reader from podroute_catalog.schema_version") == [(VERSION, 1)]


async def test_exposures_are_kept_changed_and_removed_as_they_were_given(
    catalog: Catalog, store: CountingStore
) -> None:
    await store.add_collection(make("docs"), soon())
    await store.add_collection(make("images"), soon())
    other = replace(EXPOSURE, schema="shown", columns=(), roles=())
    for each in (other, EXPOSURE):
        await store.put_exposure(each, soon())
    revision, found = await store.exposures(soon())
    assert found == [EXPOSURE, other]
    assert revision == (await store.load(ShardMap(), soon())).revision
    changed = replace(EXPOSURE, roles=("web",), code_point_order=False)
    await store.put_exposure(changed, soon())
    assert (await store.exposures(soon()))[1] == [changed, other]
    for taken, reason in (
        (replace(EXPOSURE, collection="images"), "EXPOSURE_EXISTS"),
        (replace(EXPOSURE, collection="gone", view="new"), "COLLECTION_NOT_FOUND"),
    ):
        with pytest.raises(PodrouteError) as refused:
            await store.put_exposure(taken, soon())
        assert refused.value.reason == reason
        assert not await store.remove_exposure(taken, soon())
    assert (await store.exposures(soon())) == (revision + 1, [changed, other])
    assert await store.remove_exposure(other, soon())
    assert (await store.exposures(soon()))[1] == [changed]
    async with catalog.store() as elsewhere:  # what was read is kept, and another router changes it
        assert (await elsewhere.exposures(soon()))[1] == [changed]
        await elsewhere.put_exposure(EXPOSURE, soon())
        assert (await store.exposures(soon()))[1] == [EXPOSURE]
        assert await elsewhere.remove_exposure(EXPOSURE, soon())
        assert (await store.exposures(soon()))[1] == []
        await elsewhere.put_exposure(changed, soon())
        assert (await store.exposures(soon()))[1] == [changed]
        await elsewhere.add_collection(make("texts"), soon())
        assert (await store.exposures(soon())) == (revision + 6, [changed])


async def test_a_catalog_that_needs_a_later_router_is_refused(catalog: Catalog, store: CountingStore) -> None:
    later = VERSION + 1
    catalog.admin("update podroute_catalog.schema_version set version = %s, minimum_reader = %s", later, later)
    with pytest.raises(FailedPrecondition) as caught:
        await store.migrate(soon())
    assert caught.value.reason == "CATALOG_TOO_NEW"
    assert caught.value.facts == {"version": str(later), "minimum_reader": str(later), "known": str(VERSION)}


async def test_the_catalog_itself_refuses_what_no_collection_can_be(catalog: Catalog, store: CountingStore) -> None:
    await store.add_collection(make("docs"), soon())
    for change in (
        "name = 'Docs'",
        "dimension = 0",
        "metric = 'hamming'",
        "pod = 'gamma'",
        "table_name = ''",
        "generation = 0",
        "revision = 0",
    ):
        with pytest.raises(psycopg.errors.IntegrityError):
            catalog.admin(f"update podroute_catalog.collections set {change}")
