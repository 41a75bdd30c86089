"""Exposures as the backends make, follow, inspect and mend them, without a router."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator, Iterator

import psycopg
import pytest
import pytest_asyncio
from podroute_fdw.backend import FdwBackend
from podroute_pgvector.backend import PgvectorBackend
from podroute_router.config import Config, Exposures, make_config
from podroute_router.doctor import examine, mend
from podroute_router.domain import Collection, Deadline, Metric, Placement
from podroute_router.drift import Drift
from podroute_router.embedded import Cluster
from podroute_router.errors import AlreadyExists, FailedPrecondition, Unavailable
from podroute_router.exposures import ColumnType, Exposed, ExposedColumn, Exposure
from podroute_router.postgres.prepare import prepare
from podroute_router.shard_map import Change, ShardMap
from podroute_router.wrappers import within
from pydantic import SecretStr
from servers import kept_verifier, router_values

from integration.exposure_setup import Databases, databases, relations


def deadline() -> Deadline:
    return Deadline.after(20)


@pytest.fixture(scope="module")
def sql_side(cluster: Cluster) -> Iterator[Databases]:
    with databases(cluster) as found:
        yield found


@pytest_asyncio.fixture
async def store(cluster_config: Config) -> AsyncIterator[PgvectorBackend]:
    opened = PgvectorBackend(cluster_config)
    yield opened
    await opened.close()


@pytest_asyncio.fixture
async def fdw(cluster_config: Config) -> AsyncIterator[FdwBackend]:
    assert cluster_config.primary is not None
    opened = FdwBackend(cluster_config, cluster_config.primary)
    yield opened
    await opened.close()


def exposed_of(name: str, pod: str = "alpha", *, code_point_order: bool = False) -> Exposed:
    placement = Placement(pod=pod, schema="vecs", table=name)
    return Exposed(
        exposure=Exposure(
            collection=name,
            schema="public",
            view=name,
            columns=(ExposedColumn(name="url", type=ColumnType.TEXT, path=("url",), indexed=True),),
            code_point_order=code_point_order,
        ),
        collection=Collection(name=name, dimension=2, metric=Metric.COSINE, placement=placement),
        is_foreign=True,
    )


def followed(sql_side: Databases) -> int:
    """The revision of the newest map that a router has worked by on the primary; some map has been."""
    sql_side.primary.execute('update podroute_fdw."followed:revision" set revision = greatest(revision, 1)')
    return int(sql_side.primary.execute('select revision from podroute_fdw."followed:revision"').fetchall()[0][0])


async def test_dependents_survive_when_the_collection_moves(
    store: PgvectorBackend, fdw: FdwBackend, sql_side: Databases
) -> None:
    name = f"moved_{uuid.uuid4().hex[:8]}"
    of_alpha, of_beta = exposed_of(name), exposed_of(name, "beta")
    for exposed, pod in ((of_alpha, "alpha"), (of_beta, "beta")):
        await store.create_collection(exposed.collection, deadline())
        await store.make_exposure(exposed, [], deadline())
        sql_side.pods[pod].execute(
            f"insert into vecs.{name} values ('a', '[1,2]', jsonb_build_object('url', %s::text))".encode(), [pod]
        )
    await fdw.make_exposure(of_alpha, [], deadline())
    sql_side.primary.execute(f"create view public.{name}_links as select url from public.{name}".encode())
    links = f"select url from public.{name}_links".encode()
    assert sql_side.primary.execute(links).fetchall() == [("alpha",)]
    await fdw.make_exposure(of_beta, [], deadline())
    assert sql_side.primary.execute(links).fetchall() == [("beta",)]
    assert sum(kind == "f" for _, kind in relations(sql_side.primary, name)) == 1
    sql_side.primary.execute(f"drop view public.{name}_links".encode())
    await fdw.remove_exposure(of_beta, [], deadline())
    for exposed in (of_alpha, of_beta):
        await store.remove_exposure(exposed, [], deadline())
        await store.drop_collection(exposed.collection, deadline())


async def test_sql_users_may_come_by_a_login_of_their_own_that_can_do_nothing_else(
    cluster_config: Config, store: PgvectorBackend, sql_side: Databases
) -> None:
    password = "of sql users"
    login = f"sql_{uuid.uuid4().hex[:8]}"
    own = cluster_config.model_copy(update={"exposures": Exposures(user=login, password=SecretStr(password))})
    exposed = exposed_of(f"own_{uuid.uuid4().hex[:8]}")
    name = exposed.collection.name
    by_login = PgvectorBackend(own)
    with pytest.raises(FailedPrecondition, match="is a member of podroute_reader"):
        await by_login.look_for_exposure(exposed, deadline())
    sql_side.alpha.execute(f"create role {login} login password '{password}' in role podroute_reader".encode())
    await by_login.look_for_exposure(exposed, deadline())
    await by_login.close()
    assert own.primary is not None
    fdw = FdwBackend(own, own.primary)
    await store.create_collection(exposed.collection, deadline())
    await store.make_exposure(exposed, [], deadline())
    await fdw.make_exposure(exposed, [], deadline())
    connected = "select from pg_stat_activity where usename = %s"
    with psycopg.connect(sql_side.server.admin_conninfo(sql_side.server.database)) as session:
        session.execute(f"select from public.{name}".encode())
        assert sql_side.alpha.execute(connected, [login]).rowcount == 1
    await fdw.remove_exposure(exposed, [], deadline())
    await fdw.close()
    await store.remove_exposure(exposed, [], deadline())
    await store.drop_collection(exposed.collection, deadline())
    sql_side.alpha.execute(f"drop role {login}".encode())


@pytest.fixture
def in_code_points(cluster: Cluster) -> Iterator[tuple[Config, psycopg.Connection]]:
    """A pod whose database sorts texts by code point."""
    server = cluster.pods["beta"]
    name = f"code_points_{uuid.uuid4().hex[:8]}"
    with psycopg.connect(server.admin_conninfo(), autocommit=True) as admin:
        admin.execute(f"create database {name} template template0 locale 'C'".encode())
    secret = cluster.router_password_file.read_text(encoding="utf-8").strip()
    prepare(
        server.admin_conninfo(name),
        role=cluster.router_role,
        verifier=kept_verifier(cluster.router_role, secret),
        pod=True,
        primary=False,
        expose_in=["public"],
    )
    values = router_values(cluster)
    values["pods"]["alpha"]["dsn"] = server.conninfo(cluster.router_role, name)
    with psycopg.connect(server.admin_conninfo(name), autocommit=True) as session:
        yield make_config(values), session


async def test_a_pod_that_sorts_by_code_point_needs_no_further_index_of_ids(
    in_code_points: tuple[Config, psycopg.Connection],
) -> None:
    config, session = in_code_points
    store = PgvectorBackend(config)
    exposed = exposed_of(f"plain_{uuid.uuid4().hex[:8]}")
    await store.create_collection(exposed.collection, deadline())
    assert (await store.look_for_exposure(exposed, deadline())).text_order == "code point"
    await store.make_exposure(exposed, [], deadline())
    indexes = session.execute(
        "select indexdef from pg_indexes where tablename = %s and indexname like 'podroute_exposed_%%'",
        [exposed.collection.name],
    ).fetchall()
    assert len(indexes) == 1
    assert "{url}" in indexes[0][0]
    await store.close()


async def test_texts_have_one_order_where_pod_and_primary_sort_differently(
    store: PgvectorBackend, fdw: FdwBackend, sql_side: Databases
) -> None:
    exposed = exposed_of(f"sorted_{uuid.uuid4().hex[:8]}", code_point_order=True)
    name = exposed.collection.name
    await store.create_collection(exposed.collection, deadline())
    await store.make_exposure(exposed, [], deadline())
    await fdw.make_exposure(exposed, [], deadline())
    collations = (
        "select attname::text, collname::text from pg_attribute join pg_collation c on c.oid = attcollation "
        "where attrelid = %s::regclass order by attname"
    )
    for connection in (sql_side.primary, sql_side.alpha):
        found = connection.execute(collations, [f"public.{name}"]).fetchall()
        assert found == [("id", "C"), ("url", "C")]
    await fdw.remove_exposure(exposed, [], deadline())
    await store.remove_exposure(exposed, [], deadline())
    await store.drop_collection(exposed.collection, deadline())


async def test_a_router_makes_what_is_missing_at_its_start_and_drops_what_is_no_exposure(
    store: PgvectorBackend, cluster_config: Config, sql_side: Databases
) -> None:
    assert cluster_config.primary is not None
    kept, gone = (exposed_of(f"{word}_{uuid.uuid4().hex[:8]}") for word in ("kept", "gone"))
    for exposed in (kept, gone):
        await store.create_collection(exposed.collection, deadline())
        await store.make_exposure(exposed, [], deadline())
    revision = sql_side.primary.execute('select revision from podroute_fdw."followed:revision"').fetchall()[0][0]

    async def follow(*exposed: Exposed, at: int = revision) -> None:
        started_anew = FdwBackend(cluster_config, cluster_config.primary)  # type: ignore[arg-type]
        try:
            await started_anew.follow_exposures(exposed, at, deadline())
        finally:
            await started_anew.close()

    def views() -> set[str]:
        names = [each.exposure.view for each in (kept, gone)]
        return {name for name in names if ("public", "v") in relations(sql_side.primary, name)}

    await follow(kept, gone)
    assert views() == {kept.exposure.view, gone.exposure.view}
    sql_side.primary.execute(f"drop view public.{kept.exposure.view}".encode())
    await follow(kept)
    assert views() == {kept.exposure.view}
    assert relations(sql_side.primary, gone.exposure.view) == set()
    await follow(at=revision - 1)  # a router that is behind takes nothing back
    assert views() == {kept.exposure.view}
    await follow()
    assert views() == set()
    for exposed in (kept, gone):
        await store.remove_exposure(exposed, [], deadline())
        await store.drop_collection(exposed.collection, deadline())


async def test_the_doctor_names_what_drifted_and_mends_it(
    store: PgvectorBackend, fdw: FdwBackend, cluster_config: Config, sql_side: Databases
) -> None:
    exposed = exposed_of(f"ill_{uuid.uuid4().hex[:8]}")
    name = exposed.collection.name
    await store.create_collection(exposed.collection, deadline())
    await store.make_exposure(exposed, [], deadline())
    await fdw.make_exposure(exposed, [], deadline())

    async def drift(*exposures: Exposed) -> dict[tuple[str, str], Drift]:
        found = [
            *await fdw.inspect_exposures(exposures, deadline()),
            *await store.inspect_exposures(exposures, deadline()),
        ]
        return {(each.where, each.thing.partition(" ")[0]): each for each in found}

    assert await drift(exposed) == {}
    sql_side.primary.execute('alter server "podroute_alpha:exposed" options (drop extensions)')
    sql_side.primary.execute('drop user mapping for podroute_owner server "podroute_alpha:exposed"')
    sql_side.primary.execute(f"comment on view public.{name} is 'podroute foreign exposure of {name}: old'".encode())
    for (index,) in sql_side.alpha.execute(
        "select indexname from pg_indexes where tablename = %s and indexname like 'podroute_exposed_%%'", [name]
    ).fetchall():
        sql_side.alpha.execute(f"drop index vecs.{index}".encode())
    sql_side.alpha.execute(f"drop view public.{name}".encode())
    found = await drift(exposed)
    assert found.keys() == {
        ("primary", "server"),
        ("primary", "user"),
        ("primary", "view"),
        ("pod alpha", "view"),
        ("pod alpha", "index"),
    }
    assert {each.command for each in found.values()} == {"podroute reconcile"}
    secret = cluster_config.pods["alpha"].secret()
    steps = [step for each in found.values() for step in each.steps]
    assert secret is not None
    assert any(secret in step.statement for step in steps)
    assert not any(secret in step.shown or secret in repr(step) for step in steps)
    revision = followed(sql_side)
    for host in (fdw, store):
        await host.mend_exposures([exposed], revision, deadline())
    assert await drift(exposed) == {}
    [useless] = (await drift()).values()
    assert useless.problem == "is of no exposure"
    await fdw.mend_exposures([], revision - 1, deadline())
    assert len(await drift()) == 1, "what a router has made since the exposures were read stays"
    await fdw.mend_exposures([], revision, deadline())
    assert await drift() == {}
    sql_side.primary.execute(f"create table public.{name} ()".encode())
    taken = (await drift(exposed))["primary", "view"]
    assert (taken.problem, taken.steps) == ("belongs to someone else", ())
    assert taken.command == f"rename it, or: podroute collections unexpose {name}"
    sql_side.primary.execute(f"drop table public.{name}".encode())
    await store.remove_exposure(exposed, [], deadline())
    await store.drop_collection(exposed.collection, deadline())


async def test_a_server_of_someone_else_is_given_no_password(
    store: PgvectorBackend, fdw: FdwBackend, sql_side: Databases
) -> None:
    exposed = exposed_of(f"c_{uuid.uuid4().hex[:8]}", pod="beta")
    await store.create_collection(exposed.collection, deadline())
    await store.make_exposure(exposed, [], deadline())
    server = '"podroute_beta:exposed"'
    sql_side.primary.execute(f"create server {server} foreign data wrapper postgres_fdw".encode())
    sql_side.primary.execute(f"grant usage on foreign server {server} to public".encode())
    with pytest.raises(AlreadyExists) as refused:
        await fdw.make_exposure(exposed, [], deadline())
    assert refused.value.reason == "SERVER_TAKEN"
    mappings = "select usename from pg_user_mappings where srvname = 'podroute_beta:exposed'"
    assert sql_side.primary.execute(mappings).fetchall() == []
    drifts = await fdw.inspect_exposures([exposed], deadline())
    [found] = [drift for drift in drifts if drift.thing == "server podroute_beta:exposed"]
    assert found.problem == "belongs to someone else"
    assert found.command == f"as administrator: drop server {server} cascade"
    sql_side.primary.execute(f"drop server {server} cascade".encode())
    await fdw.make_exposure(exposed, [], deadline())
    await fdw.remove_exposure(exposed, [], deadline())
    await store.remove_exposure(exposed, [], deadline())
    await store.drop_collection(exposed.collection, deadline())


async def test_one_exposure_that_cannot_be_made_leaves_the_others(
    store: PgvectorBackend, fdw: FdwBackend, sql_side: Databases, caplog: pytest.LogCaptureFixture
) -> None:
    taken, free = (exposed_of(f"{word}_{uuid.uuid4().hex[:8]}") for word in ("taken", "free"))
    for exposed in (taken, free):
        await store.create_collection(exposed.collection, deadline())
        await store.make_exposure(exposed, [], deadline())
    sql_side.primary.execute(f"create table public.{taken.exposure.view} ()".encode())
    revision = sql_side.primary.execute('select revision from podroute_fdw."followed:revision"').fetchall()[0][0]
    await fdw.follow_exposures([taken, free], revision, deadline())
    assert f"the primary's view of {taken.collection.name} was not made" in caplog.text
    assert ("public", "v") in relations(sql_side.primary, free.exposure.view)
    sql_side.primary.execute(f"drop table public.{taken.exposure.view}".encode())
    await fdw.follow_exposures([], revision, deadline())
    for exposed in (taken, free):
        await store.remove_exposure(exposed, [], deadline())
        await store.drop_collection(exposed.collection, deadline())


async def test_what_was_passed_over_or_held_up_is_done_with_the_next_call(
    store: PgvectorBackend, fdw: FdwBackend, sql_side: Databases
) -> None:
    late, other = (exposed_of(f"{word}_{uuid.uuid4().hex[:8]}") for word in ("late", "other"))
    for exposed in (late, other):
        await store.create_collection(exposed.collection, deadline())
        await store.make_exposure(exposed, [], deadline())
    revision = followed(sql_side)

    def views() -> set[str]:
        names = [each.exposure.view for each in (late, other)]
        return {name for name in names if ("public", "v") in relations(sql_side.primary, name)}

    await fdw.follow_exposures([late], revision - 1, deadline())  # another router has a newer map, and may have died
    assert views() == set()
    await fdw.follow_exposures([late], revision, deadline())
    assert views() == {late.exposure.view}
    with sql_side.primary.transaction():
        sql_side.primary.execute(f"lock table public.{late.exposure.view} in access share mode".encode())
        with pytest.raises(Unavailable, match=f"such as public.{late.exposure.view}"):
            await fdw.follow_exposures([other], revision, deadline())
        assert views() == {late.exposure.view, other.exposure.view}
    await fdw.follow_exposures([other], revision, deadline())
    assert views() == {other.exposure.view}
    await fdw.follow_exposures([], revision, deadline())
    assert views() == set()
    for exposed in (late, other):
        await store.remove_exposure(exposed, [], deadline())
        await store.drop_collection(exposed.collection, deadline())


async def test_what_stands_as_wanted_is_left_alone_when_a_router_starts(
    store: PgvectorBackend, fdw: FdwBackend, cluster_config: Config, sql_side: Databases
) -> None:
    """And takes no lock: all routers that start would queue up for it once an exposure."""
    assert cluster_config.primary is not None
    exposed = exposed_of(f"stands_{uuid.uuid4().hex[:8]}")
    await store.create_collection(exposed.collection, deadline())
    await store.make_exposure(exposed, [], deadline())
    revision = followed(sql_side)
    await fdw.follow_exposures([exposed], revision, deadline())
    started_anew = FdwBackend(cluster_config, cluster_config.primary)
    with sql_side.primary.transaction():
        sql_side.primary.execute('select from podroute_fdw."followed:revision" for update')
        await within(deadline(), started_anew.follow_exposures([exposed], revision, deadline()))
    await started_anew.close()
    sql_side.primary.execute('alter server "podroute_alpha:exposed" options (drop extensions)')
    started_anew = FdwBackend(cluster_config, cluster_config.primary)
    await started_anew.follow_exposures([exposed], revision, deadline())
    assert await started_anew.inspect_exposures([exposed], deadline()) == []
    await started_anew.follow_exposures([], revision, deadline())
    await started_anew.close()
    await store.remove_exposure(exposed, [], deadline())
    await store.drop_collection(exposed.collection, deadline())


async def test_a_pod_that_is_down_takes_nothing_from_doctor_and_reconcile(
    store: PgvectorBackend, fdw: FdwBackend, cluster: Cluster, sql_side: Databases
) -> None:
    exposed = exposed_of(f"up_{uuid.uuid4().hex[:8]}", "beta")
    await store.create_collection(exposed.collection, deadline())
    await store.make_exposure(exposed, [], deadline())
    values = router_values(cluster)
    values["pods"]["alpha"]["dsn"] = values["pods"]["alpha"]["dsn"].replace(
        f"port={cluster.pods['alpha'].port}", "port=1"
    )
    config = make_config(values)
    without_alpha = PgvectorBackend(config)
    down = exposed_of(f"down_{uuid.uuid4().hex[:8]}")
    changes = [Change(each.collection.name, each.collection) for each in (exposed, down)]
    shard_map = ShardMap().changed(followed(sql_side), ["alpha", "beta"], changes)

    async def looked_at() -> dict[tuple[str, str], Drift]:
        found = await examine([without_alpha], shard_map, config.pods, deadline(), exposures=[down, exposed])
        return {(each.where, each.thing): each for each in found if not each.is_note}

    sql_side.pods["beta"].execute(f"drop view public.{exposed.exposure.view}".encode())
    view = f"view public.{exposed.exposure.view}"
    assert (await looked_at()).keys() == {("pod alpha", "database"), ("pod beta", view)}
    await mend([without_alpha], shard_map, deadline(), exposures=[down, exposed])
    assert (await looked_at()).keys() == {("pod alpha", "database")}
    await without_alpha.close()
    await store.remove_exposure(exposed, [], deadline())
    await store.drop_collection(exposed.collection, deadline())
