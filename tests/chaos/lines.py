"""A router whose every line is a proxy's: to its pod, to the primary, from there to the pod, and to its caller."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

import grpc
import podroute
from podroute.service_config import CHANNEL_OPTIONS
from podroute_router.config import make_config
from podroute_router.embedded import Cluster
from podroute_router.server import Router
from psycopg.conninfo import make_conninfo
from servers import router_values, separate_primary

from .kinds import DIMENSION, Caller, made
from .proxy import Proxy, proxy_to

POD = "alpha"
DEADLINE_S = 1.0
"""The router's default; calls with a deadline of their own have the same."""

RECORDS = 50
WARM_ROUNDS = 4
WARM_S = 20.0
"""Long enough for whatever a fault before has left."""

_numbers = itertools.count(1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Lines:
    """A router between proxies.

    Args:
        router: it.
        collection: on POD, with RECORDS records.
        channel: to the router, over `client`, as published but without retries.
        retrying: the same with the published retries.
        primary_database: its name, on the primary's server.
        client: from the caller to the router.
        pod: from the router to the pod.
        primary_pod: from the primary to the pod.
        primary: from the router to the primary.
    """

    router: Router
    collection: str
    channel: grpc.aio.Channel
    retrying: grpc.aio.Channel
    primary_database: str
    client: Proxy
    pod: Proxy
    primary: Proxy
    primary_pod: Proxy

    def caller(self, path: int, *, retries: bool = False) -> Caller:
        """Makes calls of the collection."""
        return Caller(self.retrying if retries else self.channel, self.collection, path)

    async def warm(self, path: int, *, retries: bool = False) -> None:
        """Has the router open as many connections as it may: short queries' and the others."""
        caller = self.caller(path, retries=retries)
        rounds, began = 0, time.monotonic()
        while rounds < WARM_ROUNDS:
            kinds = ["query"] * 8 + ["upsert", "fetch", "scan", "count", "query"]
            ended = await asyncio.gather(*(made(caller, kind, 10) for kind in kinds))
            if all(each.is_ok for each in ended):
                rounds += 1
                continue
            assert time.monotonic() - began < WARM_S, ended
            await asyncio.sleep(0.1)


@asynccontextmanager
async def lines(cluster: Cluster) -> AsyncIterator[Lines]:
    """A router between proxies, on a primary database of its own."""
    database = separate_primary(cluster)
    name = f"lines_{next(_numbers)}"
    async with AsyncExitStack() as stack:
        pod, primary_pod = (stack.enter_context(proxy_to(cluster.pods[POD].port)) for _ in range(2))
        primary = stack.enter_context(proxy_to(cluster.primary.port))
        values = router_values(cluster, primary=database)
        addresses = values["pods"][POD]
        addresses["primary_dsn"] = make_conninfo(host="127.0.0.1", port=primary_pod.port, dbname="vectors")
        addresses["dsn"] = make_conninfo(addresses["dsn"], port=pod.port)
        values["primary"]["dsn"] = make_conninfo(values["primary"]["dsn"], port=primary.port)
        values["timeouts"] = {"default_s": DEADLINE_S, "stream_s": DEADLINE_S, "probe_interval_s": 0.5}
        router = await Router.start(make_config(values))
        stack.push_async_callback(router.stop, grace_s=0)
        client = stack.enter_context(proxy_to(router.port))
        async with podroute.AsyncClient(router.address) as admin:
            async with asyncio.timeout(30):
                while POD not in {pod.name for pod in await admin.pods()}:  # registered in the background
                    await asyncio.sleep(0.02)
            await admin.create_collection(name, dimension=DIMENSION, pod=POD, timeout=20)
            records = [(str(i), [1.0, i / RECORDS, 0.0, 0.0], {"year": i}) for i in range(RECORDS)]
            await admin.upsert(name, [("a", [1.0] * DIMENSION, {"year": 0}), *records], timeout=20)
            address = f"127.0.0.1:{client.port}"
            options = CHANNEL_OPTIONS | {"grpc.use_local_subchannel_pool": 1}
            async with (
                grpc.aio.insecure_channel(address, [*(options | {"grpc.enable_retries": 0}).items()]) as channel,
                grpc.aio.insecure_channel(address, [*options.items()]) as retrying,
            ):
                yield Lines(
                    router=router,
                    collection=name,
                    channel=channel,
                    retrying=retrying,
                    primary_database=database,
                    client=client,
                    pod=pod,
                    primary=primary,
                    primary_pod=primary_pod,
                )
            for proxy in (pod, primary, primary_pod, client):
                proxy.reset()
            await admin.delete_collection(name, timeout=20)
