"""A router process with collections of its own, and calls at a steady rate, whatever became of those before."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import grpc
import podroute
from podroute_router.embedded import Cluster
from servers import router_values

from .conftest import DIMENSION, Bench, Outcome
from .generators import Call
from .relay import Relay
from .routers import router_process

OWN_CONNECTION = [("grpc.use_local_subchannel_pool", 1), ("grpc.enable_retries", 0)]
ONE_EACH = {"alpha": "alpha", "beta": "beta"}


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


def quantile_ms(outcomes: Sequence[Outcome | Call], share: float) -> float:
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


async def until_served(bench: Bench, collection: str, *paths: int, seconds: float = 30.0) -> None:
    """Until several calls at a time are served on each path: the router has its connections then."""
    async with asyncio.timeout(seconds):
        for path in paths:
            for _ in range(3):
                while {outcome.code for outcome in await several(bench, collection, path)} != {grpc.StatusCode.OK}:
                    await asyncio.sleep(0.05)


async def several(bench: Bench, collection: str, path: int) -> list[Outcome]:
    """Queries and an upsert, all at once."""
    queries = [bench.query(collection, path) for _ in range(4)]
    return await asyncio.gather(*queries, bench.upsert(collection, "a", path))


@asynccontextmanager
async def benches_of(
    values: Mapping[str, Any], folder: Path, collections: Mapping[str, str], *, count: int
) -> AsyncIterator[list[Bench]]:
    """A router of that configuration in a process of its own, and benches with a connection to it each.

    collections: the pod of each, by what it is called here. They have a record each.
    """
    names = {known_as: f"paced_{known_as}_{uuid.uuid4().hex[:8]}" for known_as in collections}
    with router_process(values, folder) as router:
        if (workers := values["router"].get("workers", 1)) > 1:
            router.running.wait_for(f"with ({workers}) workers", on_stderr=True)
        async with AsyncExitStack() as stack:
            client = await stack.enter_async_context(podroute.AsyncClient(router.address))
            for known_as, name in names.items():
                await client.create_collection(name, dimension=DIMENSION, pod=collections[known_as], timeout=20)
                await client.upsert(name, [("a", [1.0] * DIMENSION, {})], timeout=20)
            channels = [grpc.aio.insecure_channel(router.address, OWN_CONNECTION) for _ in range(count)]
            yield [Bench(await stack.enter_async_context(each), names, router.address) for each in channels]
            for name in names.values():
                await client.delete_collection(name, timeout=20)


@asynccontextmanager
async def bench_of(
    values: Mapping[str, Any], folder: Path, collections: Mapping[str, str] = MappingProxyType(ONE_EACH)
) -> AsyncIterator[Bench]:
    """The same with one connection."""
    async with benches_of(values, folder, collections, count=1) as [bench]:
        yield bench
