"""Looks each second how things stand, for the gauges: what calls do costs them nothing more."""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final, NoReturn

from podroute_router.backend import PoolHolder
from podroute_router.breaker import BreakerState
from podroute_router.domain import AccessPath
from podroute_router.metrics.definitions import Metrics
from podroute_router.metrics.shared import write_all

INTERVAL_S: Final = 1.0
"""Between two looks."""

_LEVELS: Final = {BreakerState.CLOSED: 0, BreakerState.HALF_OPEN: 1, BreakerState.OPEN: 2}

_log = logging.getLogger(__name__)

PerPod = Callable[[], Mapping[str, float]]
"""A number for each pod, by its name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Looks:
    """Where to look.

    Args:
        pools: the backends that tell of their connections.
        in_flight: calls in flight of each pod.
        pods_up: whether each pod answered its last probe.
        breakers: the state of each path and pod.
        revision: of the shard map.
        age_s: seconds since the catalog confirmed the map; None where it never did.
    """

    pools: Mapping[AccessPath, PoolHolder]
    in_flight: PerPod
    breakers: Callable[[], Mapping[tuple[AccessPath, str], BreakerState]]
    pods_up: PerPod
    revision: Callable[[], int]
    age_s: Callable[[], float | None]


class Gauges:
    """Keeps the gauges as things are, and has a supervisor see them."""

    def __init__(self, metrics: Metrics, looks: Looks) -> None:
        self._metrics = metrics
        self._looks = looks
        self._task: asyncio.Task[NoReturn] | None = None

    def start(self) -> None:
        """Begins to look."""
        self._task = asyncio.create_task(self._run())

    async def close(self) -> None:
        """Stops looking."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            write_all()

    def look(self) -> None:
        """Sets all gauges."""
        metrics, looks = self._metrics, self._looks
        metrics.map_revision.set(looks.revision())
        age_s = looks.age_s()
        metrics.map_age_seconds.set(math.inf if age_s is None else age_s)
        for pod, is_up in looks.pods_up().items():
            metrics.pod_up.labels(pod).set(is_up)
        for pod, count in looks.in_flight().items():
            metrics.calls_in_flight.labels(pod).set(count)
        for (path, pod), state in looks.breakers().items():
            metrics.breaker_state.labels(pod, path.value).set(_LEVELS[state])
        for path, holder in looks.pools.items():
            for pool in holder.pools():
                place = pool.pod, path.value
                metrics.pool_size.labels(*place).set(pool.size)
                metrics.pool_in_use.labels(*place).set(pool.in_use)
                metrics.pool_idle.labels(*place).set(pool.idle)
                metrics.pool_waiting.labels(*place).set(pool.waiting)
                metrics.lanes.labels(*place).set(pool.lanes)
                metrics.lanes_size.labels(*place).set(pool.lanes_size)
                metrics.lane_depth.labels(*place).set(pool.lane_depth)

    async def _run(self) -> NoReturn:
        while True:
            try:
                self.look()
                write_all()
            except Exception:  # noqa: BLE001  (this task must outlive any fault)
                _log.exception("the gauges cannot be read")
            await asyncio.sleep(INTERVAL_S)
