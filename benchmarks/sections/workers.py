"""What a second worker adds: requests/s of the cheapest call with 1 worker and with 2, in one run.

Callers and PostgreSQL run on the same cores as the workers, so the ratio is read beside the machine's own limit.
"""

from __future__ import annotations

import json
import os
import statistics
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path

import podroute
from podroute_router.embedded import Cluster

from benchmarks.children import START_TIMEOUT_S, Child, ChildFailed, start_all
from benchmarks.closed_loop import CALL_TIMEOUT_S, Window
from benchmarks.measuring import Figure, Usage
from benchmarks.output import shown
from benchmarks.section import Scale, Section, Table
from benchmarks.stage import POD, prepare_cluster

WORKERS = (1, 2)
CALLERS = 12
COLLECTION = "empty"
WARM_UP_S = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """How long is measured."""

    rounds: int
    seconds: float


PLANS = {Scale.FULL: Plan(rounds=7, seconds=2.0), Scale.SMOKE: Plan(rounds=1, seconds=1.0)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One measurement. CPU times are in µs a call."""

    workers: int
    round: int
    requests_per_s: float
    router_cpu_us: float
    """Of the supervisor and its workers, or of the one router."""
    postgres_cpu_us: float
    callers_cpu_us: float
    cores_busy: float
    """Of the whole machine, whoever used them."""
    p50_ms: float


def run(scale: Scale) -> Section:
    """Measures."""
    plan = PLANS[scale]
    samples = _measure(plan)
    ratios = _ratios(samples)
    return Section(
        name="workers",
        title="A second worker",
        parameters={**asdict(plan), "call": "Fetch of one id that does not exist, DIRECT", "callers": CALLERS},
        rows=[asdict(sample) for sample in samples],
        tables=[_table(samples, ratios)],
        ratios=ratios,
    )


def _measure(plan: Plan) -> list[Sample]:
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="podroute-bench-")))
        cluster = stack.enter_context(Cluster(pods=[POD], ephemeral=True, fsync=False))
        prepare_cluster(cluster)
        values = cluster.config_values()
        services = {}
        for workers in WORKERS:
            values["router"] |= {"listen": "127.0.0.1:0", "log_level": "warning", "workers": workers}
            file = folder / f"router{workers}.json"
            file.write_text(json.dumps(values), encoding="utf-8")
            services[workers] = stack.enter_context(Child("router", str(file)))
        addresses = {workers: service.hear(START_TIMEOUT_S)["address"] for workers, service in services.items()}
        with podroute.Client(addresses[1]) as client:
            client.wait_until_serving()
            client.create_collection(COLLECTION, dimension=3, pod=POD)
        callers = start_all(stack, "fetcher", count=CALLERS)
        return [
            _sample(
                workers,
                round=number,
                window=Window.after(WARM_UP_S, plan.seconds),
                address=addresses[workers],
                router=services[workers].pid,
                callers=callers,
                postgres=[server.pid for server in cluster.servers.values()],
            )
            for number in range(plan.rounds)
            for workers in (WORKERS if number % 2 == 0 else reversed(WORKERS))
        ]


def _sample(
    workers: int,
    *,
    round: int,
    window: Window,
    address: str,
    router: int,
    callers: Sequence[Child],
    postgres: Sequence[int],
) -> Sample:
    for caller in callers:
        caller.tell({"address": address, "collection": COLLECTION, "window": [window.begin, window.end]})
    time.sleep(max(0.0, window.begin - time.monotonic()))
    before = Usage.now()
    time.sleep(max(0.0, window.end - time.monotonic()))
    after = Usage.now()
    taken = [s for caller in callers for s in caller.hear(window.end - window.begin + CALL_TIMEOUT_S)["seconds"]]
    if not taken:
        raise ChildFailed(f"no call ended within {window.end - window.begin:g} s")
    elapsed_s = after.at - before.at
    requests_per_s = len(taken) / (window.end - window.begin)

    def cpu_us(pids: Sequence[int]) -> float:
        return (after.below(pids) - before.below(pids)) / elapsed_s * 1e6 / requests_per_s

    return Sample(
        workers=workers,
        round=round,
        requests_per_s=requests_per_s,
        router_cpu_us=cpu_us([router]),
        postgres_cpu_us=cpu_us(postgres),
        callers_cpu_us=cpu_us([caller.pid for caller in callers]),
        cores_busy=(after.busy_s - before.busy_s) / elapsed_s,
        p50_ms=statistics.median(taken) * 1e3,
    )


def _ratios(samples: Sequence[Sample]) -> Mapping[str, Figure]:
    """What was reached, and what all cores could do at the CPU time that a call took in all; each within a round."""
    ones, twos = ({sample.round: sample for sample in samples if sample.workers == workers} for workers in WORKERS)

    def limit(sample: Sample) -> float:
        cpu_us = sample.router_cpu_us + sample.postgres_cpu_us + sample.callers_cpu_us
        return (os.cpu_count() or 1) * 1e6 / cpu_us

    rounds = [(one.requests_per_s, twos[number].requests_per_s) for number, one in ones.items()]
    return {
        "workers_2_over_1": Figure.of([by_two / by_one for by_one, by_two in rounds]),
        "workers_2_over_1_limit": Figure.of([limit(one) / one.requests_per_s for one in ones.values()]),
    }


def _table(samples: Sequence[Sample], ratios: Mapping[str, Figure]) -> Table:
    header = (
        *("workers", "requests/s", "router CPU µs", "PostgreSQL CPU µs", "callers' CPU µs"),
        *("cores busy", "p50 ms"),
    )
    rows = []
    for workers in WORKERS:
        group = [sample for sample in samples if sample.workers == workers]

        def cell(key: str, group: Sequence[Sample] = group) -> Figure:
            return Figure.of([getattr(sample, key) for sample in group])

        rows.append(
            [
                str(workers),
                *(shown(cell(key), 0) for key in ("requests_per_s", "router_cpu_us", "postgres_cpu_us")),
                shown(cell("callers_cpu_us"), 0),
                shown(cell("cores_busy"), 2),
                shown(cell("p50_ms"), 2),
            ]
        )
    return Table(
        title="Requests/s with one worker and with two",
        header=header,
        rows=rows,
        note=(
            f"Two workers ÷ one: {shown(ratios['workers_2_over_1'], 2)} requests/s. What this machine could do if all "
            "its cores were always busy and a call took no more CPU time than with one worker: "
            f"{shown(ratios['workers_2_over_1_limit'], 2)}. Callers and PostgreSQL run on the same cores."
        ),
    )
