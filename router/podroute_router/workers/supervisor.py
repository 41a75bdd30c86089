"""Runs workers that share a port until SIGTERM or SIGINT: replaces those that die, drains them one by one."""

from __future__ import annotations

import asyncio
import logging
import signal
import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from typing import NoReturn

from podroute_router.config import Config
from podroute_router.metrics.admin import AdminServer
from podroute_router.metrics.shared import SharedMetrics, shared_folder, variables
from podroute_router.workers import WorkerFailed
from podroute_router.workers.budget import shares
from podroute_router.workers.port import reserved
from podroute_router.workers.process import WorkerProcess

STEADY_S = 10.0
"""A worker that served for this long is replaced at once."""
FIRST_PAUSE_S = 0.5
LONGEST_PAUSE_S = 15.0
"""Before one is replaced that did not, for the second time and on; twice as long after each."""

_log = logging.getLogger(__name__)


async def supervise(config: Config, *, on_ready: Callable[[str], None] = lambda _: None) -> None:
    """Runs `router.workers` workers until SIGTERM or SIGINT. Linux only; to be called in the process's first thread.

    Args:
        config: the whole configuration.
        on_ready: called with the address as soon as all workers serve.

    Raises:
        ConfigError: the port is taken, or the limits cannot be split.
        WorkerFailed: a worker could not start.
    """
    listen = config.router.admin_listen
    budgets = shares(config.model_copy(update={"router": config.router.model_copy(update={"admin_listen": ""})}))
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    try:
        with reserved(config.router.listen) as address, shared_folder() if listen else nullcontext() as folder:
            supervisor = Supervisor(budgets, address, on_ready, folder)
            if listen:
                await supervisor.show_metrics(listen)
            await supervisor.run(stopping)
    finally:
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(number)


class Supervisor:
    """Keeps its workers running.

    Args:
        budgets: the configuration of each.
        address: where all of them listen.
        on_ready: called with it as soon as all of them serve.
        metrics_folder: where they count, for all to be shown; None: nobody asks.
    """

    def __init__(
        self,
        budgets: Sequence[Config],
        address: str,
        on_ready: Callable[[str], None],
        metrics_folder: str | None,
    ) -> None:
        self._address = address
        self._on_ready = on_ready
        self._configs = [
            budget.model_copy(update={"router": budget.router.model_copy(update={"listen": address})})
            for budget in budgets
        ]
        self._workers: dict[int, WorkerProcess] = {}
        """Those that run, by number."""
        self._environment = variables(metrics_folder)
        self._metrics = SharedMetrics(metrics_folder, self._serving) if metrics_folder is not None else None
        self._admin: AdminServer | None = None
        self._is_draining = False

    async def run(self, stopping: asyncio.Event) -> None:
        """Serves until the event; raises WorkerFailed where a worker cannot start."""
        stop = asyncio.create_task(stopping.wait())
        work = asyncio.create_task(self._serve())
        try:
            await asyncio.wait({stop, work}, return_when=asyncio.FIRST_COMPLETED)
            if work.done():
                await work
            _log.info("stopping")
        finally:
            self._is_draining = True
            for task in (stop, work):
                task.cancel()
            await asyncio.gather(stop, work, return_exceptions=True)
            await self._drain()
            if self._admin is not None:
                await self._admin.close()

    async def show_metrics(self, listen: str) -> None:
        """Serves the admin port until `run` ends; raises ConfigError where it is taken."""
        if self._metrics is not None:
            self._admin = AdminServer(self._metrics.text, lambda: bool(self._serving()) and not self._is_draining)
            await self._admin.start(listen)

    def _serving(self) -> dict[int, int]:
        """The processes of the workers that take calls, by number."""
        return {number: worker.pid for number, worker in self._workers.items() if worker.is_serving}

    async def _serve(self) -> None:
        numbers = range(1, len(self._configs) + 1)
        # The first goes alone: it migrates the catalog where that is due, and what is wrong is told once.
        await self._start(numbers[0])
        await asyncio.gather(*(self._start(number) for number in numbers[1:]))
        _log.info("serving on %s with %d workers", self._address, len(numbers))
        self._on_ready(self._address)
        await asyncio.gather(*(self._keep(number) for number in numbers))

    async def _start(self, number: int) -> None:
        try:
            worker = WorkerProcess(number, self._configs[number - 1], self._environment)
        except OSError as error:
            raise WorkerFailed(f"a process cannot be started: {error}") from error
        self._workers[number] = worker
        await worker.wait_until_serving()

    async def _keep(self, number: int) -> NoReturn:
        """Replaces the worker whenever it ends."""
        pause_s = 0.0
        while True:
            since = time.monotonic()
            worker = self._workers[number]
            cause = await worker.wait()
            if self._metrics is not None:
                self._metrics.ended(number)
            if time.monotonic() - since >= STEADY_S:
                pause_s = 0.0
            _log.error("worker %d (process %d) %s; another takes its place in %g s", number, worker.pid, cause, pause_s)
            await asyncio.sleep(pause_s)
            pause_s = min(max(2 * pause_s, FIRST_PAUSE_S), LONGEST_PAUSE_S)
            try:
                await self._start(number)
            except WorkerFailed as error:
                _log.error("worker %d cannot start: %s", number, error)
            else:
                _log.info("worker %d serves again, as process %d", number, self._workers[number].pid)

    async def _drain(self) -> None:
        """Stops one after the other, so that the port is served until the last.

        The next has its turn after `drain_s` and its part of `shutdown_s` at the latest, or many workers would take
        many times that.
        """
        timeouts = self._configs[0].timeouts
        turn_s = timeouts.drain_s + timeouts.shutdown_s / len(self._configs)
        ends = {}
        for number, worker in self._workers.items():
            if worker.has_ended:
                continue
            ends[number] = asyncio.create_task(worker.stop())
            await asyncio.wait({ends[number]}, timeout=turn_s)
        for number, end in ends.items():
            cause = await end
            _log.info("worker %d %s", number, cause)
