"""What grows with the number of collections: a query, a change's way to the routers, a creation, a start."""

from __future__ import annotations

import statistics
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import podroute

from benchmarks.children import Child, ChildFailed
from benchmarks.closed_loop import ProcessCallers, Window, heard
from benchmarks.growth.stage import DIMENSION, PODS, GrowthStage, collection_name
from benchmarks.measuring import Case, Usage, measure

WARM_UP_S = 0.1
CALM_S = 0.3
"""After a change, until all that follows from it is done: the FDW path readied, the map saved."""
REACHED_TIMEOUT_S = 30.0
SWEEPS = 7
"""The first call of a collection is not over a lane, and PostgreSQL plans a statement's first five executions anew."""
SWEEP_CALLS = 7000
SWEEP_TIMEOUT_S = 300.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Queries:
    """Queries of one caller, closed loop."""

    collections: int
    """In the catalog."""
    asked: int
    """How many of them were asked, in turn."""
    round: int
    calls: int
    p50_ms: float
    p99_ms: float
    router_cpu_us: float | None
    """A query."""
    postgres_cpu_us: float | None
    """A query, of all servers."""
    others_cpu: float | None
    """Share of the machine's CPU time that went to processes which are not of this benchmark."""


@dataclass(frozen=True, slots=True)
class Running:
    """A router's process."""

    address: str
    pid: int


@dataclass(frozen=True, slots=True, kw_only=True)
class InTurn:
    """Queries of one of several cases, a call of each case in turn: what else the machine did met all of them."""

    collections: int
    asked: int
    round: int
    calls: int
    p50_ms: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """A collection that was added to the catalog, as two routers saw it."""

    collections: int
    round: int
    reached_ms: float
    """From the commit until both route by the new map."""
    late_ms: float
    """How late the event loop of one was at worst, until all was done that follows from the change."""
    busy_ms: float
    """The most CPU time that it took at a stretch."""
    calm_late_ms: float
    """The same without a change, in as long a time."""
    calm_busy_ms: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Creation:
    """A collection made by CreateCollection and deleted again."""

    collections: int
    round: int
    create_ms: float
    delete_ms: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    """A router's process, from its start to the answer of its first query."""

    collections: int
    source: str
    """Where the shard map came from: `catalog`, or `saved map` while there is no catalog."""
    round: int
    seconds: float
    cpu_s: float
    """That the process had taken by then."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Readied:
    """The FDW path, made from nothing when the first router of a catalog started."""

    collections: int
    seconds: float
    foreign_tables: int
    bytes_a_collection: float
    """On the primary's disk: the catalog's row and the foreign tables, as against the smallest catalog."""


def sweep(caller: Child, address: str, collections: Sequence[str]) -> None:
    """Asks each collection until its calls are as all later ones, or the bound on calls is reached; once at least."""
    for _ in range(max(1, min(SWEEPS, SWEEP_CALLS // len(collections)))):
        caller.ask({"address": address, "collections": collections}, SWEEP_TIMEOUT_S)


def measure_queries(
    stage: GrowthStage,
    caller: Child,
    router: Running,
    asked: Sequence[str],
    *,
    collections: int,
    round: int,
    seconds: float,
) -> Queries:
    """The time of a query over some collections in turn."""
    command = {"address": router.address, "collections": asked}
    case = Case(
        name=f"{len(asked)} of {collections} collections",
        callers=ProcessCallers([caller], command, queries=len(asked)),
        pids=[router.pid],
    )
    sample = measure(case, callers=1, round=round, warm_up_s=WARM_UP_S, seconds=seconds, postgres=stage.postgres_pids)
    return Queries(
        collections=collections,
        asked=len(asked),
        round=round,
        calls=sample.calls,
        p50_ms=sample.p50_ms,
        p99_ms=sample.p99_ms,
        router_cpu_us=sample.cpu_us,
        postgres_cpu_us=sample.postgres_cpu_us,
        others_cpu=sample.others_cpu,
    )


def measure_in_turn(
    caller: Child, cases: Mapping[tuple[int, int], tuple[Running, Sequence[str]]], *, round: int, seconds: float
) -> list[InTurn]:
    """The time of a query in several cases, by their numbers of collections and of those that are asked."""
    targets = [{"address": router.address, "collections": asked} for router, asked in cases.values()]
    window = Window.after(WARM_UP_S, seconds)
    caller.tell({"in_turn": targets, "window": [window.begin, window.end]})
    samples = []
    for (collections, asked), taken in zip(cases, heard(caller, window.end)["seconds"], strict=True):
        if not taken:
            raise ChildFailed(f"no call ended within {seconds:g} s")
        p50_ms = statistics.median(taken) * 1e3
        samples.append(InTurn(collections=collections, asked=asked, round=round, calls=len(taken), p50_ms=p50_ms))
    return samples


class Watched:
    """Two routers of one catalog, of which one watches its event loop.

    Args:
        stage: where they run.
        values: their configuration.
        collections: in the catalog, of which the first can be asked.
    """

    def __init__(self, stage: GrowthStage, values: Mapping[str, Any], *, collections: int) -> None:
        self._stage = stage
        self._collections = collections
        self._catalog = f"catalog_{collections}"
        self._watched, first = stage.start_router(values, module="watched_router")
        self._plain, second = stage.start_router(values)
        self._clients = [podroute.Client(address) for address in (first, second)]

    def close(self) -> None:
        """Ends both."""
        for client in self._clients:
            client.close()
        self._watched.close()
        self._plain.close()

    def change(self, round: int, number: int) -> Change:
        """Adds a collection to the catalog and waits until both route by it."""
        for client in self._clients:
            _revision(client)
        self._watched.ask({})
        time.sleep(CALM_S)
        calm = self._watched.ask({})
        revision = self._stage.change(self._catalog, number)
        began = time.monotonic()
        waiting = self._clients
        while waiting:
            waiting = [client for client in waiting if _revision(client) < revision]
            if time.monotonic() > began + REACHED_TIMEOUT_S:
                raise ChildFailed(f"a change did not reach all routers within {REACHED_TIMEOUT_S:g} s")
        reached_s = time.monotonic() - began
        time.sleep(CALM_S)
        worst = self._watched.ask({})
        return Change(
            collections=self._collections,
            round=round,
            reached_ms=reached_s * 1e3,
            late_ms=worst["late_ms"],
            busy_ms=worst["busy_ms"],
            calm_late_ms=calm["late_ms"],
            calm_busy_ms=calm["busy_ms"],
        )


def measure_creation(client: podroute.Client, *, collections: int, round: int) -> Creation:
    """The time of CreateCollection, which also chooses a pod, and of DeleteCollection."""
    name = f"made_{collections}_{round}"
    began = time.monotonic()
    client.create_collection(name, dimension=DIMENSION)
    made = time.monotonic()
    client.delete_collection(name)
    return Creation(
        collections=collections,
        round=round,
        create_ms=(made - began) * 1e3,
        delete_ms=(time.monotonic() - made) * 1e3,
    )


def measure_start(stage: GrowthStage, values: Mapping[str, Any], *, collections: int, source: str, round: int) -> Start:
    """Starts a router, asks it, and ends it."""
    began = time.monotonic()
    router, address = stage.start_router(values)
    with podroute.Client(address) as client:
        _revision(client)
        seconds, cpu_s = time.monotonic() - began, Usage.now().of(router.pid)
    router.close()
    return Start(collections=collections, source=source, round=round, seconds=seconds, cpu_s=cpu_s)


def wait_until_readied(stage: GrowthStage, catalog: str, collections: int, *, timeout_s: float) -> float:
    """Seconds until a router has made the foreign tables of so many collections."""
    began = time.monotonic()
    while time.monotonic() < began + timeout_s:
        if stage.count(catalog)[0] >= 2 * collections + len(PODS):
            return time.monotonic() - began
        time.sleep(0.1)
    raise ChildFailed(f"the FDW path was not readied within {timeout_s:g} s")


def wait_for_file(path: Path, *, timeout_s: float) -> None:
    """Waits until there is such a file."""
    began = time.monotonic()
    while not path.exists():
        if time.monotonic() > began + timeout_s:
            raise ChildFailed(f"{path.name} was not written within {timeout_s:g} s")
        time.sleep(0.05)


def _revision(client: podroute.Client) -> int:
    """The revision of the map that the router routes by, from a query."""
    answer = client.query(collection_name(0), [1.0] * DIMENSION, limit=1, path="direct")
    return answer.route.map_revision
