"""More calls than a router can serve, and callers that take nothing off its hands: what it does with the rest."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import re
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from subprocess import DEVNULL, PIPE, Popen
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

from .report import Report, Result
from .routers import RouterProcess, router_process
from .scale import Scale

FLOOD = Path(__file__).with_name("flood.py")
GENERATORS = 2
CALLERS = 8
"""Of each generator, for the peak."""
FACTOR = 3.0
TIMEOUT_S = 2.0
DIMENSION = 64
RECORDS = 2_000
"""Of which the memory backend looks at each: some 3 ms of a router's processor a call, so that Python's generators are
not the bottleneck."""
QUERY = "/podroute.v1.VectorService/Query"

GOODPUT = 0.9
REFUSED_S, HEALTH_S = 0.02, 0.1
AMPLIFICATION = 1.2
MIB = 1024 * 1024
WORST_REFUSED_S, WORST_HEALTH_S, WORST_GOODPUT, WORST_GROWTH_MIB = 1.0, 1.0, 0.4, 60
"""What is asserted: a machine that has other work is late with everything."""


def rss_mib(pid: int) -> float:
    """Memory of the process that is resident."""
    return int(Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()[1]) * os.sysconf("SC_PAGESIZE") / MIB


def percentile(values: list[float], share: float) -> float:
    """The value that the share of all do not exceed; 0 of none."""
    return sorted(values)[min(len(values) - 1, int(len(values) * share))] if values else 0.0


class Generators:
    """Processes of flood.py.

    Args:
        address: what they call.
        request: the query that they send.
        options: of their channels.
    """

    def __init__(self, address: str, request: Message, options: dict[str, Any]) -> None:
        self._command = {"method": QUERY, "request": base64.b64encode(request.SerializeToString()).decode()}
        argument = json.dumps(options | {"grpc.use_local_subchannel_pool": 1})
        self._processes = [
            Popen([sys.executable, FLOOD, address, argument], stdin=PIPE, stdout=PIPE, stderr=DEVNULL, bufsize=0)
            for _ in range(GENERATORS)
        ]

    async def peak_per_s(self, seconds: float) -> float:
        """The calls a second that are served to callers who wait for their answers."""
        answers = await self._ask(callers=CALLERS, seconds=seconds)
        return sum(answer["served"] for answer in answers) / seconds

    async def flood(self, rate_per_s: float, seconds: float) -> list[tuple[str, str, bool, float]]:
        """Calls come at the rate, whatever becomes of them; how each ended, see flood.py."""
        answers = await self._ask(rate=rate_per_s / GENERATORS, seconds=seconds, timeout_s=TIMEOUT_S)
        return [tuple(call) for answer in answers for call in answer["calls"]]

    def close(self) -> None:
        """Ends the processes."""
        for process in self._processes:
            process.kill()
            process.communicate()

    async def _ask(self, **command: object) -> list[dict[str, Any]]:
        def ask(process: Popen[bytes]) -> dict[str, Any]:
            assert process.stdin is not None
            assert process.stdout is not None
            process.stdin.write(json.dumps(self._command | command).encode() + b"\n")
            answer: dict[str, Any] = json.loads(process.stdout.readline())
            return answer

        return await asyncio.gather(*(asyncio.to_thread(ask, process) for process in self._processes))


@dataclass(frozen=True, slots=True, kw_only=True)
class Overload:
    """What was seen at three times the peak."""

    peak_per_s: float
    served_per_s: float
    sent: int
    refused_s: list[float]
    """Of each call that was refused with ROUTER_BUSY and a RetryInfo."""
    otherwise: int
    """Calls that ended in any other way."""
    health_s: list[float]
    rss_mib: list[float]

    @property
    def goodput(self) -> float:
        """Served calls a second, as a part of the peak."""
        return self.served_per_s / self.peak_per_s


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
    """Takes the router's peak, and then three times that."""
    request = await filled(router, name)
    with ExitStack() as held:
        generators = Generators(router.address, request, options)
        held.callback(generators.close)
        await generators.peak_per_s(0.5)
        peak = await generators.peak_per_s(max(1.0, seconds / 3))
        watch = Watch(router)
        watching = asyncio.create_task(watch.run())
        try:
            calls = await generators.flood(FACTOR * peak, seconds)
        finally:
            watching.cancel()
            await asyncio.gather(watching, return_exceptions=True)
    await asyncio.sleep(0.3)
    await forgotten(router, name)
    served = [call for call in calls if call[0] == "OK"]
    refused = [call[3] for call in calls if call[:3] == ("RESOURCE_EXHAUSTED", "ROUTER_BUSY", True)]
    return Overload(
        peak_per_s=peak,
        served_per_s=len(served) / seconds,
        sent=len(calls),
        refused_s=refused,
        otherwise=len(calls) - len(served) - len(refused),
        health_s=watch.health_s,
        rss_mib=watch.rss_mib,
    )


async def test_what_cannot_be_served_is_refused_at_once(
    cluster: Cluster, scale: Scale, report: Report, tmp_path: Path
) -> None:
    """The control is a router that lets calls wait for an hour: theirs end at their deadlines, and health is late."""
    seconds = scale.pick(2.5, 30)
    with memory_router(cluster, tmp_path) as router:
        seen = await overloaded(router, "overload", seconds, {"grpc.enable_retries": 0})
    load = f"open loop, {FACTOR:g} times the peak of {seen.peak_per_s:.0f} calls/s, some 3 ms of processor each"
    faults = "three times the load; control in the quick suite: a queue of one hour"
    late_refused, late_health = percentile(seen.refused_s, 0.99), percentile(seen.health_s, 0.99)
    third = len(seen.rss_mib) // 3
    growth = max(seen.rss_mib[-third:]) - max(seen.rss_mib[:third])
    for promise, figure, bound, held in (
        ("Overload: goodput", f"{seen.goodput:.0%} of peak", f"≥ {GOODPUT:.0%}", seen.goodput >= GOODPUT),
        (
            "Overload: the rest is refused with RESOURCE_EXHAUSTED and RetryInfo at once",
            f"p50 {percentile(seen.refused_s, 0.5) * 1e3:.0f} ms, p99 {late_refused * 1e3:.0f} ms; "
            f"{seen.otherwise} of {seen.sent} calls ended otherwise",
            "p99 < 20 ms, 0 otherwise",
            late_refused < REFUSED_S and not seen.otherwise,
        ),
        ("Overload: health answers", f"p99 {late_health * 1e3:.0f} ms", "< 100 ms", late_health < HEALTH_S),
        ("Overload: memory is bounded", f"{growth:+.1f} MiB from the first to the last third", "≤ 5 MiB", growth <= 5),
    ):
        report.add(Result(promise=promise, load=load, faults=faults, figure=figure, bound=bound, held=held))
    assert len(seen.refused_s) > seen.sent / 4
    assert percentile(seen.refused_s, 0.5) < WORST_REFUSED_S
    assert percentile(seen.health_s, 0.5) < WORST_HEALTH_S
    assert seen.goodput > WORST_GOODPUT
    assert growth < WORST_GROWTH_MIB
