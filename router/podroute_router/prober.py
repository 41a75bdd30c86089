"""Probes each pod about once a second and tells how it is, for ListPods and the health service."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable

from podroute_router.backend import CollectionStore
from podroute_router.collections import PodState
from podroute_router.domain import Deadline
from podroute_router.errors import PodrouteError
from podroute_router.wrappers import within

_log = logging.getLogger(__name__)

Listener = Callable[[str, PodState], Awaitable[None]]


class Prober:
    """Knows which pods answer.

    Args:
        store: reaches the pods.
        pods: names of those that this router has an address for.
        interval_s: between two probes of a pod; also the time a pod is given to answer.
        on_change: called with a pod's name and its new state.
    """

    def __init__(self, store: CollectionStore, pods: Iterable[str], *, interval_s: float, on_change: Listener) -> None:
        self.states: dict[str, PodState] = dict.fromkeys(pods, PodState.UNKNOWN)
        self._store = store
        self._interval_s = interval_s
        self._on_change = on_change
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """Begins to probe; each pod by itself, so that a slow one delays no other."""
        self._tasks = [asyncio.create_task(self._watch(pod)) for pod in self.states]

    async def close(self) -> None:
        """Stops probing."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _watch(self, pod: str) -> None:
        while True:
            state = await self._probe(pod)
            if state is not self.states[pod]:
                self.states[pod] = state
                await self._on_change(pod, state)
            await asyncio.sleep(self._interval_s)

    async def _probe(self, pod: str) -> PodState:
        deadline = Deadline.after(self._interval_s)
        try:
            await within(deadline, self._store.probe(pod, deadline))
        except Exception as error:  # noqa: BLE001  (this task must outlive any fault)
            if self.states[pod] is not PodState.UNREACHABLE:
                trace = None if isinstance(error, PodrouteError) else error
                _log.warning("pod %s does not answer: %s (%r)", pod, error, error.__cause__, exc_info=trace)
            return PodState.UNREACHABLE
        if self.states[pod] is PodState.UNREACHABLE:
            _log.info("pod %s answers again", pod)
        return PodState.SERVING
