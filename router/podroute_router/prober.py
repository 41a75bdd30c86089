"""Asks pods whether they answer: directly about once a second, on any path while it is in doubt.

What it finds goes to the breakers. Whether a pod can be reached stands there, and nowhere else.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress

from podroute_router.backend import PodProbe
from podroute_router.breaker import TRIAL_INTERVAL_S, Breaker, BreakerState
from podroute_router.collections import PodState
from podroute_router.domain import AccessPath, Deadline
from podroute_router.errors import PodrouteError
from podroute_router.wrappers import within

PROBE_S = 1.0
"""How long a pod has to answer."""

LATE_S = 0.1
"""Where a probe ends so long after its time, it was the router that did not move: the answer may lie unread."""

_log = logging.getLogger(__name__)

Listener = Callable[[str, PodState], Awaitable[None]]
Place = tuple[AccessPath, str]
"""An access path, and a pod."""


class Prober:
    """Probes the pods, so that no caller has to find out.

    Args:
        probes: by path, what reaches the pods.
        breakers: of each path and pod that is to be probed.
        interval_s: between two probes of a pod on DIRECT while all is well. Other paths are not probed then.
        on_change: called with a pod's name and its new state, which is that of DIRECT.
    """

    def __init__(
        self,
        probes: Mapping[AccessPath, PodProbe],
        breakers: Mapping[Place, Breaker],
        *,
        interval_s: float,
        on_change: Listener,
    ) -> None:
        self.states: dict[str, PodState] = {
            pod: PodState.UNKNOWN for path, pod in breakers if path is AccessPath.DIRECT
        }
        self._probes = probes
        self._breakers = breakers
        self._interval_s = interval_s
        self._on_change = on_change
        self._wanted = {place: asyncio.Event() for place in breakers}
        self._ended = {place: asyncio.Event() for place in breakers}
        self._doubts = {place: asyncio.Event() for place in breakers}
        self._told: set[Place] = set()
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """Begins to probe; each pod and path by itself, so that a slow one delays no other."""
        self._tasks = [asyncio.create_task(self._watch(place)) for place in self._breakers]

    def look(self, path: AccessPath, pod: str) -> None:
        """Probes the pod as soon as its breaker lets it."""
        self._doubts[path, pod].set()

    async def trial(self, path: AccessPath, pod: str, patience_s: float) -> None:
        """Waits for the end of the pod's next probe, for so many seconds at most; all who wait share one.

        It begins as soon as the breaker lets it, which is earlier for a pod whose port refuses connections.
        """
        place = path, pod
        if self._breakers[place].state is not BreakerState.HALF_OPEN:
            self._wanted[place].set()
        await _wait(self._ended[place], patience_s)

    async def close(self) -> None:
        """Stops probing."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _watch(self, place: Place) -> None:
        path, pod = place
        breaker, doubt = self._breakers[place], self._doubts[place]
        wanted, ended = self._wanted[place], self._ended[place]
        is_direct = path is AccessPath.DIRECT
        while True:
            if is_direct or breaker.wants_probe:
                wanted.clear()
                has_answered = await self._probe(place)
                ended.set()
                ended.clear()  # those who waited go on, those who come wait for the next
                if is_direct:
                    await self._tell(pod, breaker, has_answered=has_answered)
            if breaker.wants_probe:
                await asyncio.sleep(breaker.trial_in_s(time.monotonic(), on_demand=True))
                if (left_s := breaker.trial_in_s(time.monotonic())) > 0:
                    await _wait(wanted, left_s)
                continue
            pause_s = min(TRIAL_INTERVAL_S, self._interval_s)
            await _wait(wanted, pause_s)  # however many calls are in doubt, probes are so far apart
            doubt.clear()
            if not breaker.wants_probe:
                await _wait(doubt, self._interval_s - pause_s if is_direct else None)

    async def _probe(self, place: Place) -> bool:
        path, pod = place
        breaker = self._breakers[place]
        name = pod if path is AccessPath.DIRECT else f"{pod} over {path.value}"
        deadline = Deadline.after(PROBE_S)
        breaker.probe_began()
        try:
            await within(deadline, self._probes[path].probe(pod, deadline))
        except Exception as error:  # noqa: BLE001  (this task must outlive any fault)
            now = time.monotonic()
            if now - deadline.at > LATE_S:
                return False
            breaker.probe_failed(error, now)
            if breaker.is_open and place not in self._told:
                self._told.add(place)
                trace = None if isinstance(error, PodrouteError) else error
                _log.warning("pod %s does not answer: %s (%r)", name, error, error.__cause__, exc_info=trace)
            return False
        breaker.answered()
        if place in self._told:
            self._told.remove(place)
            _log.info("pod %s answers again", name)
        return True

    async def _tell(self, pod: str, breaker: Breaker, *, has_answered: bool) -> None:
        """One failure alone says nothing yet."""
        state = PodState.UNREACHABLE if breaker.is_open else PodState.SERVING if has_answered else self.states[pod]
        if state is not self.states[pod]:
            self.states[pod] = state
            await self._on_change(pod, state)


async def _wait(event: asyncio.Event, seconds: float | None) -> None:
    """Until the event, for so long at most; None for ever."""
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await event.wait()
