"""How long a query takes by how many are offered: open loop, timed from when each was due."""

from __future__ import annotations

import statistics
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

from benchmarks import plots
from benchmarks.closed_loop import BareCallers, ProcessCallers
from benchmarks.data import SEED, make_dataset
from benchmarks.measuring import Case, Figure, Usage, least_disturbed, measure, percentiles_ms
from benchmarks.open_loop import Schedule
from benchmarks.output import shown
from benchmarks.progress import tell
from benchmarks.section import Scale, Section, Table
from benchmarks.stage import BARE, DIRECT, FDW, PATHS, Filled, open_stage

LIMIT = 10
QUERIES = 400
CALLERS = 16
"""So many calls can be under way at a time; one that finds them all busy waits, and its time runs."""
CASES = (DIRECT, FDW, BARE)
LEAD_S = 0.1
"""For all processes to have their command."""
JUDGED = 0.7


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What is measured, and how long."""

    records: int
    dimension: int
    fractions: tuple[float, ...]
    """Of the closed-loop peak."""
    rounds: int
    warm_up_s: float
    seconds: float
    judged_s: float
    """At the fraction that has a goal: a 99th percentile wants many calls."""


PLANS = {
    Scale.FULL: Plan(
        records=100_000,
        dimension=384,
        fractions=(0.1, 0.3, 0.5, JUDGED, 0.85, 1.0, 1.2),
        rounds=3,
        warm_up_s=0.5,
        seconds=3.0,
        judged_s=8.0,
    ),
    Scale.SMOKE: Plan(
        records=5_000, dimension=128, fractions=(0.3, JUDGED), rounds=1, warm_up_s=0.2, seconds=1.0, judged_s=1.0
    ),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """A case under one offered rate."""

    case: str
    round: int
    fraction: float
    peak_per_s: float
    """Of this round, closed loop."""
    offered_per_s: float
    achieved_per_s: float
    calls: int
    missed: int
    """Calls that could not even start before the end."""
    p50_ms: float
    p90_ms: float
    p99_ms: float
    others_cpu: float
    """Share of the machine's CPU time that went to processes which are not of this benchmark."""


def run(scale: Scale) -> Section:
    """Measures."""
    plan = PLANS[scale]
    dataset = make_dataset(records=plan.records, dimension=plan.dimension, queries=QUERIES, neighbours=LIMIT)
    points: list[Point] = []
    with open_stage(callers=CALLERS) as stage:
        tell(f"filling {plan.records:,} x {plan.dimension} and building its index")
        filled = stage.fill("load", dataset, limit=LIMIT)
        ways: dict[str, ProcessCallers | BareCallers] = {
            case: filled.grpc_callers(stage.address, PATHS[case]) for case in (DIRECT, FDW)
        }
        ways[BARE] = BareCallers(filled.start_bare(CALLERS))
        recall = {case: dataset.recall(way.answers()) for case, way in ways.items()}
        for number in range(plan.rounds):
            for fraction in plan.fractions:
                for case, way in ways.items():
                    # Taken anew each time, as a machine that is shared is now faster and now slower.
                    peak_per_s = _peak(filled, case, way, number, plan)
                    offer = partial(_point, case, way, number, fraction=fraction, peak_per_s=peak_per_s, plan=plan)
                    points.append(least_disturbed(offer))
            tell(f"round {number + 1} of {plan.rounds}")
    return Section(
        name="load",
        title="Latency against offered load",
        parameters={
            **asdict(plan),
            "arrivals": "Poisson",
            "index": "HNSW, m 16, ef_construction 64",
            "ef_search": "the pod's default, 40",
            "limit": LIMIT,
            "queries": QUERIES,
            "callers": CALLERS,
            "recall": recall,
        },
        rows=[asdict(point) for point in points],
        tables=[_table(points, recall)],
        ratios={
            "p99_over_p50_at_70_percent": _tail(points, DIRECT),
            "p99_over_p50_at_70_percent_bare": _tail(points, BARE),
        },
    )


def _peak(filled: Filled, case: str, way: ProcessCallers | BareCallers, number: int, plan: Plan) -> float:
    """Requests/s that all callers reach in closed loop."""
    sample = measure(
        Case(name=case, callers=way),
        callers=CALLERS,
        round=number,
        warm_up_s=plan.warm_up_s,
        seconds=plan.seconds / 3,
        postgres=filled.stage.postgres,
    )
    return sample.requests_per_s


def _point(
    case: str, way: ProcessCallers | BareCallers, number: int, *, fraction: float, peak_per_s: float, plan: Plan
) -> Point:
    measured_s = plan.judged_s if fraction == JUDGED else plan.seconds
    start = time.monotonic() + LEAD_S
    begin = start + plan.warm_up_s
    schedule = Schedule(
        start=start,
        begin=begin,
        end=begin + measured_s,
        rate_per_s=fraction * peak_per_s,
        seed=SEED + number,
    )
    before = Usage.now()
    answers = way.follow(asdict(schedule), schedule.end)
    others_cpu = Usage.now().others_since(before)
    seconds = [taken for answer in answers for taken in answer["seconds"]]
    missed = [waited for answer in answers for waited in answer["missed"]]
    p50_ms, p90_ms, p99_ms = percentiles_ms([*seconds, *missed])
    return Point(
        case=case,
        round=number,
        fraction=fraction,
        peak_per_s=peak_per_s,
        offered_per_s=(len(seconds) + len(missed)) / measured_s,
        achieved_per_s=len(seconds) / measured_s,
        calls=len(seconds),
        missed=len(missed),
        p50_ms=p50_ms,
        p90_ms=p90_ms,
        p99_ms=p99_ms,
        others_cpu=others_cpu,
    )


def _tail(points: Sequence[Point], case: str) -> Figure:
    return Figure.of(
        [point.p99_ms / point.p50_ms for point in points if (point.case, point.fraction) == (case, JUDGED)]
    )


def _table(points: Sequence[Point], recall: Mapping[str, float]) -> Table:
    rows = []
    for case in CASES:
        for fraction in dict.fromkeys(point.fraction for point in points):
            group = [point for point in points if point.case == case and point.fraction == fraction]

            def cell(key: str, digits: int, group: Sequence[Point] = group) -> str:
                return shown(Figure.of([getattr(point, key) for point in group]), digits)

            rows.append(
                (
                    case,
                    f"{fraction:.0%}",
                    cell("offered_per_s", 0),
                    cell("achieved_per_s", 0),
                    *(cell(key, 2) for key in ("p50_ms", "p90_ms", "p99_ms")),
                    shown(Figure.of([point.p99_ms / point.p50_ms for point in group]), 1),
                    f"{recall[case]:.3f}",
                )
            )
    return Table(
        title="Latency from the intended start",
        header=(
            *("case", "of its peak", "offered/s", "achieved/s", "p50 ms", "p90 ms", "p99 ms", "p99 ÷ p50"),
            f"recall@{LIMIT}",
        ),
        rows=rows,
        note=(
            f"The peak is what {CALLERS} callers reach in closed loop, each case its own, anew before each "
            "measurement. Calls that could not start before the end of a measurement count with the time that they had "
            "waited: under overload the percentiles are lower bounds, and grow with the measurement's length."
        ),
    )


def plot(section: Section, folder: Path) -> list[Path]:
    """A panel for each case, with its percentiles by the rate offered."""
    groups: dict[tuple[str, float], list[Mapping[str, object]]] = {}
    for row in section.rows:
        groups.setdefault((str(row["case"]), float(str(row["fraction"]))), []).append(row)
    file = folder / "load.png"
    with plots.drawn(file, columns=len(CASES), width=4 * len(CASES)) as panels:
        for axes, case in zip(panels, CASES, strict=True):
            fractions = sorted(fraction for name, fraction in groups if name == case)

            def median(key: str, case: str = case, fractions: Sequence[float] = fractions) -> list[float]:
                return [
                    statistics.median(float(str(row[key])) for row in groups[case, fraction]) for fraction in fractions
                ]

            for key, style in (("p50_ms", "-"), ("p90_ms", "--"), ("p99_ms", ":")):
                axes.plot(
                    median("offered_per_s"),
                    median(key),
                    style,
                    marker="o",
                    color=plots.colour(case),
                    label=key.removesuffix("_ms"),
                )
            peak = statistics.median(median("peak_per_s"))
            axes.axvline(peak, color="#999999", linewidth=1)
            axes.annotate(
                "closed-loop peak",
                (peak, 1),
                xycoords=("data", "axes fraction"),
                xytext=(-4, -4),
                textcoords="offset points",
                rotation=90,
                ha="right",
                va="top",
                fontsize=8,
                color="#777777",
            )
            axes.set_yscale("log")
            axes.set_xlim(left=0)
            axes.set_title(case)
            axes.set_xlabel("offered requests/s")
            axes.legend(loc="upper left")
        low = min(axes.get_ylim()[0] for axes in panels)
        high = max(axes.get_ylim()[1] for axes in panels)
        for axes in panels:
            axes.set_ylim(low, high)
            axes.yaxis.set_major_formatter("{x:g}")
        panels[0].set_ylabel("ms from the intended start")
    return [file]
