"""The catalog on a real server: changes are ordered, and every router follows them, whatever happens on the way."""

from __future__ import annotations

import asyncio
import random
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import psycopg
import pytest
from podroute_router.catalog import saved_map
from podroute_router.catalog import store as store_module
from podroute_router.catalog.saved_map import SavedMapError
from podroute_router.catalog.store import MINIMUM_READER, VERSION, CatalogStore
from podroute_router.catalog.watcher import ShardMapSource
from podroute_router.config import Database, Timeouts
from podroute_router.domain import Collection, Deadline, Metric, Placement
from podroute_router.embedded.cluster import Cluster
from podroute_router.embedded.server import Server
from podroute_router.errors import (
    AlreadyExists,
    DeadlineExceeded,
    FailedPrecondition,
    NotFound,
    PodrouteError,
    Unavailable,
    Unreachable,
)
from podroute_router.exposures import ColumnType, ExposedColumn, Exposure
from podroute_router.postgres.pool import Pool
from podroute_router.shard_map import ShardMap
from psycopg import sql
from pydantic import SecretStr

PASSWORD = "a password of the tests"
PODS = ["alpha", "beta"]
NEVER_S = 600.0


def soon(seconds: float = 10.0) -> Deadline:
    return Deadline.after(seconds)


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


def make(name: str, pod: str = "alpha", *, table: str | None = None) -> Collection:
    placement = Placement(pod=pod, schema="vecs", table=table or name)
    return Collection(name=name, dimension=3, metric=Metric.COSINE, placement=placement)


async def until(condition: Callable[[], object], timeout_s: float = 10.0) -> float:
    """Seconds until the condition held; fails where it does not in time."""
    began = time.monotonic()
    while not condition():
        assert time.monotonic() < began + timeout_s, "it did not happen in time"
        await asyncio.sleep(0.005)
    return time.monotonic() - began


class CountingStore(CatalogStore):
    """A store that counts its loads."""

    loads = 0

    async def load(self, base: ShardMap, deadline: Deadline, *, full: bool = False) -> ShardMap:
        self.loads += 1
        return await super().load(base, deadline, full=full)


@dataclass
class Catalog:
    """A database of its own, prepared for a catalog, and routers of it."""

    server: Server
    name: str

    @property
    def database(self) -> Database:
        return Database(dsn=self.server.conninfo("podroute", self.name), password=SecretStr(PASSWORD))

    def admin(self, statement: str, *values: object) -> list[tuple[object, ...]]:
        with psycopg.connect(self.server.admin_conninfo(self.name), autocommit=True) as connection:
            cursor = connection.execute(statement.encode(), values)
            return cursor.fetchall() if cursor.description else []

    @asynccontextmanager
    async def store(self, size: int = 8) -> AsyncIterator[CountingStore]:
        pool = Pool(self.database, size=size, linger_s=1.0, connect_timeout_s=2.0, facts={"on": "catalog"})
        try:
            yield CountingStore(pool)
        finally:
            await pool.close()

    @asynccontextmanager
    async def source(
        self, *, poll_interval_s: float = NEVER_S, path: Path | None = None, started: bool = True
    ) -> AsyncIterator[ShardMapSource]:
        timeouts = Timeouts(connect_s=1.0, default_s=2.0, poll_interval_s=poll_interval_s)
        async with self.store() as store:
            source = ShardMapSource(database=self.database, store=store, timeouts=timeouts, saved_map=path)
            try:
                if started:
                    await source.start(5.0)
                    await self.wait_for_listeners(1)
                    # It loads once more as soon as it listens; what follows is seen by other means.
                    await until(lambda: store.loads >= 2)
                    await source.refresh(soon())
                yield source
            finally:
                await source.close()

    async def wait_for_listeners(self, least: int) -> None:
        await until(lambda: len(self.listeners()) >= least)

    def listeners(self) -> list[tuple[object, ...]]:
        return self.admin(
            "select pid from pg_stat_activity where datname = current_database() and query like 'listen%%'"
        )

    def drop_listeners(self) -> None:
        self.admin(
            "select pg_terminate_backend(pid) from pg_stat_activity "
            "where datname = current_database() and query like 'listen%%'"
        )


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    """A server of this module's own, as tests kill and freeze it."""
    settings = {"synchronous_commit": "on"}  # what was committed must outlive a kill
    with Cluster(pods=(), ephemeral=True, fsync=False, settings=settings) as cluster:
        with psycopg.connect(cluster.primary.admin_conninfo(), autocommit=True) as connection:
            connection.execute("create role podroute_owner nologin")
            connection.execute(
                sql.SQL("create role podroute login password {} in role podroute_owner").format(sql.Literal(PASSWORD))
            )
        yield cluster.primary


@pytest.fixture
def unprepared(server: Server) -> Iterator[Catalog]:
    """A database without a catalog; afterwards the server serves again, whatever the test did to it."""
    catalog = Catalog(server, server.database)
    catalog.admin("drop schema if exists podroute_catalog cascade")
    yield catalog
    if not server.is_running:
        server.start()
    server.thaw()


@pytest.fixture
def catalog(unprepared: Catalog) -> Catalog:
    unprepared.admin("create schema podroute_catalog authorization podroute_owner")
    return unprepared


@pytest.fixture
async def store(catalog: Catalog) -> AsyncIterator[CountingStore]:
    """The store of a catalog that knows two pods and is at revision 1."""
    async with catalog.store() as store:
        await store.migrate(soon())
        await store.register_pods(PODS, soon())
        yield store


# The schema


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


# Changes


async def test_a_collection_that_was_added_is_in_the_map(store: CountingStore) -> None:
    placement = Placement(pod="beta", schema="legacy", table='Some "old" table')
    odd = Collection(name="docs", dimension=1536, metric=Metric.INNER_PRODUCT, placement=placement)
    assert await store.add_collection(odd, soon()) == odd
    loaded = await store.load(ShardMap(), soon())
    assert loaded.collection("docs") == odd
    assert (loaded.revision, loaded.pods) == (2, set(PODS))


async def test_registering_known_pods_is_no_change(store: CountingStore) -> None:
    before = await store.load(ShardMap(), soon())
    await store.register_pods(reversed(PODS), soon())
    assert await store.load(before, soon()) is before
    await store.register_pods([*PODS, "gamma"], soon())
    after = await store.load(before, soon())
    assert (after.revision, after.pods) == (before.revision + 1, {"alpha", "beta", "gamma"})


async def test_routers_that_register_the_same_pods_at_once_make_one_change(store: CountingStore) -> None:
    await asyncio.gather(*(store.register_pods(["gamma", "delta"], soon()) for _ in range(6)))
    loaded = await store.load(ShardMap(), soon())
    assert (loaded.revision, loaded.pods) == (2, {"alpha", "beta", "gamma", "delta"})


async def test_a_name_is_taken_once_however_many_ask_for_it_at_once(store: CountingStore) -> None:
    outcomes = await asyncio.gather(
        *(store.add_collection(make("docs", PODS[n % 2], table=f"t{n}"), soon()) for n in range(8)),
        return_exceptions=True,
    )
    (winner,) = [outcome for outcome in outcomes if isinstance(outcome, Collection)]
    losers = [outcome for outcome in outcomes if isinstance(outcome, AlreadyExists)]
    assert [loser.reason for loser in losers] == ["COLLECTION_EXISTS"] * 7
    loaded = await store.load(ShardMap(), soon())
    assert loaded.collection("docs") == winner
    assert loaded.revision == 2


async def test_a_collection_on_an_unknown_pod_is_refused(store: CountingStore) -> None:
    with pytest.raises(NotFound) as caught:
        await store.add_collection(make("docs", "gamma"), soon())
    assert (caught.value.reason, caught.value.facts["pod"]) == ("POD_NOT_FOUND", "gamma")
    assert (await store.load(ShardMap(), soon())).revision == 1


async def test_two_collections_cannot_share_a_table(store: CountingStore) -> None:
    await store.add_collection(make("docs", table="t"), soon())
    with pytest.raises(AlreadyExists) as caught:
        await store.add_collection(make("copies", table="t"), soon())
    assert caught.value.reason == "TABLE_TAKEN"
    await store.add_collection(make("copies", "beta", table="t"), soon())


async def test_removing_twice_is_as_good_as_once(store: CountingStore) -> None:
    await store.add_collection(make("docs"), soon())
    assert await store.remove_collection("docs", soon()) is True
    removed = await store.load(ShardMap(), soon())
    assert await store.remove_collection("docs", soon()) is False
    assert await store.load(removed, soon()) is removed
    assert not removed.collections


async def test_a_removal_of_an_earlier_generation_leaves_the_collection_that_was_made_anew(
    store: CountingStore,
) -> None:
    first = await store.add_collection(make("docs"), soon())
    await store.remove_collection("docs", soon(), generation=first.placement.generation)
    second = await store.add_collection(make("docs", "beta"), soon())
    held = await store.load(ShardMap(), soon())
    assert await store.remove_collection("docs", soon(), generation=first.placement.generation) is False
    assert await store.load(held, soon()) is held
    assert held.collection("docs") == second
    assert await store.remove_collection("docs", soon(), generation=second.placement.generation) is True


async def test_a_collection_made_anew_has_a_later_generation(store: CountingStore) -> None:
    first = await store.add_collection(make("docs"), soon())
    held = await store.load(ShardMap(), soon())
    await store.remove_collection("docs", soon())
    second = await store.add_collection(replace(make("docs", "beta"), dimension=5), soon())
    await store.remove_collection("docs", soon())
    third = await store.add_collection(make("docs"), soon())
    assert [c.placement.generation for c in (first, second, third)] == [1, 2, 3]
    assert (second.placement.pod, second.dimension) == ("beta", 5)
    assert (await store.load(held, soon())).collection("docs") == third


async def test_revisions_have_no_gaps_and_commit_in_their_order_under_concurrent_writers(
    catalog: Catalog, store: CountingStore
) -> None:
    async def write(writer: int) -> None:
        for step in range(6):
            await store.add_collection(make(f"c{writer}_{step}"), soon())
            if step % 3 == 2:
                await store.remove_collection(f"c{writer}_{step - 1}", soon())
            with pytest.raises(AlreadyExists):
                await store.add_collection(make(f"c{writer}_0"), soon())

    async def read(written: asyncio.Event) -> ShardMap:
        held = ShardMap()
        async with catalog.store() as reader:
            while not written.is_set():
                later = await reader.load(held, soon())
                assert later.revision >= held.revision
                held = later
            return await reader.load(held, soon())

    written = asyncio.Event()
    reading = asyncio.create_task(read(written))
    await asyncio.gather(*(write(writer) for writer in range(8)))
    written.set()
    stepwise = await reading
    rows = catalog.admin("select revision from podroute_catalog.collections order by revision")
    adds, removals = 8 * 6, 8 * 2
    assert stepwise.revision == 1 + adds + removals
    assert len({revision for (revision,) in rows}) == adds, "each change has a revision of its own"
    assert stepwise == await store.load(ShardMap(), soon()), "no change was committed behind a reader's back"
    assert len(stepwise.collections) == adds - removals


# Loading


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


# Following


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


# Outages


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


# Size


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
