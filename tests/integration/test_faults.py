"""What a router does while a pod is silent, a catalog is away or a map is old, and how it comes back."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import grpc
import numpy as np
import podroute
import psycopg
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from no_exposures import NoExposures
from podroute_fdw.backend import FdwBackend
from podroute_memory.backend import MemoryBackend
from podroute_pgvector.backend import PgvectorBackend
from podroute_router.backend import Confirm
from podroute_router.collections import Collections
from podroute_router.config import Config, make_config
from podroute_router.domain import Collection, Deadline, Metric, Placement, Record
from podroute_router.embedded import Cluster
from podroute_router.errors import DeadlineExceeded, Unreachable
from podroute_router.server import Router
from podroute_router.shard_map import Change, ShardMap
from podroute_router.wrappers import within
from servers import router_values, separate_primary

DIMENSION = 4
PROBE_S = 3.0
"""Of which the primary leaves a tenth, for the answer to come: a machine with other work takes some of it."""


def new_name() -> str:
    return f"faulty_{uuid.uuid4().hex[:8]}"


@asynccontextmanager
async def running(values: dict[str, Any]) -> AsyncIterator[Router]:
    router = await Router.start(make_config(values))
    try:
        yield router
    finally:
        await router.stop(grace_s=0)


class Wire:
    """A line to a port that can fall silent: what comes in is taken, and nobody answers."""

    def __init__(self, port: int) -> None:
        self._to = port
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None
        self._is_silent = False

    @property
    def port(self) -> int:
        """Where to connect."""
        assert self._server is not None
        return int(self._server.sockets[0].getsockname()[1])

    def go_silent(self) -> None:
        """From now on nothing passes, on the lines that stand either."""
        self._is_silent = True
        for task in self._tasks:
            task.cancel()

    def come_back(self) -> None:
        """New lines are carried again; those that fell silent are closed."""
        self._is_silent = False
        for writer in self._writers:
            writer.close()
        self._writers.clear()

    async def __aenter__(self) -> Wire:
        self._server = await asyncio.start_server(self._take, "127.0.0.1", 0)
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        self.go_silent()
        self.come_back()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        if self._is_silent:
            return
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self._to)
        self._writers.add(far_writer)
        for source, sink in ((reader, far_writer), (far_reader, writer)):
            task = asyncio.create_task(_carry(source, sink))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)


async def _carry(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
    while data := await source.read(65536):
        sink.write(data)
        await sink.drain()
    sink.close()


def over(wire: Wire, cluster: Cluster, pod: str = "alpha") -> dict[str, Any]:
    """The configuration of a router that reaches the pod over the wire; the primary reaches it as before."""
    values = router_values(cluster)
    address, port = values["pods"][pod], cluster.pods[pod].port
    address["primary_dsn"] = address["dsn"]
    address["dsn"] = address["dsn"].replace(f"port={port}", f"port={wire.port}")
    values["timeouts"] = {"connect_s": 1.0, "probe_interval_s": 0.3}
    return values


async def until(condition: Callable[[], Awaitable[bool]], seconds: float = 10) -> None:
    async with asyncio.timeout(seconds):
        while not await condition():
            await asyncio.sleep(0.02)


async def test_auto_takes_fdw_at_once_where_the_pod_is_known_to_be_silent_and_direct_again_after(
    client: podroute.AsyncClient, cluster: Cluster
) -> None:
    name = new_name()
    await client.create_collection(name, dimension=DIMENSION, pod="alpha")
    async with (
        Wire(cluster.pods["alpha"].port) as wire,
        running(over(wire, cluster)) as router,
        podroute.AsyncClient(router.address) as caller,
    ):

        async def is_told(state: str) -> bool:
            return next(pod.state for pod in await caller.pods() if pod.name == "alpha") == state

        assert (await caller.count(name)).route.path == "direct"
        wire.go_silent()
        await until(lambda: is_told("unreachable"))
        began = time.perf_counter()
        assert [(await caller.count(name)).route.path for _ in range(5)] == ["fdw"] * 5
        assert time.perf_counter() - began < 0.5, "no call waited for a connection"
        wire.come_back()
        await until(lambda: is_told("serving"))
        assert (await caller.count(name)).route.path == "direct"
    await client.delete_collection(name)


async def test_health_knows_every_pod_as_soon_as_the_router_serves(cluster: Cluster) -> None:
    async with Wire(0) as silent:
        silent.go_silent()
        async with running(over(silent, cluster)) as router, grpc.aio.insecure_channel(router.address) as channel:
            stub = health_pb2_grpc.HealthStub(channel)
            answers = {
                pod: (await stub.Check(health_pb2.HealthCheckRequest(service=f"pod:{pod}"))).status
                for pod in ("alpha", "beta", "home")
            }
    assert answers.pop("alpha") == health_pb2.HealthCheckResponse.NOT_SERVING
    assert set(answers.values()) <= {
        health_pb2.HealthCheckResponse.SERVING,
        health_pb2.HealthCheckResponse.NOT_SERVING,
    }


async def test_with_a_frozen_catalog_collections_are_read_from_the_map_held_and_none_is_dropped(
    client: podroute.AsyncClient, cluster: Cluster
) -> None:
    name = new_name()
    await client.create_collection(name, dimension=DIMENSION, pod="beta")
    await client.upsert(name, [("a", [1.0] * DIMENSION, {})])
    cluster.primary.freeze()
    try:
        assert (await client.get_collection(name, timeout=0.5)).name == name
        listed = [known.name async for known in client.list_collections(timeout=1)]
        assert name in listed
        with pytest.raises((podroute.Unavailable, podroute.DeadlineExceeded)):
            await client.delete_collection(name, timeout=0.5)
        assert (await client.count(name, path="direct")).count == 1
    finally:
        cluster.primary.thaw()

    async def is_deleted() -> bool:
        try:
            await client.delete_collection(name)
        except podroute.Unavailable:
            return False
        return True

    await until(is_deleted)


async def test_probes_of_a_frozen_pod_through_the_primary_share_a_session_there(cluster: Cluster) -> None:
    """A login a probe is what calls on other pods would wait for. Seen to fail where each probe has a session."""
    name = separate_primary(cluster)
    config = make_config(router_values(cluster, primary=name))
    assert config.primary is not None
    alpha, fdw = cluster.pods["alpha"], FdwBackend(config, config.primary)
    await fdw.follow(ShardMap().changed(1, ["alpha"], []), Deadline.after(20))
    with psycopg.connect(cluster.primary.admin_conninfo(name), autocommit=True) as admin:
        before = pids(admin)
        await probe(fdw)
        assert pids(admin) == before, "one that is answered leaves no session"
        alpha.freeze()
        try:
            sessions = []
            for _ in range(3):
                began = time.perf_counter()
                with pytest.raises(DeadlineExceeded):
                    await probe(fdw)
                assert time.perf_counter() - began < PROBE_S + 0.2
                sessions.append(pids(admin) - before)
        finally:
            alpha.thaw()
        await probe(fdw)
        assert pids(admin) == before
    await fdw.close()
    assert len(sessions[0]) == 1
    assert sessions[0] == sessions[1] == sessions[2]


async def probe(fdw: FdwBackend) -> None:
    deadline = Deadline.after(PROBE_S)
    await within(deadline, fdw.probe("alpha", deadline))


def pids(admin: psycopg.Connection[Any]) -> set[int]:
    """The sessions on the administrator's database, but for its own; those that are about to end are not counted."""
    time.sleep(0.1)
    found = admin.execute(
        "select pid from pg_stat_activity where datname = current_database() and backend_type = 'client backend'"
        " and pid <> pg_backend_pid()"
    )
    return {pid for (pid,) in found.fetchall()}


class TwoMaps(NoExposures):
    """The map held, a newer one that the catalog has, and what is removed from it."""

    def __init__(self, current: ShardMap, newest: ShardMap | None) -> None:
        self.current = current
        self._newest = newest
        self.removed: list[tuple[str, int | None]] = []

    async def refresh(self, deadline: Deadline) -> ShardMap:
        if self._newest is None:
            raise Unreachable("UNREACHABLE", "the database cannot be reached")
        self.current = self._newest
        return self.current

    async def add_collection(self, collection: Collection, deadline: Deadline) -> Collection:
        return collection

    async def remove_collection(self, name: str, deadline: Deadline, *, generation: int | None = None) -> bool:
        self.removed.append((name, generation))
        return True


class DropsKept(MemoryBackend):
    """A store that keeps a list of what it dropped."""

    def __init__(self) -> None:
        super().__init__()
        self.dropped: list[Placement] = []

    async def drop_collection(self, collection: Collection, deadline: Deadline, confirm: Confirm | None = None) -> None:
        self.dropped.append(collection.placement)
        await super().drop_collection(collection, deadline, confirm)


def docs(pod: str, generation: int) -> Collection:
    placement = Placement(pod=pod, schema="vecs", table="docs", generation=generation)
    return Collection(name="docs", dimension=2, metric=Metric.L2, placement=placement)


def map_of(revision: int, collection: Collection) -> ShardMap:
    return ShardMap().changed(revision, ["alpha", "beta"], [Change(collection.name, collection)])


def control_plane(config: Config, maps: TwoMaps, store: DropsKept) -> Collections:
    return Collections(config=config, maps=maps, catalog=maps, store=store, followers=[], pod_states={})


async def test_a_deletion_goes_by_the_newest_map_and_by_its_generation(cluster_config: Config) -> None:
    old, new = docs("alpha", 1), docs("beta", 2)
    maps, store = TwoMaps(map_of(1, old), map_of(3, new)), DropsKept()
    await control_plane(cluster_config, maps, store).delete("docs", Deadline.after(5))
    assert store.dropped == [new.placement]
    assert maps.removed == [("docs", 2)]


async def test_a_deletion_drops_nothing_while_the_catalog_is_away(cluster_config: Config) -> None:
    maps, store = TwoMaps(map_of(1, docs("alpha", 1)), None), DropsKept()
    with pytest.raises(Unreachable):
        await control_plane(cluster_config, maps, store).delete("docs", Deadline.after(5))
    assert (store.dropped, maps.removed) == ([], [])


async def test_a_large_upsert_keeps_no_other_call_waiting(cluster_config: Config) -> None:
    count, dimension = 5_000, 384
    vectors = np.random.default_rng(1).normal(size=(count, dimension)).astype(np.float32)
    records = [Record(id=str(i), vector=vector) for i, vector in enumerate(vectors)]
    store, collection = PgvectorBackend(cluster_config), docs("alpha", 1)
    collection = Collection(name=new_name(), dimension=dimension, metric=Metric.L2, placement=collection.placement)
    await store.create_collection(collection, Deadline.after(10))
    writing = asyncio.create_task(store.upsert(collection, records, Deadline.after(30)))
    longest, last = 0.0, time.perf_counter()
    while not writing.done():
        await asyncio.sleep(0.001)
        longest, last = max(longest, time.perf_counter() - last), time.perf_counter()
    assert await writing == count
    await store.drop_collection(collection, Deadline.after(10))
    await store.close()
    assert longest < 0.3
