"""Recall against requests/s, by `ef_search`: what is found is bought with time, on every way alike."""

from __future__ import annotations

import os
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from benchmarks import plots
from benchmarks.data import Dataset, load_dataset, make_dataset
from benchmarks.measuring import Figure, measure
from benchmarks.output import shown
from benchmarks.progress import tell
from benchmarks.section import Scale, Section, Table
from benchmarks.stage import BARE, DIRECT, FDW, Filled, open_stage

LIMIT = 10
CASES = (DIRECT, FDW, BARE)
VECTORS = "PODROUTE_BENCH_VECTORS"
"""Environment variable with a file of real vectors."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What is measured, and how long."""

    records: int
    dimension: int
    queries: int
    ef_search: tuple[int, ...]
    callers: int
    rounds: int
    warm_up_s: float
    seconds: float


PLANS = {
    Scale.FULL: Plan(
        records=100_000,
        dimension=384,
        queries=200,
        ef_search=(10, 20, 40, 80, 160, 320),
        callers=8,
        rounds=3,
        warm_up_s=0.3,
        seconds=1.0,
    ),
    Scale.SMOKE: Plan(
        records=2_000, dimension=64, queries=50, ef_search=(10, 80), callers=2, rounds=1, warm_up_s=0.1, seconds=0.3
    ),
}


def run(scale: Scale) -> Section:
    """Measures."""
    plan = PLANS[scale]
    datasets = {
        "synthetic": make_dataset(
            records=plan.records, dimension=plan.dimension, queries=plan.queries, neighbours=LIMIT
        )
    }
    notes = []
    if file := os.environ.get(VECTORS):
        datasets["real"] = load_dataset(Path(file), neighbours=LIMIT)
    else:
        notes.append("No real vectors were given (`--vectors`).")
    rows: list[dict[str, object]] = []
    with open_stage(callers=plan.callers) as stage:
        for name, dataset in datasets.items():
            records, dimension = dataset.records.shape
            tell(f"{name}: filling {records:,} x {dimension} and building its index")
            rows += _curves(name, stage.fill(name, dataset, limit=LIMIT), plan)
    return Section(
        name="recall",
        title="Recall against requests/s",
        parameters={
            **asdict(plan),
            "limit": LIMIT,
            "index": "HNSW, m 16, ef_construction 64",
            "data": {name: _described(dataset) for name, dataset in datasets.items()},
        },
        rows=rows,
        tables=[_table(name, dataset, rows) for name, dataset in datasets.items()],
        notes=notes,
    )


def _described(dataset: Dataset) -> str:
    records, dimension = dataset.records.shape
    return f"{records:,} x {dimension}, {dataset.metric}, {len(dataset.queries)} queries"


def _curves(name: str, filled: Filled, plan: Plan) -> list[dict[str, object]]:
    bare = filled.start_bare(plan.callers)
    cases = {
        ef_search: [
            filled.podroute(DIRECT, ef_search=ef_search),
            filled.podroute(FDW, ef_search=ef_search),
            filled.bare(bare, {"hnsw.ef_search": str(ef_search)}),
        ]
        for ef_search in plan.ef_search
    }
    recall = {
        (ef_search, case.name): filled.dataset.recall(case.callers.answers())
        for ef_search, ways in cases.items()
        for case in ways
    }
    rows = []
    for number in range(plan.rounds):
        for ef_search, ways in cases.items():
            for case in ways:
                sample = measure(
                    case,
                    callers=plan.callers,
                    round=number,
                    warm_up_s=plan.warm_up_s,
                    seconds=plan.seconds,
                    postgres=filled.stage.postgres,
                )
                found = {"data": name, "ef_search": ef_search, "recall": recall[ef_search, case.name]}
                rows.append(found | asdict(sample))
        tell(f"{name}: round {number + 1} of {plan.rounds}")
    return rows


def _table(name: str, dataset: Dataset, rows: Sequence[Mapping[str, object]]) -> Table:
    groups: dict[tuple[object, object], list[Mapping[str, object]]] = {}
    for row in rows:
        if row["data"] == name:
            groups.setdefault((row["case"], row["ef_search"]), []).append(row)
    ordered = sorted(groups.items(), key=lambda group: CASES.index(str(group[0][0])))

    def cell(group: Sequence[Mapping[str, object]], key: str, digits: int) -> str:
        return shown(Figure.of([float(str(row[key])) for row in group]), digits)

    return Table(
        title=f"Recall@{LIMIT}, {name}: {_described(dataset)}",
        header=("case", "ef_search", f"recall@{LIMIT}", "requests/s", "p50 ms", "p99 ms"),
        rows=[
            (
                str(case),
                str(ef_search),
                f"{group[0]['recall']:.3f}",
                cell(group, "requests_per_s", 0),
                cell(group, "p50_ms", 2),
                cell(group, "p99_ms", 2),
            )
            for (case, ef_search), group in ordered
        ],
        note=(
            "Closed loop. A query that names its ef_search takes a transaction of its own with one "
            "more statement, and no lane; bare psycopg sets it once a session."
        ),
    )


def plot(section: Section, folder: Path) -> list[Path]:
    """A panel for each kind of data."""
    names = list(dict.fromkeys(str(row["data"]) for row in section.rows))
    points: dict[tuple[str, str, float], list[tuple[float, float]]] = {}
    for row in section.rows:
        key = (str(row["data"]), str(row["case"]), float(str(row["ef_search"])))
        points.setdefault(key, []).append((float(str(row["recall"])), float(str(row["requests_per_s"]))))
    file = folder / "recall.png"
    with plots.drawn(file, columns=len(names), width=5.5 * len(names)) as panels:
        for axes, name in zip(panels, names, strict=True):
            for case in CASES:
                line = sorted(
                    (
                        ef_search,
                        pairs[0][0],
                        statistics.median(rate for _, rate in pairs),
                    )
                    for (data, way, ef_search), pairs in points.items()
                    if data == name and way == case
                )
                axes.plot(
                    [recall for _, recall, _ in line],
                    [rate for _, _, rate in line],
                    marker="o",
                    color=plots.colour(case),
                    label=case,
                )
                if case == BARE:
                    for ef_search, recall, rate in line:
                        axes.annotate(
                            f"{ef_search:.0f}", (recall, rate), xytext=(0, 6), textcoords="offset points", fontsize=8
                        )
            axes.set_xlabel(f"recall@{LIMIT} (small numbers: ef_search)")
            axes.set_ylim(bottom=0)
            data = section.parameters["data"]
            axes.set_title(data[name] if isinstance(data, dict) else name)
        panels[0].set_ylabel(f"requests/s, {section.parameters['callers']} callers")
        panels[0].legend()
    return [file]
