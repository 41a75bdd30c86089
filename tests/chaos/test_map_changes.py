"""Collections are deleted and made anew elsewhere under load, and no call reaches the wrong pod, table or incarnation.

Records carry the pod and the life of the collection that they were written to. The controls, each seen red: the first
test without `confirm` in `CollectionStore.drop_collection` (a deletion drops what was made anew), the last without
`register` in `create_collection` (a write is acknowledged and lost). That of the load is `test_a_wrong_pod_is_noticed`.
"""

from __future__ import annotations

import asyncio
import itertools
import random
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any

import podroute
import pytest
import pytest_asyncio
from podroute_pgvector.backend import PgvectorBackend
from podroute_router.catalog.store import CatalogStore
from podroute_router.config import make_config
from podroute_router.domain import Collection, Deadline
from podroute_router.embedded import Cluster
from podroute_router.errors import Unreachable
from podroute_router.server import Router
from servers import router_values

from .callers import NO_RETRIES
from .ledger import DIMENSION
from .report import Report, Result
from .scale import Scale

NAME = "restless"
PODS = ("alpha", "beta", "home")
PATHS: tuple[podroute.Path, ...] = ("direct", "fdw", "auto")
EXPECTED = {"COLLECTION_NOT_FOUND", "TABLE_MISSING", "STALE_PLAN", "LOCKED"}
"""How a call may end that meets a collection while it is deleted or made."""


@pytest_asyncio.fixture
async def routers(cluster: Cluster) -> AsyncIterator[list[Router]]:
    """Two that serve one cluster."""
    async with AsyncExitStack() as stack:
        found = []
        for number in range(2):
            values = router_values(cluster)
            values["router"]["state_dir"] = str(cluster.state_folder / f"changes{number}")
            found.append(await Router.start(make_config(values)))
            stack.push_async_callback(found[-1].stop, grace_s=0)
        yield found


@pytest_asyncio.fixture
async def clients(routers: list[Router]) -> AsyncIterator[list[podroute.AsyncClient]]:
    """Of the routers."""
    async with AsyncExitStack() as stack:
        opened = [podroute.AsyncClient(router.address, options=NO_RETRIES) for router in routers]
        yield [await stack.enter_async_context(each) for each in opened]


async def test_a_deletion_that_was_held_up_leaves_a_collection_made_anew_alone(
    clients: list[podroute.AsyncClient], monkeypatch: pytest.MonkeyPatch
) -> None:
    slow, fast = clients
    await fast.create_collection(NAME, DIMENSION, pod="alpha")
    real, reached, go_on = PgvectorBackend.drop_collection, asyncio.Event(), asyncio.Event()

    async def held_up(backend: PgvectorBackend, collection: Collection, deadline: Deadline, *rest: Any) -> None:
        if not reached.is_set():
            reached.set()
            await go_on.wait()
        await real(backend, collection, deadline, *rest)

    monkeypatch.setattr(PgvectorBackend, "drop_collection", held_up)
    deleting = asyncio.create_task(slow.delete_collection(NAME))
    await reached.wait()
    await fast.delete_collection(NAME)
    await fast.create_collection(NAME, DIMENSION, pod="alpha")
    await fast.upsert(NAME, [("a", [1.0] * DIMENSION, {"life": 2})])
    go_on.set()
    await deleting
    try:
        assert [record.metadata for record in (await fast.fetch(NAME, ["a"])).records] == [{"life": 2}]
    finally:
        await fast.delete_collection(NAME)


class Life:
    """One incarnation of the collection."""

    def __init__(self, number: int, pod: str) -> None:
        self.number = number
        self.pod = pod
        self.ending = False


class Restless:
    """A collection that one router deletes and makes anew, on another pod each time, while the other router serves.

    Args:
        maker: client of the router that changes it.
        user: client of the one that serves it.
        generator: of all that is drawn.
    """

    def __init__(self, maker: podroute.AsyncClient, user: podroute.AsyncClient, generator: random.Random) -> None:
        self._maker = maker
        self._user = user
        self._random = generator
        self.life = Life(0, "")
        self.reads = 0
        self.writes = 0
        self.ended: Counter[str] = Counter()
        self.faults: list[str] = []

    async def change(self, times: int) -> None:
        """Deletes it and makes it anew, so often."""
        for number in range(1, times + 1):
            pod = self._random.choice([each for each in PODS if each != self.life.pod])
            life = Life(number, pod)
            self.life.ending = True
            if number > 1:
                await self._maker.delete_collection(NAME)
            await self._maker.create_collection(NAME, DIMENSION, metric="l2", pod=pod)
            await self._maker.upsert(NAME, [("marker", [1.0] * DIMENSION, {"life": number, "pod": pod})], path="direct")
            self.life = life
            await asyncio.sleep(self._random.random() * 0.03)

    async def use(self, path: podroute.Path, name: str) -> None:
        """Reads and writes a record of one's own over the other router until cancelled."""
        for number in itertools.count(1):
            try:
                await (self._write(path, name, number) if number % 2 else self._read(path))
            except podroute.Error as error:
                self.ended[error.reason or error.code.name] += 1
            await asyncio.sleep(0.001)

    async def _read(self, path: podroute.Path) -> None:
        before = self.life.number
        if self._random.random() < 0.5:
            found = await self._user.query(NAME, [1.0] * DIMENSION, include_metadata=True, path=path)
            told = [match.metadata or {} for match in found.matches if match.id == "marker"]
        else:
            fetched = await self._user.fetch(NAME, ["marker"], path=path)
            found, told = fetched, [record.metadata for record in fetched.records]
        self.reads += 1
        for metadata in told:
            self.check(metadata, found.route, before)

    def check(self, metadata: Any, route: podroute.Route, before: int) -> None:
        """The marker has to be of a life that was there during the call, and of the pod that was asked."""
        if not before <= metadata["life"] <= self.life.number + 1:
            self.faults.append(f"life {metadata['life']} seen between {before} and {self.life.number}")
        if route.path == "direct" and route.pods != (metadata["pod"],):
            self.faults.append(f"{route.pods} answered for a table of {metadata['pod']}")

    async def _write(self, path: podroute.Path, record_id: str, number: int) -> None:
        """What is acknowledged is there for the router that knows best, unless the collection is at its end."""
        life = self.life
        vector = [float(number % 1000)] * DIMENSION
        written = await self._user.upsert(NAME, [(record_id, vector, {"number": number})], path=path)
        self.writes += 1
        if life.ending or life.number == 0:
            return
        found = await self._maker.fetch(NAME, [record_id], path="direct")
        if life.ending or life is not self.life:
            return
        if [record.metadata for record in found.records] != [{"number": number}]:
            self.faults.append(f"an acknowledged write over {written.route} to life {life.number} is lost: {found}")


@pytest.mark.full
async def test_changes_of_the_map_lead_no_call_astray(
    clients: list[podroute.AsyncClient], scale: Scale, report: Report
) -> None:
    times = int(scale.pick(15, 500))
    restless = Restless(*clients, scale.random())
    users = [asyncio.create_task(restless.use(path, f"{path}{n}")) for path in PATHS for n in range(2)]
    began = time.monotonic()
    try:
        await restless.change(times)
    finally:
        for user in users:
            user.cancel()
        await asyncio.gather(*users, return_exceptions=True)
        await clients[0].delete_collection(NAME)
    seconds = time.monotonic() - began
    others = {reason for reason in restless.ended if reason not in EXPECTED}
    report.add(
        Result(
            promise="While collections are deleted and made anew elsewhere, no call reaches the wrong pod or table",
            load=f"6 callers of the other router over all paths: {restless.reads} reads, {restless.writes} writes "
            f"acknowledged, {restless.ended.total()} calls that met no table",
            faults=f"{2 * times} changes of the map in {seconds:.0f} s. Control: a wrong pod is noticed",
            figure=f"{len(restless.faults)} calls astray",
            bound="0",
            held=not restless.faults and not others,
        )
    )
    assert not restless.faults
    assert not others
    assert restless.reads
    assert restless.writes


async def test_a_wrong_pod_is_noticed(clients: list[podroute.AsyncClient], scale: Scale) -> None:
    restless = Restless(*clients, scale.random())
    route = podroute.Route(path="direct", pods=("alpha",), map_revision=1, on_primary=False)
    restless.life = Life(3, "beta")
    restless.check({"life": 3, "pod": "beta"}, route, 3)
    restless.check({"life": 1, "pod": "alpha"}, route, 3)
    assert len(restless.faults) == 2


async def test_a_creation_that_was_cut_off_leaves_nothing_for_a_router_with_an_older_map_to_write_to(
    routers: list[Router], clients: list[podroute.AsyncClient], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Control: with the table made for good before the catalog is asked, the write is acknowledged and lost (seen)."""
    maker, stale = clients
    await maker.create_collection(NAME, DIMENSION, pod="alpha")
    await stale.upsert(NAME, [("a", [1.0] * DIMENSION, {})], path="direct")

    async def unreachable(*_: object, **__: object) -> None:
        raise Unreachable("UNREACHABLE", "the database cannot be reached")

    monkeypatch.setattr(routers[1]._maps, "_load", unreachable)  # it goes on by its map, as with the catalog down
    await maker.delete_collection(NAME)
    with monkeypatch.context() as cut_off:
        cut_off.setattr(CatalogStore, "add_collection", unreachable)
        with pytest.raises(podroute.Unavailable):
            await maker.create_collection(NAME, DIMENSION, pod="alpha")
    await maker.create_collection(NAME, DIMENSION, pod="beta")
    try:
        with pytest.raises(podroute.Unavailable) as refused:
            await stale.upsert(NAME, [("b", [1.0] * DIMENSION, {})], path="direct")
        assert refused.value.reason == "TABLE_MISSING"
        await stale.upsert(
            NAME, [("b", [1.0] * DIMENSION, {})], path="fdw"
        )  # the primary's tables are the newest map's
        assert len((await maker.fetch(NAME, ["b"], path="direct")).records) == 1
    finally:
        await maker.delete_collection(NAME)
