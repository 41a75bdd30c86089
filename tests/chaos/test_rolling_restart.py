"""Routers are restarted, and a worker is killed, while clients call: what they notice."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, ExitStack
from pathlib import Path
from typing import Any

import grpc
import podroute
import psycopg
import pytest
import pytest_asyncio
from grpc_health.v1 import health_pb2, health_pb2_grpc
from podroute import Record
from podroute_router.embedded import Cluster
from servers import router_values

from .mixed_load import IDS, Ended, called, prepared, vector
from .report import Report, Result
from .routers import RouterProcess, router_process
from .scale import Scale

CALLERS = 8
SETTLED_S = 0.4
"""Under load between two restarts."""
LEAST_CLIENTS, MOST_CLIENTS = 6, 40
"""Of two workers; as many as it takes until both have some."""
NO_RETRIES = [("grpc.enable_retries", 0)]


def free_ports(count: int) -> list[int]:
    """Ports that nobody listens on."""
    with ExitStack() as held:
        sockets = [held.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]


class Restarted:
    """A router that keeps its port over restarts.

    Args:
        values: its configuration.
        folder: its alone.
    """

    def __init__(self, values: dict[str, Any], folder: Path) -> None:
        self._values = values
        self._folder = folder
        self._held = ExitStack()
        self._running: RouterProcess | None = None

    async def start(self) -> None:
        """Returns when it serves."""
        self._running = await asyncio.to_thread(self._held.enter_context, router_process(self._values, self._folder))

    async def end(self, number: signal.Signals) -> int:
        """The exit code."""
        assert self._running is not None
        code = await asyncio.to_thread(self._running.running.end, number)
        self.close()
        return code

    def close(self) -> None:
        """Kills it where it runs."""
        self._held.close()


class Pair:
    """Two routers, and collections behind them."""

    def __init__(self, routers: list[Restarted], target: str, collections: list[str]) -> None:
        self.routers = routers
        self.target = target
        self.collections = collections

    async def restart_in_turn(self, number: signal.Signals) -> list[int]:
        """Each is ended by the signal, and started again; the exit codes."""
        codes = []
        for router in self.routers:
            codes.append(await router.end(number))
            await router.start()
            await asyncio.sleep(SETTLED_S)
        return codes

    async def under_restarts(
        self, scale: Scale, number: signal.Signals, turns: int, options: list[tuple[str, Any]] | None = None
    ) -> tuple[Ended, list[int]]:
        """How the calls of a client end while the routers are restarted so many times, and the exit codes."""
        codes = []
        async with podroute.AsyncClient(self.target, options=options or ()) as client:
            await client.wait_until_serving()
            async with called(client, self.collections, scale.random(), callers=CALLERS) as ended:
                await asyncio.sleep(SETTLED_S)
                streams = Streams(client, self.collections[0], ended)
                streaming = asyncio.create_task(streams.run())
                for _ in range(turns):
                    codes += await self.restart_in_turn(number)
                streams.stopping.set()
                await streaming
        return ended, codes


class Streams:
    """A stream of upserts and scans, which have no end until they are told.

    Args:
        client: makes them.
        collection: that they write and read.
        ended: counts them.
    """

    def __init__(self, client: podroute.AsyncClient, collection: str, ended: Ended) -> None:
        self.stopping = asyncio.Event()
        self._client = client
        self._collection = collection
        self._ended = ended
        self._given = 0

    async def run(self) -> None:
        """Goes on until it is stopped."""
        await asyncio.gather(self._ended.count("upsert_many", self._upsert()), self._scan())

    async def _upsert(self) -> None:
        result = await self._client.upsert_many(self._collection, self._records(), batch=5, timeout=None)
        assert result.record_count == self._given

    async def _records(self) -> AsyncIterator[Record]:
        while not self.stopping.is_set():
            yield Record(f"r{self._given % IDS}", vector(self._given), {})
            self._given += 1
            await asyncio.sleep(0.01)

    async def _scan(self) -> None:
        async def whole() -> None:
            async for _ in self._client.scan(self._collection, page_size=20):
                await asyncio.sleep(0.005)

        while not self.stopping.is_set():
            await self._ended.count("scan", whole())


@pytest_asyncio.fixture(scope="module")
async def pair(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Pair]:
    ports = free_ports(2)
    routers = []
    async with AsyncExitStack() as stack:
        for port in ports:
            values = router_values(cluster)
            values["router"] = {"listen": f"127.0.0.1:{port}"}
            router = Restarted(values, tmp_path_factory.mktemp("router"))
            stack.callback(router.close)
            routers.append(router)
        await asyncio.gather(*(router.start() for router in routers))
        target = "ipv4:" + ",".join(f"127.0.0.1:{port}" for port in ports)
        client = await stack.enter_async_context(podroute.AsyncClient(target))
        names = [await prepared(client, f"rolling_{pod}", pod) for pod in ("alpha", "beta")]
        yield Pair(routers, target, names)
        for name in names:
            await client.delete_collection(name)


@pytest.mark.full
async def test_routers_restarted_in_turn_fail_no_call(pair: Pair, scale: Scale, report: Report) -> None:
    """The control is a client without retries whose routers are killed: it sees calls fail."""
    turns = int(scale.pick(1, 10))
    ended, codes = await pair.under_restarts(scale, signal.SIGTERM, turns)
    control, _ = await pair.under_restarts(scale, signal.SIGKILL, 1, NO_RETRIES)
    report.add(
        Result(
            promise="Routers restarted in turn: no call fails for clients with the published service config",
            load=f"{CALLERS} callers of one client on both paths, a stream of upserts, scans",
            faults=f"{len(codes)} times SIGTERM and a new start; control: SIGKILL and no retries",
            figure=f"{ended.told()}; control: {control.failed.total()}",
            bound="0",
            held=not ended.failed,
        )
    )
    assert set(codes) == {0}
    assert ended.served.total() > 100
    assert control.failed, "the load would not have noticed a router's end"
    assert not ended.failed


async def test_what_is_under_way_at_sigterm_ends_well(cluster: Cluster, report: Report, tmp_path: Path) -> None:
    """Health says so first; calls are taken for `drain_s` yet, and those in flight end."""
    values = router_values(cluster) | {"timeouts": {"drain_s": 1.0}}
    name, own = "draining", [("grpc.use_local_subchannel_pool", 1), ("grpc.enable_retries", 0)]
    pod = cluster.pods["alpha"]
    with router_process(values, tmp_path) as router:
        async with podroute.AsyncClient(router.address, options=own) as client:
            await prepared(client, name, "alpha")
            async with grpc.aio.insecure_channel(router.address, own) as channel:
                watch = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest())
                statuses = [(await watch.read()).status]
                with psycopg.connect(pod.admin_conninfo(pod.database)) as blocking:
                    blocking.execute(f"lock table vecs.{name} in access exclusive mode".encode())
                    slow = asyncio.create_task(client.count(name, timeout=20))
                    await asyncio.sleep(0.2)
                    ending = asyncio.create_task(asyncio.to_thread(router.running.end, signal.SIGTERM))
                    statuses.append((await watch.read()).status)
                    async with podroute.AsyncClient(router.address, options=own) as newcomer:
                        await newcomer.shard_map(timeout=5)
                    await asyncio.sleep(1.2)
                    async with podroute.AsyncClient(router.address, options=own) as late:
                        with pytest.raises(podroute.Unavailable):
                            await late.shard_map(timeout=5)
                counted = (await slow).count
                code = await ending
    serving = health_pb2.HealthCheckResponse.ServingStatus
    held = (statuses, counted, code) == ([serving.SERVING, serving.NOT_SERVING], IDS, 0)
    report.add(
        Result(
            promise="SIGTERM: health says NOT_SERVING, calls are taken for drain_s yet, those in flight end, exit",
            load="a call that waits for a lock, a health Watch, a new connection meanwhile",
            faults="SIGTERM; control: a new connection after drain_s is refused",
            figure=f"{counted} of {IDS} counted, exit code {code}",
            bound="all, exit code 0",
            held=held,
        )
    )
    assert held


@pytest.mark.full
async def test_a_killed_worker_takes_only_its_own_calls_with_it(
    cluster: Cluster, scale: Scale, report: Report, tmp_path: Path
) -> None:
    """Clients without retries, each with a connection and a collection of its own, by which the log tells its worker.

    The control is that calls of the killed worker's clients do fail.
    """
    values = router_values(cluster)
    values["router"] |= {"workers": 2, "log_level": "debug", "log_format": "json"}
    own = [("grpc.use_local_subchannel_pool", 1), *NO_RETRIES]
    with router_process(values, tmp_path) as router:
        router.running.wait_for(r"serving on \S+ (with 2 workers)", on_stderr=True)  # the first says so alone before
        killed = router.running.family()[1]
        async with AsyncExitStack() as stack:
            ended = {}
            for number in range(MOST_CLIENTS):
                client = await stack.enter_async_context(podroute.AsyncClient(router.address, options=own))
                name = await prepared(client, f"worker_{number}", "alpha")
                stack.push_async_callback(client.delete_collection, name)
                ended[name] = await stack.enter_async_context(
                    called(client, [name], scale.random(), callers=2, pause_s=0.02)
                )
                if number >= LEAST_CLIENTS and len(set(_workers(router).values())) > 1:
                    break
            await asyncio.sleep(0.5)
            of_worker = _workers(router)
            os.kill(killed, signal.SIGKILL)
            await asyncio.to_thread(router.running.wait_for, r"(serves again)", on_stderr=True)
            await asyncio.sleep(scale.pick(1.2, 10))  # gRPC's own pause before it connects anew
        dead = int(router.running.wait_for(rf"worker (\d) \(process {killed}\) was killed", on_stderr=True))
    others = {name: each.failed for name, each in ended.items() if of_worker[name] != dead}
    own_failed = Counter[str]()
    for name, each in ended.items():
        own_failed += each.failed if of_worker[name] == dead else Counter()
    failed = sum(each.total() for each in others.values())
    report.add(
        Result(
            promise="A killed worker is replaced; its calls in flight fail UNAVAILABLE, nothing else",
            load=f"{len(ended)} clients without retries, both paths",
            faults="SIGKILL of one of two workers; control: its own clients see calls fail",
            figure=f"{failed} of the other worker's; {own_failed.total()} of its own",
            bound="0 of the other worker's",
            held=not failed,
        )
    )
    assert 0 < len(others) < len(ended)
    assert not failed
    assert own_failed
    assert {kind.split()[2] for kind in own_failed} == {"Unavailable"}


def _workers(router: RouterProcess) -> dict[str, int]:
    """The worker that answered last for each collection."""
    lines = (json.loads(line) for line in router.running.err.splitlines() if line.endswith("}"))
    return {line["collection"]: line["worker"] for line in lines if "collection" in line}
