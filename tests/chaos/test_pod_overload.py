"""More calls than a pod can serve, where the router could serve them: what the pod loses by those that it is spared."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import fmean, median
from typing import NamedTuple

import podroute
import pytest
from podroute.v1 import vector_service_pb2
from podroute_router.embedded import Cluster
from podroute_router.embedded.server import Server
from servers import router_values

from .conftest import DIRECT, FDW
from .generators import Call
from .report import Report, Result
from .routers import router_process
from .scale import Scale
from .test_overload import (
    FACTOR,
    GOODPUT,
    NO_RETRIES,
    REFUSED_S,
    Generators,
    keep_to,
    percentile,
    processors,
    served_of,
)

PATHS = {"direct": DIRECT, "fdw": FDW}
NAME, DIMENSION, RECORDS = "pod_overload", 64, 60_000
"""Of which the pod looks at each, without an index: some 10 ms of its processor a call."""
CALLS_PER_POD = 32
ROUNDS = 5
"""Of peak, overload, peak: all that they share is the machine, and their median counts."""


class Round(NamedTuple):
    """Peaks before and after, the calls between them, and for how long those came."""

    before_per_s: float
    calls: list[Call]
    after_per_s: float
    seconds: float

    @property
    def peak_per_s(self) -> float:
        """What stands between the two."""
        return fmean((self.before_per_s, self.after_per_s))

    @property
    def goodput(self) -> float:
        """Served calls a second, as a part of the peak."""
        return served_of(self.calls) / self.seconds / self.peak_per_s


@contextmanager
def kept_to(processor: int, pod: Server) -> Iterator[None]:
    """Sessions that the pod begins meanwhile run on one processor."""
    allowed = os.sched_getaffinity(pod.pid)
    os.sched_setaffinity(pod.pid, {processor})
    try:
        yield
    finally:
        os.sched_setaffinity(pod.pid, allowed)


@pytest.mark.full
@pytest.mark.parametrize("name", PATHS)
async def test_what_a_pod_cannot_serve_is_refused_before_it_gets_there(
    cluster: Cluster, scale: Scale, report: Report, tmp_path: Path, name: str
) -> None:
    """The pod has a processor for itself. The control: with more calls in flight than come, they end late or never."""
    with kept_to(processors()[0], cluster.pods["alpha"]):
        rounds = await overloaded(cluster, tmp_path, name, rounds=ROUNDS, seconds=scale.pick(2, 8))
        [control] = await overloaded(cluster, tmp_path, name, rounds=1, seconds=8, calls_per_pod=100_000)
    calls = [call for each in rounds for call in each.calls]
    refused = [call.seconds for call in calls if call[:3] == ("RESOURCE_EXHAUSTED", "POD_BUSY", True)]
    otherwise = len(calls) - served_of(calls) - len(refused)
    late_s = percentile(refused, 0.99)
    goodput = median(each.goodput for each in rounds)
    each_time = ", ".join(f"{each.goodput:.0%}" for each in rounds)
    load = (
        f"open loop, {ROUNDS} times {FACTOR:g} times the pod's peak of {median(r.peak_per_s for r in rounds):.0f} "
        f"calls/s; calls_per_pod = {CALLS_PER_POD}; one processor for the pod, one for router and callers"
    )
    faults = (
        f"none but the load; control, no bound on the calls: {len(control.calls) - served_of(control.calls)} of "
        f"{len(control.calls)} calls ended without an answer"
    )
    for promise, figure, bound, held in (
        (
            f"Overload of a pod: goodput ({name.upper()})",
            f"{goodput:.0%} of peak (median of {each_time})",
            f"≥ {GOODPUT:.0%}",
            goodput >= GOODPUT,
        ),
        (
            f"Overload of a pod: the rest is refused with RESOURCE_EXHAUSTED and RetryInfo at once ({name.upper()})",
            f"p50 {percentile(refused, 0.5) * 1e3:.0f} ms, p99 {late_s * 1e3:.0f} ms; "
            f"{otherwise} of {len(calls)} calls ended otherwise",
            "p99 < 20 ms, 0 otherwise",
            late_s < REFUSED_S and not otherwise,
        ),
    ):
        report.add(Result(promise=promise, load=load, faults=faults, figure=figure, bound=bound, held=held))
    assert refused
    assert not otherwise
    assert all(served_of(each.calls) for each in rounds)
    assert served_of(control.calls) < len(control.calls) / 2
    assert not any(call.code == "RESOURCE_EXHAUSTED" for call in control.calls)


async def overloaded(
    cluster: Cluster, folder: Path, name: str, *, rounds: int, seconds: float, calls_per_pod: int = CALLS_PER_POD
) -> list[Round]:
    """Takes the pod's peak and three times that, in turn."""
    own = folder / f"calls_{calls_per_pod}"
    own.mkdir()
    values = router_values(cluster) | {"limits": {"calls_per_pod": calls_per_pod}}
    taken: list[Round] = []
    with router_process(values, own) as router:
        keep_to(processors()[-1], router.pid)
        async with podroute.AsyncClient(router.address, timeout_s=60) as client:
            vector = await fill(client)
            request = vector_service_pb2.QueryRequest(collection=NAME, limit=10, path=PATHS[name])
            request.vector.values.extend(vector)
            generators = Generators(router.address, request, NO_RETRIES)
            try:
                await generators.peak_per_s(0.5)
                before = await generators.peak_per_s(max(0.5, seconds / 4))
                for _ in range(rounds):
                    calls = await generators.flood(FACTOR * before, seconds)
                    after = await generators.peak_per_s(max(0.5, seconds / 4))
                    taken.append(Round(before, calls, after, seconds))
                    before = after
            finally:
                generators.close()
            await client.delete_collection(NAME, timeout=20)
    return taken


async def fill(client: podroute.AsyncClient) -> list[float]:
    """Makes the collection, and returns one of its vectors."""
    await client.create_collection(NAME, dimension=DIMENSION, pod="alpha")
    vectors = [[float((number * 31 + place * 7) % 101) for place in range(DIMENSION)] for number in range(101)]
    records = ((f"r{number}", vectors[number % 101], {}) for number in range(RECORDS))
    await client.upsert_many(NAME, records)
    return vectors[0]
