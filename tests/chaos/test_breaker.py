"""A pod that does not answer fails fast once that is known, is probed now and then, and serves again at once."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import grpc
import psycopg
import pytest
from podroute_router.breaker import SILENT_MAX
from podroute_router.embedded import Cluster
from podroute_router.embedded.server import Server
from servers import router_values

from .conftest import AUTO, DIRECT, FDW, Bench, Outcome
from .paced import bench_of, over_relay, quantile_ms
from .relay import Relay
from .report import Report, Result
from .scale import Scale

OK, UNAVAILABLE = grpc.StatusCode.OK, grpc.StatusCode.UNAVAILABLE
DEADLINE_S = 0.6
PATHS = {"direct": DIRECT, "fdw": FDW, "auto": AUTO}
PAUSE_S = 0.02
FAST_MS = 50.0
KNOWN_S = 10.0
"""Within which it has to be known on any machine; about 3 s where nothing is sent back, at once where it is refused."""
RECOVERY_S, LONGEST_RECOVERY_S = 2.0, 6.0
PROBES_A_SECOND = 2.5
"""One each half second, and what calls tried before it was known."""


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


def settings() -> dict[str, dict[str, float]]:
    return {"timeouts": {"default_s": DEADLINE_S}}


async def through_an_outage(
    bench: Bench, pod: Server, seconds: float, *, begin: Callable[[], object], end: Callable[[], object]
) -> tuple[dict[str, Caller], float]:
    """Calls on each path while the pod is away for so long: the callers, and how long after its return all are served."""
    stop = asyncio.Event()
    callers = {name: Caller(bench, path) for name, path in PATHS.items()}
    for path in (DIRECT, FDW):
        await bench.warm("alpha", path)
    await asyncio.to_thread(begin)
    try:
        calls = [asyncio.create_task(caller.call_until(stop)) for caller in callers.values()]
        await asyncio.sleep(seconds)
    finally:
        back = asyncio.create_task(asyncio.to_thread(accepting, pod))
        stop.set()
        await asyncio.to_thread(end)
    accepting_at = await back
    async with asyncio.timeout(60):
        await asyncio.gather(*calls)
    return callers, max((caller.served_at or 0.0) - accepting_at for caller in callers.values())


@pytest.mark.parametrize("fault", ["killed", "frozen"])
async def test_a_pod_that_is_away_fails_fast_is_probed_now_and_then_and_serves_again_at_once(
    cluster: Cluster, report: Report, scale: Scale, tmp_path: Path, fault: str
) -> None:
    """The control: the calls before it is known are slower than those after, where it is frozen; and without the
    breakers no call says POD_DOWN.
    """
    pod, seconds = cluster.pods["alpha"], scale.pick(5, 45)
    begin, end = (pod.kill, pod.start) if fault == "killed" else (pod.freeze, pod.thaw)
    async with Relay(pod.port) as relay, bench_of(over_relay(cluster, "alpha", relay) | settings(), tmp_path) as bench:
        began, before = time.perf_counter(), relay.accepted
        callers, recovery_s = await through_an_outage(bench, pod, seconds, begin=begin, end=end)
        probes = (relay.accepted - before) / (time.perf_counter() - began)
        other = await bench.query("beta", DIRECT)
    known_s = max(caller.known_at for caller in callers.values()) - began
    fast = [outcome for caller in callers.values() for outcome in caller.fast]
    slow = [outcome for caller in callers.values() for outcome in caller.slow]
    fast_ms = quantile_ms(fast, 0.99) if fast else float("inf")
    report.add(
        Result(
            promise=f"A {fault} pod fails fast once known, is probed at a bounded rate, and serves again at once",
            load="a call after the other by DIRECT, FDW and AUTO",
            faults=f"the pod {fault} for {seconds:g} s; control: calls before it is known do not say POD_DOWN",
            figure=f"p99 {fast_ms:.0f} ms of {len(fast)} calls, {len(slow)} slow; {probes:.1f} connections/s; "
            f"serves {recovery_s:.1f} s after it accepts connections",
            bound=f"{FAST_MS:g} ms, {PROBES_A_SECOND:g}/s, {RECOVERY_S:g} s",
            held=fast_ms < FAST_MS and not slow and probes <= PROBES_A_SECOND and recovery_s <= RECOVERY_S,
        )
    )
    assert known_s < KNOWN_S
    assert len(fast) > 10
    assert {outcome.code for outcome in fast} == {UNAVAILABLE}
    assert quantile_ms(fast, 0.5) < FAST_MS
    assert recovery_s < LONGEST_RECOVERY_S
    assert probes < 2 * PROBES_A_SECOND
    assert other.code is OK


async def test_a_dead_primary_fails_fast_on_its_own_path_only(
    cluster: Cluster, report: Report, scale: Scale, tmp_path: Path
) -> None:
    """The control: DIRECT is served all the time."""
    async with bench_of(router_values(cluster) | settings(), tmp_path) as bench:
        await bench.warm("alpha", FDW)
        direct: list[Outcome] = []
        fdw: list[Outcome] = []
        cluster.primary.kill()
        try:
            ends_at = time.perf_counter() + scale.pick(2, 20)
            while time.perf_counter() < ends_at:
                direct.append(await bench.query("alpha", DIRECT))
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
    fast_ms = quantile_ms(known, 0.99) if known else float("inf")
    failed = sum(outcome.code is not OK for outcome in direct)
    report.add(
        Result(
            promise="A dead primary fails fast by FDW, and leaves DIRECT alone",
            load="a call after the other by DIRECT and FDW",
            faults="the primary killed; control: DIRECT goes on",
            figure=f"FDW p99 {fast_ms:.0f} ms of {len(known)} calls, serves again {recovery_s:.1f} s after the start; "
            f"{failed} of {len(direct)} by DIRECT failed",
            bound=f"{FAST_MS:g} ms, {RECOVERY_S:g} s, 0",
            held=fast_ms < FAST_MS and recovery_s <= RECOVERY_S and failed == 0,
        )
    )
    assert known
    assert failed == 0
    assert quantile_ms(known, 0.5) < FAST_MS


async def test_neither_slow_statements_nor_hasty_callers_make_a_pod_seem_down(
    cluster: Cluster, report: Report, tmp_path: Path
) -> None:
    """Calls that wait for a lock time out, and others have a millisecond; the pod's other collection is served.

    The control is the test above of a frozen pod, whose timeouts do open the breaker.
    """
    pod = cluster.pods["alpha"]
    values = router_values(cluster) | settings()
    async with bench_of(values, tmp_path, {"locked": "alpha", "served": "alpha"}) as bench:
        await bench.warm("locked", DIRECT)
        await bench.warm("served", DIRECT)
        with psycopg.connect(pod.admin_conninfo(pod.database)) as holder:
            holder.execute(f"lock table vecs.{bench.collection('locked')} in access exclusive mode".encode())
            timed_out: list[Outcome] = []
            others: list[Outcome] = []
            for _ in range(SILENT_MAX + 1):
                waiting = asyncio.gather(*(bench.query("locked", DIRECT) for _ in range(2)))
                hasty = asyncio.gather(
                    *(bench.query("served", DIRECT, timeout=0.001) for _ in range(20)), return_exceptions=True
                )
                while not waiting.done():
                    others.append(await bench.query("served", DIRECT))
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
