"""What drifted from the exposures wanted is made, mended or told of, at the start and later."""

from __future__ import annotations

import uuid

import pytest
from podroute_fdw.backend import FdwBackend
from podroute_pgvector.backend import PgvectorBackend
from podroute_router.config import Config, make_config
from podroute_router.doctor import examine, mend
from podroute_router.drift import Drift
from podroute_router.embedded import Cluster
from podroute_router.errors import Unavailable
from podroute_router.exposures import Exposed
from podroute_router.shard_map import Change, ShardMap
from podroute_router.wrappers import within
from servers import router_values

from integration.exposure_setup import Databases, relations

from .harness import deadline, exposed_of, followed


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
