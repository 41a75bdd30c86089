"""Acknowledged writes outlive kills of pods, primary, catalog and routers; what is unknown is said to be, and replayed.

The ledger is in this process, outside podroute, and the verdict reads the pods' tables past podroute. Its control is
`test_the_verdict_finds_what_is_spoilt_on_purpose`: a row deleted, one set back, one brought back, one of another
collection and one that nobody wrote, each behind the ledger's back, are what is found. The kills themselves were seen
red: a creation that was cut off left a table, which a router with an older map wrote to (32 phantoms in 45 s).
"""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Iterator
from contextlib import AsyncExitStack
from pathlib import Path

import podroute
import psycopg
import pytest
from podroute_router.embedded import Cluster
from podroute_router.embedded.ports import free_port
from psycopg import sql
from servers import POD_ON_PRIMARY, PODS, prepared_cluster, router_values

from .callers import NO_RETRIES, Callers
from .clusters import CATALOG, catalog_server, cluster_with_catalog
from .crasher import Crasher
from .fleet import DatabaseTarget, RouterTarget, Target
from .ledger import DIMENSION, Fault, Key, Ledger, Version, metadata_of, vector_of
from .remaking import Remaker
from .report import Report, Result
from .scale import Scale
from .verdict import check_routers, check_tables

MOVING = "moving"
WRITERS = 9
FEW = 4
"""In the fast suite."""


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    """One of this module's own, with fsync."""
    with prepared_cluster(fsync=True) as started:
        yield started


class Town:
    """A cluster, its routers, the collections and those who use them.

    Args:
        cluster: of servers.
        folder: for the routers' files.
        generator: of all that is drawn.
        own_catalog: the catalog has a server of its own.
        routers: how many there are.
    """

    def __init__(
        self, cluster: Cluster, folder: Path, generator: random.Random, *, own_catalog: bool, routers: int = 2
    ) -> None:
        self.cluster = cluster
        self.ledger = Ledger()
        self.generator = generator
        self.routers = [
            RouterTarget(f"router{n}", _values(cluster, folder, n, own_catalog), folder / f"{n}")
            for n in range(routers)
        ]
        self.targets: list[Target] = [DatabaseTarget(cluster.pods[name], "pod") for name in PODS]
        if own_catalog:
            self.targets.append(DatabaseTarget(catalog_server(cluster), "catalog"))
        self.targets.append(DatabaseTarget(cluster.primary, "primary" if own_catalog else "primary with catalog"))
        self.targets += self.routers
        self.places = {f"at_{pod}": pod for pod in (*PODS, POD_ON_PRIMARY)}
        """Where each collection is."""
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Town:
        for router in self.routers:
            self._stack.callback(router.close)
        await asyncio.gather(*(router.restore() for router in self.routers))
        self.clients = [
            await self._stack.enter_async_context(podroute.AsyncClient(router.address, options=NO_RETRIES))
            for router in self.routers
        ]
        while not {pod.name for pod in await self.clients[0].pods()} >= set(self.places.values()):
            await asyncio.sleep(0.05)  # the router registers them once it serves
        for name, pod in self.places.items():
            await self.clients[0].create_collection(name, DIMENSION, metric="l2", pod=pod)
        self.callers = Callers(self.clients, self.ledger, self.generator, [*self.places, MOVING])
        self.remaker = Remaker(MOVING, (*PODS, POD_ON_PRIMARY), self.callers, self.ledger, self.generator)
        return self

    async def __aexit__(self, failed: object, *_: object) -> None:
        async with self._stack:
            for name in () if failed else (*self.places, MOVING):
                await self.clients[0].delete_collection(name)

    def conninfo(self, pod: str) -> str:
        """Of an administrator of the pod's database."""
        server = self.cluster.primary if pod == POD_ON_PRIMARY else self.cluster.pods[pod]
        return server.admin_conninfo(server.database)

    def tables(self) -> dict[str, str]:
        """Where each collection can be read past podroute."""
        places = self.places | ({MOVING: self.remaker.pod} if self.remaker.pod else {})
        return {name: self.conninfo(pod) for name, pod in places.items()}

    async def live(self, crasher: Crasher, seconds: float) -> None:
        """Everybody at work while the crasher is; 0 seconds: one kill of each kind."""
        stopping = asyncio.Event()
        async with asyncio.TaskGroup() as group:
            group.create_task(
                self.callers.run(list(self.places), writers=WRITERS if seconds else FEW, readers=4, ids_each=8)
            )
            remaking = group.create_task(self.remaker.run(stopping))
            await asyncio.sleep(0.3)
            await (crasher.go_on(seconds) if seconds else crasher.one_of_each())
            stopping.set()
            await remaking
            self.callers.stop()

    async def judge(self) -> None:
        """Settles most of what is unknown, and has the last word."""
        await self.callers.settle(0.8)
        found = check_tables(self.tables(), self.ledger)
        await check_routers(self.clients, found, self.ledger)


def _values(cluster: Cluster, folder: Path, number: int, own_catalog: bool) -> dict[str, dict[str, object]]:
    values = router_values(cluster)
    home = folder / f"{number}"
    home.mkdir()
    values["router"] = {"listen": f"127.0.0.1:{free_port()}", "state_dir": str(home / "state")}
    values["timeouts"] = {"probe_interval_s": 0.2, "poll_interval_s": 1.0}
    if CATALOG in values["pods"]:
        address = values["pods"].pop(CATALOG)
        if own_catalog:
            values["catalog"] = address
    return values


async def test_no_acknowledged_write_is_lost_whatever_is_killed(
    cluster: Cluster, scale: Scale, report: Report, tmp_path: Path
) -> None:
    await endure(cluster, scale, report, tmp_path, own_catalog=False)


@pytest.mark.full
async def test_the_same_with_the_catalog_on_a_server_of_its_own(scale: Scale, report: Report, tmp_path: Path) -> None:
    with cluster_with_catalog() as cluster:
        await endure(cluster, scale, report, tmp_path, own_catalog=True)


async def endure(cluster: Cluster, scale: Scale, report: Report, tmp_path: Path, *, own_catalog: bool) -> None:
    """Load, kills, verdict."""
    generator = scale.random()
    async with Town(cluster, tmp_path, generator, own_catalog=own_catalog) as town:
        crasher = Crasher(town.targets, generator)
        await town.live(crasher, scale.pick(0, scale.minutes * 60 / 2))
        await town.judge()
        ledger, callers = town.ledger, town.callers
        kills = ", ".join(f"{count} {kind}" for kind, count in sorted(crasher.kills.items()))
        figures = {fault: ledger.count(fault) for fault in Fault}
        where = "a server of its own" if own_catalog else "the primary"
        report.add(
            Result(
                promise="No acknowledged write is lost, nothing is seen that nobody wrote, no answer is of another "
                f"collection, and a replay settles what is unknown; catalog on {where}",
                load="upserts, deletes, metadata, streams, queries, a collection made anew; 2 routers, all paths: "
                f"{ledger.counts['acknowledged']} writes acknowledged, {ledger.counts['unknown']} "
                f"unknown, {ledger.counts['refused']} refused, {callers.reads} reads",
                faults=f"SIGKILL at random: {kills}. Control: five rows spoilt on purpose are found",
                figure=f"{figures[Fault.LOST]} lost, {figures[Fault.PHANTOM]} phantoms, "
                f"{figures[Fault.WRONG_COLLECTION]} of another collection, {len(callers.unexpected)} other errors",
                bound="0",
                held=not ledger.findings and not callers.unexpected,
            )
        )
        assert not ledger.findings, ledger.findings[:20]
        assert not callers.unexpected, callers.unexpected[:20]
        assert set(crasher.kills) == {target.kind for target in town.targets} or scale.full
        assert ledger.counts["acknowledged"] > 100


async def test_the_verdict_finds_what_is_spoilt_on_purpose(cluster: Cluster, scale: Scale, tmp_path: Path) -> None:
    async with Town(cluster, tmp_path, scale.random(), own_catalog=False, routers=1) as town:
        await town.clients[0].create_collection(MOVING, DIMENSION, metric="l2", pod=PODS[0])
        working = asyncio.create_task(town.callers.run(list(town.places), writers=3, readers=2, ids_each=8))
        await asyncio.sleep(0.8)
        town.callers.stop()
        await working
        await town.judge()
        assert not town.ledger.findings, "nothing is wrong yet"
        collection, pod = next(iter(town.places.items()))
        spoil(town.conninfo(pod), town.ledger, collection)
        await town.judge()
        at_table = [finding for finding in town.ledger.findings if finding.where == "table"]
        assert sorted((finding.key[1], finding.fault.name) for finding in at_table) == [
            ("deleted", "LOST"),
            ("foreign", "WRONG_COLLECTION"),
            ("returned", "PHANTOM"),
            ("set back", "LOST"),
            ("unheard of", "PHANTOM"),
        ]
        assert {finding.key[1] for finding in town.ledger.findings} >= {"foreign"}


def spoil(conninfo: str, ledger: Ledger, collection: str) -> None:
    """Has the table break each promise once, and the ledger none."""
    states = {
        "deleted": (Version(10), None),
        "set back": (Version(10), Version(9)),
        "returned": (None, Version(10)),
    }
    rows: list[tuple[Key, Version, Key]] = [((collection, "unheard of"), Version(1), (collection, "unheard of"))]
    for name, (acknowledged, shown) in states.items():
        key = (collection, name)
        for state in (Version(9), Version(10), acknowledged):
            ledger.begin({key: state})
            ledger.acknowledge({key: state})
        if shown is not None:
            rows.append((key, shown, key))
    foreign = (collection, "foreign")
    ledger.begin({foreign: Version(10)})
    ledger.acknowledge({foreign: Version(10)})
    rows.append((foreign, Version(10), ("another", "foreign")))
    with psycopg.connect(conninfo) as connection:
        insert = sql.SQL("insert into {} (id, vec, metadata) values (%s, %s::text::vector, %s::jsonb)").format(
            sql.Identifier("vecs", collection)
        )
        for key, version, said in rows:
            metadata = json.dumps(metadata_of(said, version))
            connection.execute(insert, (key[1], json.dumps(vector_of(key, version)), metadata))
