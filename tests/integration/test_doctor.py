"""The doctor finds what drifted on real servers and names what mends it; reconcile mends what podroute may."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import psycopg
import pytest
import pytest_asyncio
from podroute_fdw.backend import FdwBackend
from podroute_pgvector import inspection
from podroute_pgvector.backend import PgvectorBackend
from podroute_router import doctor
from podroute_router.config import Config, make_config
from podroute_router.doctor import FirstLook, examine, extension_drifts, mend
from podroute_router.domain import Collection, Deadline, Metric, Placement, Query, Record
from podroute_router.drift import PRIMARY, Drift, Extension, Inspection
from podroute_router.embedded import Cluster
from podroute_router.postgres.connection import Connection
from podroute_router.shard_map import Change, ShardMap
from podroute_router.wrappers import within
from servers import kept_verifier, router_values, separate_primary

VECTOR = np.array([1, 2, 3], dtype=np.float32)

_numbers = itertools.count()


def deadline() -> Deadline:
    return Deadline.after(30)


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """A primary of the test's own, the session's pods, a collection on one of them, and administrators of both."""

    config: Config
    direct: PgvectorBackend
    fdw: FdwBackend
    collection: Collection
    shard_map: ShardMap
    primary: psycopg.Connection
    pod: psycopg.Connection

    @property
    def current(self) -> ShardMap:
        """See `map_source.MapSource`."""
        return self.shard_map

    async def refresh(self, _: Deadline) -> ShardMap:
        """See `map_source.MapSource`."""
        return self.shard_map

    async def drifts(self) -> list[Drift]:
        """What the doctor says of this test's own databases, notes aside."""
        found = await examine([self.direct, self.fdw], self.shard_map, self.config.pods, deadline())
        return [drift for drift in found if not drift.is_note]

    async def mended(self) -> list[Drift]:
        """What is left after `reconcile`."""
        await mend([self.direct, self.fdw], self.shard_map, deadline())
        return await self.drifts()

    async def serves(self) -> bool:
        """Both paths write and find."""
        record = Record(id="a", vector=VECTOR)
        query = Query(vector=VECTOR, limit=1, metric=Metric.L2)
        for backend in (self.direct, self.fdw):
            assert await backend.upsert(self.collection, [record], deadline()) == 1
            assert len((await backend.query(self.collection, query, deadline())).matches) == 1
        return True


@pytest.fixture
def primary(cluster: Cluster) -> Iterator[tuple[Config, psycopg.Connection]]:
    name = separate_primary(cluster)
    with psycopg.connect(cluster.primary.admin_conninfo(name), autocommit=True) as admin:
        yield make_config(router_values(cluster, primary=name)), admin


@pytest_asyncio.fixture
async def site(primary: tuple[Config, psycopg.Connection], cluster: Cluster) -> AsyncIterator[Site]:
    config, on_primary = primary
    assert config.primary is not None
    direct, fdw = PgvectorBackend(config), FdwBackend(config, config.primary)
    name = f"examined_{next(_numbers)}"
    made = Collection(
        name=name, dimension=3, metric=Metric.L2, placement=Placement(pod="alpha", schema="vecs", table=name)
    )
    await direct.create_collection(made, deadline())
    shard_map = ShardMap().changed(1, ["alpha", "beta", "home"], [Change(name, made)])
    await fdw.follow(shard_map, deadline())
    alpha = cluster.pods["alpha"]
    with psycopg.connect(alpha.admin_conninfo(alpha.database), autocommit=True) as on_pod:
        yield Site(
            config=config,
            direct=direct,
            fdw=fdw,
            collection=made,
            shard_map=shard_map,
            primary=on_primary,
            pod=on_pod,
        )
    await direct.drop_collection(made, deadline())
    await fdw.close()
    await direct.close()


async def test_a_healthy_site_has_no_drift(site: Site) -> None:
    assert await site.drifts() == []
    assert await site.serves()


async def test_a_table_without_an_index_is_a_note_only(site: Site) -> None:
    found = await examine([site.direct, site.fdw], site.shard_map, site.config.pods, deadline())
    [note] = found
    assert note.is_note
    assert note.thing == f"table vecs.{site.collection.name}"
    assert note.command == f"podroute collections index {site.collection.name}"


async def test_what_drifted_on_the_primary_is_found_and_mended(site: Site) -> None:
    table = f"podroute_fdw.{site.collection.name}"
    cases = [
        (f"drop foreign table {table}", f"foreign table {table}", "is missing"),
        ("alter server podroute_alpha options (drop extensions)", "server podroute_alpha", "extensions is not set"),
        (
            "alter server podroute_alpha options (set host '192.0.2.1', set port '1', set dbname 'other')",
            "server podroute_alpha",
            "host is '192.0.2.1'",
        ),
        (
            "drop user mapping for podroute server podroute_alpha",
            "user mapping of podroute for server podroute_alpha",
            "is missing",
        ),
        (
            "alter user mapping for podroute server podroute_alpha options (set user 'someone')",
            "user mapping of podroute for server podroute_alpha",
            "has other options",
        ),
        (f"alter foreign table {table} options (set table_name 'elsewhere')", f"foreign table {table}", "elsewhere"),
        ("drop server podroute_alpha cascade", "server podroute_alpha", "is missing"),
        (
            f"select pg_clear_relation_stats('podroute_fdw', '{site.collection.name}')",
            f"foreign table {table}",
            "rows",
        ),
    ]
    for statement, thing, problem in cases:
        site.primary.execute(statement.encode())
        found = {drift.thing: drift for drift in await site.drifts()}
        assert problem in found[thing].problem, statement
        assert all(drift.where == PRIMARY and drift.command == "podroute reconcile" for drift in found.values())
        assert await site.mended() == [], statement
        assert await site.serves()


async def test_a_foreign_table_of_no_collection_is_dropped(site: Site) -> None:
    site.primary.execute("create foreign table podroute_fdw.nobodys (id text) server podroute_alpha")
    site.primary.execute("alter foreign table podroute_fdw.nobodys owner to podroute_owner")
    [drift] = await site.drifts()
    assert (drift.thing, drift.problem) == (
        "foreign table podroute_fdw.nobodys",
        "belongs to no collection and no pod",
    )
    assert await site.mended() == []


async def test_what_drifted_on_a_pod_is_found_and_mended(site: Site) -> None:
    name = site.collection.name
    cases = [
        (f"drop view podroute.{name}", f"view podroute.{name}", "is missing"),
        (f"drop rule upsert on podroute.{name}", f"view podroute.{name}", "has no rule that upserts"),
        (f"revoke select on vecs.{name} from podroute_reader", f"table vecs.{name}", "podroute_reader may not read"),
        ("drop view podroute.control", "view podroute.control", "is missing"),
        ("drop function podroute.apply_setting() cascade", "function podroute.apply_setting()", "is missing"),
        (
            "create or replace function podroute.apply_setting() returns trigger language plpgsql "
            "set search_path = pg_catalog as $$ begin return new; end $$",
            "function podroute.apply_setting()",
            "is not that of this version",
        ),
        ("revoke usage on schema vecs from podroute_reader", "schema vecs", "podroute_reader may not use it"),
    ]
    for statement, thing, problem in cases:
        site.pod.execute(statement.encode())
        [drift] = await site.drifts()
        assert (drift.where, drift.thing) == ("pod alpha", thing), statement
        assert problem in drift.problem
        assert drift.command == "podroute reconcile"
        assert await site.mended() == [], statement
        assert await site.serves()


async def test_a_view_over_another_table_is_mended(site: Site) -> None:
    name = site.collection.name
    site.pod.execute(f"create table vecs.{name}_kept (like vecs.{name})".encode())
    site.pod.execute(
        f"drop view podroute.{name}; create view podroute.{name} as select * from vecs.{name}_kept".encode()
    )
    site.pod.execute(f"alter view podroute.{name} owner to podroute_owner".encode())
    try:
        [drift] = await site.drifts()
        assert drift.problem == f"is over vecs.{name}_kept, should be over vecs.{name}"
        assert await site.mended() == []
        assert await site.serves()
    finally:
        site.pod.execute(f"drop table vecs.{name}_kept cascade".encode())


async def test_a_lost_table_is_left_to_a_person(site: Site) -> None:
    name = site.collection.name
    site.pod.execute(f"drop table vecs.{name} cascade".encode())
    for found in (await site.drifts(), await site.mended()):
        [drift] = found
        assert (drift.where, drift.thing, drift.problem) == ("pod alpha", f"table vecs.{name}", "is missing")
        assert drift.command == f"restore it from a backup, or: podroute collections delete {name}"


async def test_rights_that_only_an_administrator_gives_are_left_to_one(site: Site) -> None:
    name = site.collection.name
    site.pod.execute(f"alter table vecs.{name} owner to postgres".encode())
    site.primary.execute("revoke usage on foreign data wrapper postgres_fdw from podroute_owner")
    try:
        for found in (await site.drifts(), await site.drifts()):
            assert {(drift.where, drift.thing): drift.command for drift in found} == {
                (PRIMARY, "foreign data wrapper postgres_fdw"): "podroute pods prepare --primary",
                ("pod alpha", f"table vecs.{name}"): (
                    f'as administrator: grant select, insert, update, delete on "vecs"."{name}" to "podroute_owner"'
                ),
            }
    finally:
        site.pod.execute(f"alter table vecs.{name} owner to podroute_owner".encode())
        site.primary.execute("grant usage on foreign data wrapper postgres_fdw to podroute_owner")
    assert await site.drifts() == []


async def test_what_belongs_to_another_role_is_told_and_does_not_stop_the_rest(site: Site) -> None:
    """A function of another's could run his code as the router."""
    name = site.collection.name
    site.pod.execute(f"drop view podroute.{name}".encode())
    site.pod.execute("alter function podroute.apply_setting() owner to postgres")
    try:
        assert len(await site.drifts()) == 2
        [left] = await site.mended()
        assert (left.thing, left.problem) == ("function podroute.apply_setting()", "belongs to postgres")
        assert left.command == "podroute pods prepare --pod"
    finally:
        site.pod.execute("alter function podroute.apply_setting() owner to podroute_owner")
    site.pod.execute(f"alter view podroute.{name} owner to postgres".encode())
    [drift] = await site.drifts()
    assert (drift.thing, drift.problem) == (f"view podroute.{name}", "belongs to postgres")
    assert await site.mended() == []
    assert await site.serves()


async def test_a_router_logs_drift_once_when_it_starts(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    site.pod.execute(f"drop view podroute.{site.collection.name}".encode())
    look = FirstLook([site.direct, site.fdw], site.config.pods, site)
    for _ in range(2):
        await look.follow(site.shard_map, deadline())
    [told] = [record.getMessage() for record in caplog.records if record.name == "podroute_router.doctor"]
    assert told == (
        f"drift in pod alpha: view podroute.{site.collection.name} is missing; mended by: podroute reconcile"
    )


async def test_what_changed_while_a_router_looked_is_no_drift(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    """As where another router made a collection, and its foreign table, since this one read the shard map."""
    older = ShardMap().changed(0, ["alpha", "beta", "home"], [])
    look = FirstLook([site.direct, site.fdw], site.config.pods, site)
    assert await examine([site.direct, site.fdw], older, site.config.pods, deadline())
    for shard_map in (older, site.shard_map):
        await look.follow(shard_map, deadline())
    assert [record for record in caplog.records if record.name == "podroute_router.doctor"] == []


async def test_a_database_that_hangs_does_not_take_the_answers_of_the_others(site: Site) -> None:
    await site.drifts()  # the connections are made
    with site.pod.transaction():
        site.pod.execute("lock table pg_catalog.pg_extension in access exclusive mode")
        inspected = await site.direct.inspect(site.shard_map, Deadline.after(3))
    [drift] = [drift for drift in inspected.drifts if not drift.is_note]
    assert (drift.where, drift.thing, drift.problem) == ("pod alpha", "database", "did not answer within 2 s")
    assert inspected.extensions.keys() == {"pod beta", "pod home"}


async def test_a_look_at_many_collections_keeps_no_probe_from_its_pod(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else the router would take its pods for dead whenever it starts."""
    is_looking = asyncio.Event()
    look = inspection.inspect

    async def slowly(connection: Connection, pod: str, collections: Sequence[Collection]) -> Inspection:
        if pod == "alpha":
            is_looking.set()
            await connection.execute("select pg_sleep(1)")
        return await look(connection, pod, collections)

    monkeypatch.setattr(inspection, "inspect", slowly)
    looking = asyncio.create_task(site.drifts())
    await is_looking.wait()
    soon = Deadline.after(0.8)
    await within(soon, site.direct.probe("alpha", soon))
    assert await looking == []


async def test_a_router_logs_some_of_much_drift(
    site: Site, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A database that was lost has drift for each collection."""
    monkeypatch.setattr(doctor, "LINES_MAX", 1)
    site.pod.execute(f"drop view podroute.{site.collection.name}".encode())
    site.primary.execute(f"drop foreign table podroute_fdw.{site.collection.name}".encode())
    await FirstLook([site.direct, site.fdw], site.config.pods, site).follow(site.shard_map, deadline())
    told = [record.getMessage() for record in caplog.records if record.name == "podroute_router.doctor"]
    assert [each.partition(":")[0] for each in told] == ["drift in primary", "and 1 more"]


async def test_pgvector_in_another_schema_is_found(site: Site) -> None:
    site.primary.execute("create schema extensions")
    site.primary.execute("alter extension vector set schema extensions")
    assert site.config.primary is not None
    started_anew = FdwBackend(site.config, site.config.primary)
    found = await examine([site.direct, started_anew], site.shard_map, site.config.pods, deadline())
    await started_anew.close()
    of_extensions = {drift.where: drift for drift in found if drift.thing == "extension vector"}
    assert of_extensions.keys() == {"pod alpha", "pod beta"}
    assert of_extensions["pod beta"].command == "as administrator: alter extension vector set schema extensions"
    assert "in schema public, on the primary in extensions" in of_extensions["pod beta"].problem


async def test_another_version_of_pgvector_is_found(site: Site) -> None:
    site.primary.execute("update pg_extension set extversion = '0.8.3' where extname = 'vector'")
    of_extensions = [drift for drift in await site.drifts() if drift.thing == "extension vector"]
    assert [drift.where for drift in of_extensions] == ["pod alpha", "pod beta"]
    for drift in of_extensions:
        assert drift.problem.endswith("on the primary 0.8.3")
        assert drift.command == "as administrator, in primary: alter extension vector update"


def test_another_version_of_pgvector_is_told_of_the_database_that_is_behind() -> None:
    behind, ahead = Extension("0.8.2", "public"), Extension("0.8.10", "public")
    [drift] = extension_drifts({PRIMARY: ahead, "pod a": behind, "pod b": ahead})
    assert (drift.where, drift.problem) == ("pod a", "is 0.8.2, on the primary 0.8.10")
    assert drift.command == "as administrator, in pod a: alter extension vector update"
    [drift] = extension_drifts({PRIMARY: behind, "pod b": ahead})
    assert drift.command == "as administrator, in primary: alter extension vector update"
    assert list(extension_drifts({"pod a": behind, "pod b": ahead})) == []


async def test_tables_of_a_later_revision_are_told(site: Site) -> None:
    site.primary.execute('update podroute_fdw."followed:revision" set revision = 9')
    [drift] = await site.drifts()
    assert "revision 9" in drift.problem
    assert "as administrator: update" in drift.command
    site.primary.execute('update podroute_fdw."followed:revision" set revision = 0')
    assert await site.mended() == []


async def test_a_pod_that_does_not_answer_is_a_drift_and_the_others_are_looked_at(site: Site, cluster: Cluster) -> None:
    values = router_values(cluster)
    values["pods"]["alpha"]["dsn"] = values["pods"]["alpha"]["dsn"].replace(
        f"port={cluster.pods['alpha'].port}", "port=1"
    )
    away = PgvectorBackend(make_config(values))
    inspected = await away.inspect(site.shard_map, deadline())
    await away.close()
    assert [(drift.where, drift.thing) for drift in inspected.drifts] == [("pod alpha", "database")]
    assert "UNREACHABLE" in inspected.drifts[0].problem
    assert inspected.extensions.keys() == {"pod beta", "pod home"}


async def test_a_pod_without_an_address_is_noted(site: Site) -> None:
    """Another router may have one."""
    shard_map = site.shard_map.changed(2, [*site.shard_map.pods, "gamma"], [])
    found = await examine([site.direct, site.fdw], shard_map, site.config.pods, deadline())
    [note] = [drift for drift in found if drift.where == "pod gamma"]
    assert (note.is_note, note.command) == (True, "add [pods.gamma]")


async def test_no_password_is_shown(site: Site, cluster: Cluster) -> None:
    values = router_values(cluster, primary=site.primary.info.dbname)
    del values["pods"]["beta"]["password_file"]
    values["pods"]["beta"]["password"] = "of-its-own"
    config = make_config(values)
    assert config.primary is not None
    fdw = FdwBackend(config, config.primary)
    inspected = await fdw.inspect(site.shard_map, deadline())
    await fdw.close()
    steps = [step for drift in inspected.drifts for step in drift.steps]
    assert any("of-its-own" in step.statement for step in steps)
    assert "of-its-own" not in repr(inspected)
    assert not any("of-its-own" in step.shown for step in steps)
    assert kept_verifier("podroute", "of-its-own") not in repr(inspected)
