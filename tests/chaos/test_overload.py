"""More calls than a router can serve, and callers that take nothing off its hands: what it does with the rest."""

from __future__ import annotations

import asyncio
import json
import os
import re
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import podroute
import pytest
from google.protobuf.message import Message
from grpc_health.v1 import health_pb2, health_pb2_grpc
from podroute.service_config import CHANNEL_OPTIONS
from podroute.v1 import route_pb2, vector_service_pb2, vector_service_pb2_grpc
from podroute_router.embedded import Cluster
from servers import router_values

from .generators import QUERY, Call, Generator
from .report import Report, Result
from .routers import RouterProcess, router_process
from .scale import Scale

GENERATORS = 2
NO_RETRIES = {"grpc.enable_retries": 0}
CALLERS = 8
"""Of each generator, for the peak."""
AROUND = 0.95, 1.1
"""Rates for the peak, as parts of what is served to callers who wait."""
FACTOR = 3.0
TIMEOUT_S = 2.0
DIMENSION = 64
RECORDS = 2_000
"""Of which the memory backend looks at each: some 3 ms of a router's processor a call, so that Python's generators are
not the bottleneck."""

GOODPUT = 0.9
DISTURBED = 1.1
"""How many times the lower of the two peaks the higher one may be; beyond that the measurement is made again."""
ATTEMPTS = 3
REFUSED_S, HEALTH_S = 0.02, 0.1
AMPLIFICATION = 1.2
LEAST_SEEN = 0.9
"""Of the calls that were made, the part that has to be in the router's log for that to say anything."""
MIB = 1024 * 1024
WORST_GROWTH_MIB = 60
"""What is asserted, beside that calls are refused: a machine that has other work is late with everything."""

TOLD_S = 1.2
"""After so long the router has told of its last refusals."""

SCANS, IDLE, FETCHES = 50, 50, 16
PAGE_MIB, STREAM_MIB = 8, 0.25
"""What each may take: a page of 4 MiB as rows and as messages; see docs/operations.md."""


def rss_mib(pid: int) -> float:
    """Memory of the process that is resident."""
    return int(Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()[1]) * os.sysconf("SC_PAGESIZE") / MIB


def percentile(values: list[float], share: float) -> float:
    """The value that the share of all do not exceed; 0 of none."""
    return sorted(values)[min(len(values) - 1, int(len(values) * share))] if values else 0.0


def processors() -> list[int]:
    """Those that this process may run on."""
    return sorted(os.sched_getaffinity(0))


def keep_to(processor: int, pid: int) -> None:
    """Has all threads of a process run on one processor, so that load and router do not take each other's."""
    for thread in Path(f"/proc/{pid}/task").iterdir():
        os.sched_setaffinity(int(thread.name), {processor})


def served_of(calls: Sequence[Call]) -> int:
    """How many of them were served."""
    return sum(call.code == "OK" for call in calls)


class Generators:
    """Processes of flood.py, on one processor.

    Args:
        address: what they call.
        request: the query that they send.
        options: of their channels.
    """

    def __init__(self, address: str, request: Message, options: dict[str, Any]) -> None:
        self._each = [Generator(address, request, options) for _ in range(GENERATORS)]
        for generator in self._each:
            keep_to(processors()[-1], generator.pid)

    async def peak_per_s(self, seconds: float) -> float:
        """The most calls a second that are served, of three windows: to callers who wait for their answers, and at
        rates of about that."""
        loops = (each.closed_loop(callers=CALLERS, seconds=seconds) for each in self._each)
        closed = sum([served for served, _ in await asyncio.gather(*loops)]) / seconds
        rates = [served_of(await self.flood(share * closed, seconds)) / seconds for share in AROUND]
        return max(closed, *rates)

    async def flood(self, rate_per_s: float, seconds: float) -> list[Call]:
        """Calls come at the rate, whatever becomes of them."""
        rate = rate_per_s / GENERATORS
        loops = (each.open_loop(rate=rate, seconds=seconds, timeout_s=TIMEOUT_S) for each in self._each)
        return [call for calls in await asyncio.gather(*loops) for call in calls]

    def close(self) -> None:
        """Ends the processes."""
        for generator in self._each:
            generator.close()


@dataclass(frozen=True, slots=True, kw_only=True)
class Overload:
    """What was seen at three times the peak."""

    peaks_per_s: tuple[float, float]
    """Before and after."""
    served_per_s: float
    sent: int
    refused_s: list[float]
    """Of each call that was refused with ROUTER_BUSY and a RetryInfo."""
    otherwise: int
    """Calls that ended in any other way."""
    health_s: list[float]
    rss_mib: list[float]
    log: str
    """What the router wrote meanwhile."""

    @property
    def goodput(self) -> float:
        """Served calls a second, as a part of the higher peak."""
        return self.served_per_s / max(self.peaks_per_s)

    @property
    def disturbance(self) -> float:
        """How many times the lower peak the higher one is: all that they share is the machine."""
        return max(self.peaks_per_s) / min(self.peaks_per_s)


class Watch:
    """Looks at a router's health and memory, twenty times a second, on a connection of its own."""

    def __init__(self, router: RouterProcess) -> None:
        self.health_s: list[float] = []
        self.rss_mib: list[float] = []
        self._router = router

    async def run(self) -> None:
        """Goes on until it is cancelled."""
        options = [("grpc.use_local_subchannel_pool", 1), ("grpc.enable_retries", 0)]
        async with grpc.aio.insecure_channel(self._router.address, options) as channel:
            check = health_pb2_grpc.HealthStub(channel).Check
            while True:
                started = time.monotonic()
                try:
                    await check(health_pb2.HealthCheckRequest(), timeout=5)
                    self.health_s.append(time.monotonic() - started)
                except grpc.aio.AioRpcError:
                    self.health_s.append(5.0)
                self.rss_mib.append(rss_mib(self._router.pid))
                await asyncio.sleep(0.05)


@contextmanager
def memory_router(cluster: Cluster, folder: Path, **sections: dict[str, Any]) -> Iterator[RouterProcess]:
    """A router alone with its calls: its DIRECT path is the memory backend."""
    values = router_values(cluster)
    values["router"] |= {"direct_backend": "memory"}
    for name, section in sections.items():
        values[name] = values.get(name, {}) | section
    with router_process(values, folder) as router:
        keep_to(processors()[0], router.pid)
        yield router


async def filled(router: RouterProcess, name: str) -> vector_service_pb2.QueryRequest:
    """Makes the collection, and a query of it."""
    async with podroute.AsyncClient(router.address) as client:
        await client.create_collection(name, dimension=DIMENSION, pod="alpha")
        vectors = [[float((number * 31 + place * 7) % 101) for place in range(DIMENSION)] for number in range(RECORDS)]
        await client.upsert(name, [(f"r{number}", vector, {}) for number, vector in enumerate(vectors)])
    request = vector_service_pb2.QueryRequest(collection=name, limit=10, path=route_pb2.ACCESS_PATH_DIRECT)
    request.vector.values.extend(vectors[0])
    return request


async def forgotten(router: RouterProcess, name: str) -> None:
    """Takes the collection out of the catalog."""
    async with podroute.AsyncClient(router.address) as client:
        await client.delete_collection(name, timeout=20)


async def overloaded(router: RouterProcess, name: str, seconds: float, options: dict[str, Any]) -> Overload:
    """Takes the router's peak, then three times that, then the peak again."""
    request = await filled(router, name)
    with ExitStack() as held:
        generators = Generators(router.address, request, options)
        held.callback(generators.close)
        await generators.peak_per_s(0.5)
        before = await generators.peak_per_s(max(1.0, seconds / 6))
        await asyncio.sleep(TOLD_S)
        logged = len(router.running.err)
        watch = Watch(router)
        watching = asyncio.create_task(watch.run())
        try:
            calls = await generators.flood(FACTOR * before, seconds)
        finally:
            watching.cancel()
            await asyncio.gather(watching, return_exceptions=True)
        await asyncio.sleep(TOLD_S)
        log = router.running.err[logged:]
        after = await generators.peak_per_s(max(1.0, seconds / 6))
    await forgotten(router, name)
    served = served_of(calls)
    refused = [call.seconds for call in calls if call[:3] == ("RESOURCE_EXHAUSTED", "ROUTER_BUSY", True)]
    return Overload(
        peaks_per_s=(before, after),
        served_per_s=served / seconds,
        sent=len(calls),
        refused_s=refused,
        otherwise=len(calls) - served - len(refused),
        health_s=watch.health_s,
        rss_mib=watch.rss_mib,
        log=log,
    )


@pytest.mark.full
async def test_what_cannot_be_served_is_refused_at_once(
    cluster: Cluster, scale: Scale, report: Report, tmp_path: Path
) -> None:
    """The control, in a full run: a queue of an hour. Calls then end at their deadlines, or as gRPC likes."""
    seconds = scale.pick(2, 30)
    taken: list[Overload] = []
    with memory_router(cluster, tmp_path) as router:
        while not taken or (len(taken) < ATTEMPTS and taken[-1].disturbance > DISTURBED):
            taken.append(await overloaded(router, "overload", seconds, NO_RETRIES))
    seen = min(taken, key=lambda each: each.disturbance)
    otherwise, is_disturbed = sum(each.otherwise for each in taken), seen.disturbance > DISTURBED
    faults = "none but the load"
    if scale.full:
        with memory_router(cluster, tmp_path, timeouts={"queue_s": 3600.0}) as router:
            control = await overloaded(router, "overload", 5, NO_RETRIES)
        assert not control.refused_s
        faults += f"; control, queue_s of 1 h: {control.otherwise} of {control.sent} calls ended without an answer"
    peaks = "{:.0f} calls/s (after: {:.0f})".format(*seen.peaks_per_s)
    load = f"open loop, {FACTOR:g} times the peak of {peaks} of some ms; one processor"
    late_refused, late_health = percentile(seen.refused_s, 0.99), percentile(seen.health_s, 0.99)
    third = len(seen.rss_mib) // 3
    growth = max(seen.rss_mib[-third:]) - max(seen.rss_mib[:third])
    for promise, figure, bound, held in (
        (
            "Overload: goodput",
            f"{seen.goodput:.0%} of peak{', but disturbed' if is_disturbed else ''}",
            f"≥ {GOODPUT:.0%}",
            seen.goodput >= GOODPUT and not is_disturbed,
        ),
        (
            "Overload: the rest is refused with RESOURCE_EXHAUSTED and RetryInfo at once",
            f"p50 {percentile(seen.refused_s, 0.5) * 1e3:.0f} ms, p99 {late_refused * 1e3:.0f} ms; "
            f"{otherwise} of {sum(each.sent for each in taken)} calls ended otherwise",
            "p99 < 20 ms, 0 otherwise",
            late_refused < REFUSED_S and not otherwise,
        ),
        ("Overload: health answers", f"p99 {late_health * 1e3:.0f} ms", "< 100 ms", late_health < HEALTH_S),
        ("Overload: memory is bounded", f"{growth:+.1f} MiB from the first to the last third", "≤ 5 MiB", growth <= 5),
    ):
        report.add(Result(promise=promise, load=load, faults=faults, figure=figure, bound=bound, held=held))
    assert seen.refused_s
    assert seen.served_per_s
    assert growth < WORST_GROWTH_MIB


@pytest.mark.full
async def test_clients_do_not_make_an_overload_worse(
    cluster: Cluster, scale: Scale, report: Report, tmp_path: Path
) -> None:
    """The router's log has each attempt: a line for each call that it took, a number for those that it refused.

    The control is a service config that retries RESOURCE_EXHAUSTED, without a throttle.
    """
    router_log = {"log_level": "debug", "log_format": "json"}
    eager = json.loads(str(CHANNEL_OPTIONS["grpc.service_config"]))
    del eager["retryThrottling"]
    eager["methodConfig"][0]["retryPolicy"]["retryableStatusCodes"].append("RESOURCE_EXHAUSTED")
    made = {}
    for name, options in (("published", {}), ("eager", {"grpc.service_config": json.dumps(eager)})):
        with memory_router(cluster, tmp_path, router=router_log) as router:
            seen = await overloaded(router, "overload", scale.pick(1.5, 20), CHANNEL_OPTIONS | options)
        attempts = seen.log.count(f'"{QUERY.removeprefix("/podroute.v1.")}"')
        attempts += sum(int(number) for number in re.findall(r"(\d+) calls were refused", seen.log))
        made[name] = attempts / seen.sent
        if not scale.full:
            break
    report.add(
        Result(
            promise="Overload: retries of clients with the published service config do not add to it",
            load=f"open loop, {FACTOR:g} times the peak",
            faults=f"none but the load; control, RESOURCE_EXHAUSTED retried: {made.get('eager', 0):.2f} x",
            figure=f"{made['published']:.2f} attempts a call",
            bound=f"≤ {AMPLIFICATION:g}",
            held=LEAST_SEEN <= made["published"] <= AMPLIFICATION,
        )
    )
    assert seen.refused_s or "eager" in made
    assert 0 < made["published"] <= AMPLIFICATION
    assert made.get("eager", 2.0) > AMPLIFICATION


@pytest.mark.full
async def test_callers_that_take_nothing_cost_little_memory(
    cluster: Cluster, scale: Scale, report: Report, tmp_path: Path
) -> None:
    """Scans whose responses nobody reads, streams on which nothing is sent, and large answers, all at the same time."""
    name, records = "unread", int(scale.pick(600, 6_000))
    options = [("grpc.use_local_subchannel_pool", 1)]
    with router_process(router_values(cluster), tmp_path) as router:
        async with podroute.AsyncClient(router.address, timeout_s=30) as client:
            await client.create_collection(name, dimension=4, pod="alpha")
            metadata = {"text": "x" * 16_384}
            for first in range(0, records, 200):
                await client.upsert(name, [(f"r{first + n}", [1.0, 2.0, 3.0, 4.0], metadata) for n in range(200)])
            await client.fetch(name, [f"r{n}" for n in range(200)])
            before = rss_mib(router.pid)
            held = ExitStack()
            with held:
                channel = held.enter_context(grpc.insecure_channel(router.address, options))
                stub = vector_service_pb2_grpc.VectorServiceStub(channel)
                scan = vector_service_pb2.ScanRequest(collection=name, include_metadata=True)
                calls: list[Any] = [stub.Scan(scan) for _ in range(SCANS)]
                ended = asyncio.Event()
                calls += [stub.UpsertStream(_nothing(ended)) for _ in range(IDLE)]
                ids = [f"r{n}" for n in range(200)]
                most = before
                for _ in range(int(scale.pick(2, 10))):
                    await asyncio.gather(*(client.fetch(name, ids) for _ in range(FETCHES)))
                    most = max(most, rss_mib(router.pid))
                served = await client.count(name, timeout=5)
                ended.set()
                for call in calls:
                    call.cancel()
            await client.delete_collection(name)
    bound = SCANS * PAGE_MIB + IDLE * STREAM_MIB + FETCHES * 4 * PAGE_MIB / 2
    report.add(
        Result(
            promise="Slow readers, idle streams and large answers take a bounded part of the memory",
            load=f"{SCANS} scans of {records * 16 // 1024} MiB, {IDLE} idle streams, {FETCHES} fetches of 3 MiB",
            faults="nobody reads the scans",
            figure=f"{most - before:.0f} MiB more",
            bound=f"≤ {bound:.0f} MiB",
            held=most - before <= bound,
        )
    )
    assert served.count == records
    assert most - before <= bound


def _nothing(ended: asyncio.Event) -> Iterator[vector_service_pb2.UpsertStreamRequest]:
    """No request, until the end."""
    while not ended.is_set():
        time.sleep(0.1)
    yield from ()
