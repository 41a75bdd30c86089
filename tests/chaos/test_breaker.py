"""A pod that does not answer fails fast once that is known, is probed now and then, and serves again at once."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import NamedTuple

import grpc
import psycopg
import pytest
import pytest_asyncio
from podroute_router.breaker import SILENT_MAX
from podroute_router.embedded import Cluster
from podroute_router.embedded.server import Server

from .conftest import AUTO, DIRECT, FDW, Bench, Outcome
from .paced import bench_of, over_relay, quantile_ms, until_served
from .relay import Relay
from .report import Report, Result
from .scale import Scale

OK, UNAVAILABLE = grpc.StatusCode.OK, grpc.StatusCode.UNAVAILABLE
DEADLINE_S = 0.6
PAUSE_S = 0.02
FAST_MS = 50.0
KNOWN_S = 30.0
"""Within which it has to be known on any machine; about 3 s where nothing is sent back, at once where it is refused."""
PATIENCE_S = 10.0
"""Deadline of calls that are to be served, however busy the machine."""
RECOVERY_S, LONGEST_RECOVERY_S = 2.0, 6.0
CONNECTIONS_A_SECOND = 2.0
"""One each half second."""


@dataclass(slots=True)
class Caller:
    """Asks one path again and again, one call after the other."""

    bench: Bench
    path: int
    known_at: float = float("inf")
    fast: list[Outcome] = field(default_factory=list)
    slow: list[Outcome] = field(default_factory=list)
    """Those after the first that was failed at once: failed at once themselves, or not."""
    served_at: float | None = None

    async def call_until(self, stop: asyncio.Event) -> None:
        """Until it is served, after the stop."""
        while not stop.is_set() or self.served_at is None:
            outcome = await self.bench.query("alpha", self.path)
            now = time.perf_counter()
            if outcome.code is OK:
                self.served_at = now if self.served_at is None and stop.is_set() else self.served_at
            elif outcome.reason == "POD_DOWN":
                self.known_at = min(self.known_at, now)
                self.fast.append(outcome)
            elif now > self.known_at and not stop.is_set():
                self.slow.append(outcome)
            await asyncio.sleep(PAUSE_S)


def accepting(server: Server) -> float:
    """When it first accepts a connection."""
    while True:
        try:
            with psycopg.connect(server.admin_conninfo(server.database), connect_timeout=2):
                return time.perf_counter()
        except psycopg.OperationalError:
            time.sleep(0.005)


@pytest_asyncio.fixture(scope="module")
async def relay(cluster: Cluster) -> AsyncIterator[Relay]:
    """Between the router and pod alpha: it counts the connections."""
    async with Relay(cluster.pods["alpha"].port) as opened:
        yield opened


@pytest_asyncio.fixture(scope="module")
async def bench(cluster: Cluster, relay: Relay, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Bench]:
    """A router with two collections on alpha, and one on beta."""
    values = over_relay(cluster, "alpha", relay) | {"timeouts": {"default_s": DEADLINE_S}}
    pods = {"alpha": "alpha", "locked": "alpha", "beta": "beta"}
    async with bench_of(values, tmp_path_factory.mktemp("breaker"), pods) as opened:
        yield opened


class Outage(NamedTuple):
    """What an outage was like.

    connections: a second, that the router made to the pod since it was known to be away.
    recovery_s: from the pod's first connection until all callers are served.
    """

    callers: list[Caller]
    connections: float
    recovery_s: float


async def through_an_outage(bench: Bench, relay: Relay, pod: Server, *, fault: str, seconds: float) -> Outage:
    """Calls on each path until it is known that the pod is away, and for so long after that."""
    begin, end = (pod.kill, pod.launch) if fault == "killed" else (pod.freeze, pod.thaw)
    stop = asyncio.Event()
    callers = [Caller(bench, path) for path in (DIRECT, FDW, AUTO)]
    await until_served(bench, "alpha", DIRECT, FDW)
    await asyncio.to_thread(begin)
    try:
        calls = [asyncio.create_task(caller.call_until(stop)) for caller in callers]
        async with asyncio.timeout(KNOWN_S):
            while not all(caller.fast for caller in callers):
                await asyncio.sleep(PAUSE_S)
        since, before = time.perf_counter(), relay.accepted
        await asyncio.sleep(seconds)
        probes = (relay.accepted - before) / (time.perf_counter() - since)
    finally:
        back = asyncio.create_task(asyncio.to_thread(accepting, pod))
        stop.set()
        end()  # in this thread, with which a server that it starts ends
    accepting_at = await back
    async with asyncio.timeout(60):
        await asyncio.gather(*calls)
    return Outage(callers, probes, max((caller.served_at or 0.0) - accepting_at for caller in callers))


@pytest.mark.parametrize("fault", ["killed", "frozen"])
async def test_a_pod_that_is_away_fails_fast_is_probed_now_and_then_and_serves_again_at_once(
    bench: Bench, relay: Relay, cluster: Cluster, report: Report, *, scale: Scale, fault: str
) -> None:
    """Seen to fail without the breakers: no call says POD_DOWN, and with the pod frozen each takes its deadline."""
    pod, seconds = cluster.pods["alpha"], scale.pick(1, 45)
    callers, connections, recovery_s = await through_an_outage(bench, relay, pod, fault=fault, seconds=seconds)
    other = await bench.query("beta", DIRECT)
    fast = [outcome for caller in callers for outcome in caller.fast]
    slow = [outcome for caller in callers for outcome in caller.slow]
    assert fast
    fast_ms = quantile_ms(fast, 0.99)
    report.add(
        Result(
            promise=f"A {fault} pod fails fast once known, is probed at a bounded rate, and serves again at once",
            load="a call after the other by DIRECT, FDW and AUTO",
            faults=f"the pod {fault} for more than {seconds:g} s; seen to fail without the breakers",
            figure=f"p50 {quantile_ms(fast, 0.5):.1f}, p99 {fast_ms:.0f} ms "
            f"of {len(fast)} calls, {len(slow)} slow; {connections:.1f} connections/s; "
            f"serves {recovery_s:.1f} s after it accepts connections",
            bound=f"{FAST_MS:g} ms, {CONNECTIONS_A_SECOND:g}/s, {RECOVERY_S:g} s",
            held=fast_ms < FAST_MS and not slow and connections <= CONNECTIONS_A_SECOND and recovery_s <= RECOVERY_S,
        )
    )
    assert len(fast) > 10
    assert {outcome.code for outcome in fast} == {UNAVAILABLE}
    assert quantile_ms(fast, 0.5) < FAST_MS
    assert recovery_s < LONGEST_RECOVERY_S
    assert connections < 2 * CONNECTIONS_A_SECOND
    assert other.code is OK


async def test_a_dead_primary_fails_fast_on_its_own_path_only(
    bench: Bench, cluster: Cluster, report: Report, scale: Scale
) -> None:
    """The control: DIRECT is served all the time."""
    await until_served(bench, "alpha", DIRECT, FDW)
    direct: list[Outcome] = []
    fdw: list[Outcome] = []
    cluster.primary.kill()
    try:
        ends_at = time.perf_counter() + scale.pick(1, 20)
        while time.perf_counter() < ends_at:
            direct.append(await bench.query("alpha", DIRECT, timeout=PATIENCE_S))
            fdw.append(await bench.query("alpha", FDW))
            await asyncio.sleep(PAUSE_S)
    finally:
        cluster.primary.start()
    ready_at = time.perf_counter()
    while (await bench.query("alpha", FDW)).code is not OK:
        assert time.perf_counter() < ready_at + LONGEST_RECOVERY_S
        await asyncio.sleep(PAUSE_S)
    recovery_s = time.perf_counter() - ready_at
    known = [outcome for outcome in fdw if outcome.reason == "POD_DOWN"]
    assert known
    fast_ms = quantile_ms(known, 0.99)
    failed = sum(outcome.code is not OK for outcome in direct)
    report.add(
        Result(
            promise="A dead primary fails fast by FDW, and leaves DIRECT alone",
            load="a call after the other by DIRECT and FDW",
            faults="the primary killed; control: DIRECT goes on",
            figure=f"FDW p50 {quantile_ms(known, 0.5):.1f}, p99 {fast_ms:.0f} ms "
            f"of {len(known)} calls, serves again {recovery_s:.1f} s after the start; "
            f"{failed} of {len(direct)} by DIRECT failed",
            bound=f"{FAST_MS:g} ms, {RECOVERY_S:g} s, 0",
            held=fast_ms < FAST_MS and recovery_s <= RECOVERY_S and failed == 0,
        )
    )
    assert failed == 0
    assert quantile_ms(known, 0.5) < FAST_MS


async def test_neither_slow_statements_nor_hasty_callers_make_a_pod_seem_down(
    bench: Bench, cluster: Cluster, report: Report
) -> None:
    """Calls that wait for a lock time out, and others have a millisecond; the pod's other collection is served.

    Seen to fail where timeouts open a breaker by themselves, without a probe.
    """
    pod = cluster.pods["alpha"]
    await until_served(bench, "locked", DIRECT)
    await until_served(bench, "alpha", DIRECT)
    with psycopg.connect(pod.admin_conninfo(pod.database)) as holder:
        holder.execute(f"lock table vecs.{bench.collection('locked')} in access exclusive mode".encode())
        timed_out: list[Outcome] = []
        others: list[Outcome] = []
        for _ in range(2):
            waiting = asyncio.gather(*(bench.query("locked", DIRECT) for _ in range(SILENT_MAX)))
            hasty = asyncio.gather(
                *(bench.query("alpha", DIRECT, timeout=0.001) for _ in range(20)), return_exceptions=True
            )
            while not waiting.done():
                others.append(await bench.query("alpha", DIRECT, timeout=PATIENCE_S))
                await asyncio.sleep(PAUSE_S)
            timed_out += await waiting
            await hasty
        holder.rollback()
    failed = [outcome for outcome in others if outcome.code is not OK]
    report.add(
        Result(
            promise="Neither slow statements nor hasty callers make a pod seem down to others",
            load="a call after the other on another collection of the pod",
            faults=f"{len(timed_out)} calls time out behind a lock, others have 1 ms",
            figure=f"{len(failed)} of {len(others)} failed",
            bound="0",
            held=not failed,
        )
    )
    assert {outcome.code for outcome in timed_out} == {grpc.StatusCode.DEADLINE_EXCEEDED}
    assert not failed
