"""What a busy pod on the same cores costs a server that has no use for it: the empty handler, alone and beside one.

A search goes through many megabytes, and takes the processor's caches from whoever runs beside it. In closed loop the
empty handler has the machine to itself and answers thousands of calls a second, the router some hundreds between the
pod's searches. Here all are called equally often, and the pod searches as often as it does for the router.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass

from benchmarks.children import START_TIMEOUT_S, Child
from benchmarks.closed_loop import BareCallers, ProcessCallers
from benchmarks.data import SEED, make_dataset
from benchmarks.measuring import Case, Figure, Usage, measure, percentiles_ms
from benchmarks.open_loop import Schedule
from benchmarks.output import shown
from benchmarks.progress import tell
from benchmarks.section import Scale, Section, Table
from benchmarks.stage import DIRECT, FLOOR, PATHS, open_stage

LIMIT = 10
QUERIES = 400
CALLERS = 8
LEAD_S = 0.1
"""For all processes to have their command."""
BESIDE = f"{FLOOR}, pod busy"
CASES = (FLOOR, BESIDE, DIRECT)


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What is measured, and how long."""

    records: int
    dimension: int
    fractions: tuple[float, ...]
    """Of what the router reaches in closed loop."""
    rounds: int
    warm_up_s: float
    seconds: float


PLANS = {
    Scale.FULL: Plan(records=100_000, dimension=384, fractions=(0.2, 0.6), rounds=5, warm_up_s=0.5, seconds=2.0),
    Scale.SMOKE: Plan(records=5_000, dimension=384, fractions=(0.5,), rounds=1, warm_up_s=0.2, seconds=1.0),
}

Way = ProcessCallers | BareCallers


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """A case at one rate."""

    case: str
    round: int
    fraction: float
    requests_per_s: float
    cpu_us: float
    """Of the server called, a call."""
    p50_ms: float
    p99_ms: float


def run(scale: Scale) -> Section:
    """Measures."""
    plan = PLANS[scale]
    dataset = make_dataset(records=plan.records, dimension=plan.dimension, queries=QUERIES, neighbours=LIMIT)
    points: list[Point] = []
    with open_stage(callers=CALLERS) as stage:
        tell(f"filling {plan.records:,} x {plan.dimension} and building its index")
        filled = stage.fill("pace", dataset, limit=LIMIT)
        floor = stage.stack.enter_context(Child("floor", str(LIMIT)))
        to_floor = filled.grpc_callers(floor.hear(START_TIMEOUT_S)["address"], PATHS[DIRECT])
        to_router = filled.grpc_callers(stage.address, PATHS[DIRECT])
        to_pod = BareCallers(filled.start_bare(CALLERS))
        recall = dataset.recall(to_router.answers())
        to_pod.answers()
        for number in range(plan.rounds):
            peak = measure(
                Case(name=DIRECT, callers=to_router),
                callers=CALLERS,
                round=number,
                warm_up_s=plan.warm_up_s,
                seconds=plan.seconds / 2,
                postgres=stage.postgres,
            ).requests_per_s
            for fraction in plan.fractions:
                rate = fraction * peak
                for case, pid, ways in (
                    (FLOOR, floor.pid, (to_floor,)),
                    (BESIDE, floor.pid, (to_floor, to_pod)),
                    (DIRECT, stage.router.pid, (to_router,)),
                ):
                    points.append(_point(case, pid, ways, number, fraction=fraction, rate_per_s=rate, plan=plan))
            tell(f"round {number + 1} of {plan.rounds}")
    return Section(
        name="pace",
        title="What the pod beside it costs a server",
        parameters={
            **asdict(plan),
            "arrivals": "Poisson",
            "index": "HNSW, m 16, ef_construction 64",
            "limit": LIMIT,
            "queries": QUERIES,
            "callers": CALLERS,
            "recall": recall,
        },
        rows=[asdict(point) for point in points],
        tables=[_table(points)],
        ratios={
            "router_cpu_over_floor_paced": _over(points, DIRECT, FLOOR, max(plan.fractions)),
            "router_cpu_over_floor_beside_pod": _over(points, DIRECT, BESIDE, max(plan.fractions)),
        },
    )


def _point(
    case: str, pid: int, ways: Sequence[Way], number: int, *, fraction: float, rate_per_s: float, plan: Plan
) -> Point:
    """All ways are called at the rate; the first one's calls are those that are timed."""
    start = time.monotonic() + LEAD_S
    begin = start + plan.warm_up_s
    end = begin + plan.seconds
    with ThreadPoolExecutor(len(ways)) as threads:
        following = []
        for i, way in enumerate(ways):  # seeds differ: the pod is not asked just when the handler is
            schedule = Schedule(start=start, begin=begin, end=end, rate_per_s=rate_per_s, seed=SEED + 2 * number + i)
            following.append(threads.submit(way.follow, asdict(schedule), end))
        time.sleep(max(0.0, begin - time.monotonic()))
        before = Usage.now()
        time.sleep(max(0.0, end - time.monotonic()))
        after = Usage.now()
        answers = [one.result() for one in following]
    seconds = [taken for answer in answers[0] for taken in answer["seconds"]]
    p50_ms, _, p99_ms = percentiles_ms([*seconds, *(waited for answer in answers[0] for waited in answer["missed"])])
    calls = len(seconds) * (after.at - before.at) / plan.seconds
    return Point(
        case=case,
        round=number,
        fraction=fraction,
        requests_per_s=len(seconds) / plan.seconds,
        cpu_us=(after.of(pid) - before.of(pid)) * 1e6 / calls,
        p50_ms=p50_ms,
        p99_ms=p99_ms,
    )


def _over(points: Sequence[Point], case: str, peer: str, fraction: float) -> Figure:
    """The CPU time a call of a case, divided by its peer's at the same rate in the same round."""
    of_peer = {(point.round, point.fraction): point.cpu_us for point in points if point.case == peer}
    return Figure.of(
        [
            point.cpu_us / of_peer[point.round, point.fraction]
            for point in points
            if (point.case, point.fraction) == (case, fraction)
        ]
    )


def _table(points: Sequence[Point]) -> Table:
    rows = []
    for fraction in dict.fromkeys(point.fraction for point in points):
        for case in CASES:
            group = [point for point in points if point.case == case and point.fraction == fraction]

            def cell(key: str, digits: int, group: Sequence[Point] = group) -> str:
                return shown(Figure.of([getattr(point, key) for point in group]), digits)

            rows.append(
                (
                    case,
                    f"{fraction:.0%}",
                    cell("requests_per_s", 0),
                    cell("cpu_us", 0),
                    shown(_over(points, case, FLOOR, fraction), 2),
                    shown(_over(points, case, BESIDE, fraction), 2),
                    *(cell(key, 2) for key in ("p50_ms", "p99_ms")),
                )
            )
    return Table(
        title="CPU time a call, all called equally often",
        header=(
            *("case", "of the router's peak", "requests/s", "CPU µs"),
            *("CPU ÷ empty", "CPU ÷ empty, pod busy", "p50 ms", "p99 ms"),
        ),
        rows=rows,
        note="Open loop. Where the pod is busy, bare psycopg asks it as often as the router does in its case.",
    )
