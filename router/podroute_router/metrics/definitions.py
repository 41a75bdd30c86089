"""Every metric of a router's process: its name, its labels and what it means."""

from __future__ import annotations

import platform
from typing import Final

import prometheus_client
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

import podroute_router
from podroute_router.domain import AccessPath
from podroute_router.measures import Measures

BUCKETS_S: Final = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
"""From half of a short query to the default deadline."""

_ON_A_POD: Final = ("pod", "path")

prometheus_client.disable_created_metrics()  # type: ignore[no-untyped-call]  # a second series for each, which says when the process met its labels


class Metrics:
    """The metrics of one router.

    Gauges of workers that share a port are summed, unless said otherwise, over those that live.

    Args:
        registry: shows them; None makes one.
    """

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        self.registry = registry or CollectorRegistry()
        self.calls = self._counter("podroute_calls", "Calls that ended.", "method", *_ON_A_POD, "code")
        self.batch_queries = self._counter(
            "podroute_batch_queries", "Queries of BatchQuery that ended.", *_ON_A_POD, "code"
        )
        self.call_seconds = self._histogram(
            "podroute_call_seconds", "From a call's arrival to its answer or error.", "method", *_ON_A_POD
        )
        self.queue_seconds = self._histogram(
            "podroute_queue_seconds",
            "What calls waited for their turn at a connection; reads that share one do not wait.",
            *_ON_A_POD,
        )
        self.pod_seconds = self._histogram(
            "podroute_pod_seconds",
            "For how long calls had a connection, connecting included, or a statement on a shared one.",
            *_ON_A_POD,
        )
        self.retries = self._counter(
            "podroute_retries",
            "Statements run anew: conflict, a write that lost against another; lane, a read without an answer.",
            *_ON_A_POD,
            "cause",
        )
        self.failovers = self._counter("podroute_failovers", "AUTO calls that were answered over FDW.", "pod")
        self.calls_in_flight = self._gauge("podroute_calls_in_flight", "Calls that backends serve now.", "pod")
        self.pool_size = self._gauge("podroute_pool_size", "Connections for one call at a time.", *_ON_A_POD)
        self.pool_in_use = self._gauge(
            "podroute_pool_in_use", "Of them, those that are taken, or that a server has yet to end.", *_ON_A_POD
        )
        self.pool_idle = self._gauge("podroute_pool_idle", "Of them, those that stand ready.", *_ON_A_POD)
        self.pool_waiting = self._gauge("podroute_pool_waiting", "Calls that wait for one.", *_ON_A_POD)
        self.lanes = self._gauge("podroute_lanes", "Open connections that short reads share.", *_ON_A_POD)
        self.lanes_size = self._gauge("podroute_lanes_size", "How many of them there may be.", *_ON_A_POD)
        self.lane_depth = self._gauge("podroute_lane_depth", "Statements under way on all of them.", *_ON_A_POD)
        self.pod_up = self._gauge(
            "podroute_pod_up",
            "Whether the pod answered its last direct probe, 1 or 0; of workers the worst.",
            "pod",
            mode="livemin",
        )
        self.breaker_state = self._gauge(
            "podroute_breaker_state",
            "0 closed, 1 half-open, 2 open; of workers the worst.",
            *_ON_A_POD,
            mode="livemax",
        )
        self.map_revision = self._gauge(
            "podroute_map_revision", "Revision of the shard map; of workers the oldest.", mode="livemin"
        )
        self.map_age_seconds = self._gauge(
            "podroute_map_age_seconds",
            "Since the catalog last confirmed the shard map, +Inf where it never did; of workers the greatest.",
            mode="livemax",
        )
        build = self._gauge("podroute_build_info", "Always 1.", "version", "python", mode="livemax")
        build.labels(podroute_router.__version__, platform.python_version()).set(1)

    def measures(self, path: AccessPath, pod: str) -> Measures:
        """What a backend of that path tells of the pod."""
        if path is AccessPath.FDW:
            self.failovers.labels(pod)  # shown as 0 until there is one
        return Measures(
            waited=self.queue_seconds.labels(pod, path.value).observe,
            served=self.pod_seconds.labels(pod, path.value).observe,
            conflicted=self.retries.labels(pod, path.value, "conflict").inc,
            lane_failed=self.retries.labels(pod, path.value, "lane").inc,
        )

    def _counter(self, name: str, meaning: str, *labels: str) -> Counter:
        return Counter(name, meaning, labels, registry=self.registry)

    def _histogram(self, name: str, meaning: str, *labels: str) -> Histogram:
        return Histogram(name, meaning, labels, registry=self.registry, buckets=BUCKETS_S)

    def _gauge(self, name: str, meaning: str, *labels: str, mode: str = "livesum") -> Gauge:
        return Gauge(name, meaning, labels, registry=self.registry, multiprocess_mode=mode)  # type: ignore[arg-type]
