"""Routers are restarted, and a worker is killed, while clients call: what they notice."""

from __future__ import annotations

import asyncio
import signal
import socket
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, ExitStack
from pathlib import Path
from typing import Any

import podroute
import pytest
import pytest_asyncio
from podroute_router.embedded import Cluster
from servers import router_values

from .mixed_load import Ended, called, prepared
from .report import Report, Result
from .routers import RouterProcess, router_process
from .scale import Scale

CALLERS = 8
SETTLED_S = 0.4
"""Under load between two restarts."""
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
                for _ in range(turns):
                    codes += await self.restart_in_turn(number)
        return ended, codes


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


async def test_routers_restarted_in_turn_fail_no_call(pair: Pair, scale: Scale, report: Report) -> None:
    """The control is a client without retries whose routers are killed: it sees calls fail."""
    turns = int(scale.pick(1, 10))
    ended, codes = await pair.under_restarts(scale, signal.SIGTERM, turns)
    control, _ = await pair.under_restarts(scale, signal.SIGKILL, 1, NO_RETRIES)
    print(ended, codes, control, sep="\n")
    report.add(
        Result(
            promise="Routers restarted in turn: no call fails for clients with the published service config",
            load=f"{CALLERS} callers of one client, all unary calls of the data plane, both paths",
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
