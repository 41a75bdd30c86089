"""Callers that take nothing of what they ask for: the memory that they cost a router is bounded.

They speak bare HTTP/2 and leave the server no window, as gRPC's own clients take what comes, whether their program
reads it or not.
"""

from __future__ import annotations

import asyncio
from contextlib import ExitStack
from pathlib import Path

import podroute
import pytest
from podroute.v1 import vector_service_pb2
from podroute_router.embedded import Cluster
from raw_caller import RawCaller
from servers import router_values

from .report import Report, Result
from .routers import RouterProcess, router_process
from .scale import Scale
from .test_overload import rss_mib

NAME = "slow_readers"
MIB = 1024 * 1024
HELD_MIB = 64
MOST_MIB = 256
"""Four times that: messages as objects, and what the allocator keeps."""
IDS = [f"r{number}" for number in range(200)]
"""Of 16 KiB each."""
CONNECTIONS = 8
PATIENT_S = 100_000
FETCH = vector_service_pb2.FetchRequest(collection=NAME, ids=IDS)
SCAN = vector_service_pb2.ScanRequest(collection=NAME, include_metadata=True)


async def growth_mib(router: RouterProcess, rounds: int) -> float:
    """How much more memory the router has for answers and scans that nobody takes."""
    async with podroute.AsyncClient(router.address, timeout_s=30) as client:
        await asyncio.gather(*(client.fetch(NAME, IDS) for _ in range(8)))
        before = most = rss_mib(router.pid)
        with ExitStack() as opened:
            callers = [opened.enter_context(RawCaller(router.address)) for _ in range(CONNECTIONS)]
            for _ in range(rounds):
                for caller in callers:
                    caller.call("VectorService/Fetch", FETCH, timeout_s=PATIENT_S)
                    caller.call("VectorService/Scan", SCAN, timeout_s=PATIENT_S)
                    await asyncio.to_thread(caller.answer_pings)
                await asyncio.sleep(0.2)
                most = max(most, rss_mib(router.pid))
            for _ in range(20):
                for caller in callers:
                    await asyncio.to_thread(caller.answer_pings)
                most = max(most, rss_mib(router.pid))
    return most - before


@pytest.mark.full
async def test_callers_who_take_nothing_cost_a_bounded_part_of_the_memory(
    cluster: Cluster, client: podroute.AsyncClient, scale: Scale, report: Report, tmp_path: Path
) -> None:
    rounds = int(scale.pick(10, 20))
    await client.create_collection(NAME, dimension=1, pod="alpha")
    for first in range(0, 1000, 200):
        records = [(f"r{first + number}", [1.0], {"text": "x" * 16_384}) for number in range(200)]
        await client.upsert(NAME, records, timeout=20)
    grew = {}
    for held_mib in (HELD_MIB, 100 * HELD_MIB):
        values = router_values(cluster) | {"limits": {"held_bytes": held_mib * MIB}}
        with router_process(values, tmp_path) as router:
            grew[held_mib] = await growth_mib(router, rounds)
    await client.delete_collection(NAME)
    bounded, unbounded = grew[HELD_MIB], grew[100 * HELD_MIB]
    calls = rounds * CONNECTIONS
    report.add(
        Result(
            promise="Callers that take no answers cost a bounded part of the memory",
            load=f"{calls} fetches of 3 MiB and {calls} scans of 16 MiB, held_bytes = {HELD_MIB} MiB",
            faults=f"nobody takes any; control, held_bytes = {100 * HELD_MIB} MiB: {unbounded:.0f} MiB more",
            figure=f"{bounded:.0f} MiB more",
            bound=f"≤ {MOST_MIB} MiB",
            held=bounded <= MOST_MIB,
        )
    )
    assert bounded <= MOST_MIB < unbounded
