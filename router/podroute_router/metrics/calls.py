"""Counts calls as they end: which method, on which pod, over which path, and how."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from google.protobuf.message import Message
from podroute.v1 import route_pb2
from prometheus_client import Counter, Histogram

from podroute_router.metrics.definitions import Metrics
from podroute_router.shard_map import ShardMap

_PATHS: Final[Mapping[int, str]] = {
    route_pb2.ACCESS_PATH_UNSPECIFIED: "auto",
    route_pb2.ACCESS_PATH_DIRECT: "direct",
    route_pb2.ACCESS_PATH_FDW: "fdw",
}
_NAMES: Final = frozenset(_PATHS.values())

CurrentMap = Callable[[], ShardMap]
Ended = Callable[[Message | None, Message | None, str, float, Mapping[str, str]], None]
"""Takes a call that ended: request, response, name of the status code, seconds, and the facts of the error."""


class _Meter:
    """Knows where a call went."""

    def __init__(self, metrics: Metrics, current_map: CurrentMap) -> None:
        self._metrics = metrics
        self._current_map = current_map

    def _place(
        self, request: Message | None, response: Message | None, facts: Mapping[str, str]
    ) -> tuple[int | str, str]:
        """The path, as the contract has it or as its label, and the pod; an AUTO call that FDW answered is counted."""
        route = getattr(response, "route", None)
        if route is None or not (pods := route.pods):
            return place_of(request, facts, self._current_map())
        path, pod = route.path, pods[0]
        if path == route_pb2.ACCESS_PATH_FDW and getattr(request, "path", path) != path:
            self._metrics.failovers.labels(pod).inc()
        return path, pod


class CallMeter(_Meter):
    """Counts the calls of one method, and times them. The labels of each kind of call are looked up once.

    Args:
        metrics: where to count.
        method: `Service/Method`.
        current_map: the shard map, for the pods of calls that no pod has answered.
    """

    def __init__(self, metrics: Metrics, method: str, current_map: CurrentMap) -> None:
        super().__init__(metrics, current_map)
        self._method = method
        self._kinds: dict[tuple[int | str, str, str], tuple[Counter, Histogram]] = {}

    def ended(
        self, request: Message | None, response: Message | None, code: str, seconds: float, facts: Mapping[str, str]
    ) -> None:
        """See `Ended`. Of a stream the response is the last one."""
        path, pod = self._place(request, response, facts)
        known = self._kinds.get((path, pod, code))
        if known is None:
            label = path_label(path)
            known = self._kinds[path, pod, code] = (
                self._metrics.calls.labels(self._method, pod, label, code),
                self._metrics.call_seconds.labels(self._method, pod, label),
            )
        count, times = known
        count.inc()
        times.observe(seconds)

    def refused(self) -> None:
        """A call was refused unread: nobody knows its pod and path, and it took no time."""
        self._metrics.calls.labels(self._method, "", "", "RESOURCE_EXHAUSTED").inc()


class BatchMeter(_Meter):
    """Counts the queries of batches: one batch has many pods, so that as a call it is counted without any."""

    def ended(
        self, request: Message | None, response: Message | None, code: str, _seconds: float, facts: Mapping[str, str]
    ) -> None:
        """See `Ended`."""
        path, pod = self._place(request, response, facts)
        self._metrics.batch_queries.labels(pod, path_label(path), code).inc()


def path_label(path: int | str) -> str:
    """The label of a path as the contract has it; a label stays what it is."""
    return path if isinstance(path, str) else _PATHS.get(path, "")


def place_of(request: Message | None, facts: Mapping[str, str], shard_map: ShardMap) -> tuple[str, str]:
    """The path and the pod of a call that no pod has answered, each empty where it is not known.

    A caller may name anything, so that a name counts only where the shard map has it.
    """
    path = facts.get("path", "")
    if path not in _NAMES:
        path = _PATHS.get(getattr(request, "path", -1), "")
    name = getattr(request, "collection", None) or getattr(request, "name", None)
    found = shard_map.collections.get(name) if isinstance(name, str) else None
    if found is not None:
        return path, found.placement.pod
    pod = facts.get("pod") or getattr(request, "pod", "")
    return path, pod if pod in shard_map.pods else ""
