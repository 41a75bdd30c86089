"""A router process with collections of its own, and calls at a steady rate, whatever became of those before."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple

import grpc
import podroute
from podroute_router.embedded import Cluster
from servers import router_values

from .conftest import DIMENSION, Bench, Outcome
from .relay import Relay
from .routers import router_process


class Paced(NamedTuple):
    """A call: when it was due, in seconds since the first, and how it ended."""

    at_s: float
    outcome: Outcome


async def paced(call: Callable[[int], Awaitable[Outcome]], *, rate: float, seconds: float) -> list[Paced]:
    """So many calls a second (`call` takes their number), each sent when it is due: an open loop."""
    loop = asyncio.get_running_loop()
    began = loop.time()
    due = [i / rate for i in range(round(rate * seconds))]
    calls = []
    for i, at_s in enumerate(due):
        await asyncio.sleep(began + at_s - loop.time())
        calls.append(asyncio.ensure_future(call(i)))
    return [Paced(at_s, await ended) for at_s, ended in zip(due, calls, strict=True)]


def quantile_ms(outcomes: Sequence[Outcome], share: float) -> float:
    """The time that so much of the calls took at most."""
    seconds = sorted(outcome.seconds for outcome in outcomes)
    return 1000 * seconds[min(len(seconds) - 1, int(share * len(seconds)))]


def over_relay(cluster: Cluster, pod: str, relay: Relay) -> dict[str, Any]:
    """The configuration of a router that reaches the pod by the relay; the primary reaches it by itself."""
    values = router_values(cluster)
    address, port = values["pods"][pod], cluster.pods[pod].port
    address["primary_dsn"] = address["dsn"]
    address["dsn"] = address["dsn"].replace(f"port={port}", f"port={relay.port}")
    assert address["dsn"] != address["primary_dsn"]
    return values


@asynccontextmanager
async def bench_of(
    values: Mapping[str, Any], folder: Path, pods: Mapping[str, str] = {"alpha": "alpha", "beta": "beta"}
) -> AsyncIterator[Bench]:
    """A router of that configuration in a process of its own, with collections of a record each.

    pods: of each collection, by what the bench is to call it.
    """
    names = {known_as: f"paced_{known_as}_{uuid.uuid4().hex[:8]}" for known_as in pods}
    with router_process(values, folder) as router:
        async with (
            podroute.AsyncClient(router.address) as client,
            grpc.aio.insecure_channel(router.address, [("grpc.enable_retries", 0)]) as channel,
        ):
            for known_as, name in names.items():
                await client.create_collection(name, dimension=DIMENSION, pod=pods[known_as], timeout=20)
                await client.upsert(name, [("a", [1.0] * DIMENSION, {})], timeout=20)
            yield Bench(channel, names)
            for name in names.values():
                await client.delete_collection(name, timeout=20)
