"""What a query costs by the size of its collection and the dimension of its vectors."""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from podroute_router.embedded.settings import machine_memory_bytes, shared_memory_bytes

from benchmarks import plots
from benchmarks.data import make_dataset
from benchmarks.measuring import Figure, measure
from benchmarks.output import shown
from benchmarks.progress import tell
from benchmarks.section import Scale, Section, Table
from benchmarks.stage import BARE, DIRECT, Filled, Stage, open_stage

LIMIT = 10
CALLERS = (1, 8)
CASES = (DIRECT, BARE)
LARGEST = "PODROUTE_BENCH_LARGEST"
"""Environment variable with the most records that a collection may have."""
MEASURING_S = 25
BUILD_US = 0.8
"""Time to fill and index a record on two cores, about: for each component and, as if there were more, beside them."""
BUILD_COMPONENTS = 200
LARGE = 3_000_000
"""Records at which a build takes twice as long a record."""

_MIB = 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What is measured, and how long."""

    collections: tuple[tuple[int, int], ...]
    """Records and dimension."""
    queries: int
    rounds: int
    warm_up_s: float
    seconds: float


PLANS = {
    Scale.FULL: Plan(
        collections=(
            *((10_000, 128), (100_000, 128), (1_000_000, 128)),
            *((10_000, 384), (100_000, 384)),
            *((10_000, 1536), (100_000, 1536)),
        ),
        queries=200,
        rounds=3,
        warm_up_s=0.5,
        seconds=1.5,
    ),
    Scale.SMOKE: Plan(
        collections=((1_000, 128), (5_000, 128), (1_000, 384)), queries=50, rounds=1, warm_up_s=0.1, seconds=0.3
    ),
}


def run(scale: Scale) -> Section:
    """Measures; collections are made, measured and dropped one by one."""
    plan = PLANS[scale]
    largest = int(os.environ.get(LARGEST) or max(records for records, _ in plan.collections))
    wanted = [(records, dimension) for records, dimension in plan.collections if records <= largest]
    expected_s = sum(_expected_s(*collection) for collection in wanted)
    tell(f"{len(wanted)} collections, most of the time for building their indexes: about {expected_s / 60:.0f} min")
    settings = _settings()
    rows: list[dict[str, object]] = []
    with open_stage(callers=max(CALLERS), settings=settings) as stage:
        for records, dimension in wanted:
            rows += _collection(stage, records, dimension, plan)
    notes = []
    if len(wanted) < len(plan.collections):
        notes.append(f"Collections of more than {largest:,} records were left out (`--largest`).")
    return Section(
        name="size",
        title="Cost by size and dimension",
        parameters={
            **asdict(plan),
            "collections": [f"{records:,} x {dimension}" for records, dimension in wanted],
            "settings": settings,
            "index": "HNSW, m 16, ef_construction 64",
            "ef_search": "the pod's default, 40",
            "limit": LIMIT,
            "callers": list(CALLERS),
        },
        rows=rows,
        tables=[_table(rows)],
        notes=notes,
    )


def _settings() -> dict[str, str]:
    """So much memory that the largest index is built in it and stays in it."""
    memory, shared = machine_memory_bytes(), shared_memory_bytes()
    build = min(3072 * _MIB, memory // 6)
    # A parallel build holds its graph in /dev/shm.
    builders = max(1, (os.cpu_count() or 1) - 1) if shared is None or shared > 2 * build else 0
    return {
        "shared_buffers": f"{min(4096 * _MIB, memory // 5) // _MIB}MB",
        "maintenance_work_mem": f"{build // _MIB}MB",
        "max_parallel_maintenance_workers": str(builders),
        "max_wal_size": "8GB",
    }


def _expected_s(records: int, dimension: int) -> float:
    return MEASURING_S + records * (dimension + BUILD_COMPONENTS) * BUILD_US * 1e-6 * (1 + records / LARGE)


def _collection(stage: Stage, records: int, dimension: int, plan: Plan) -> list[dict[str, object]]:
    began = time.monotonic()
    name = f"size_{records}_{dimension}"
    dataset = make_dataset(records=records, dimension=dimension, queries=plan.queries, neighbours=LIMIT)
    filled = stage.fill(name, dataset, limit=LIMIT)
    filled_s = time.monotonic() - began
    rows = _measured(filled, plan, {"records": records, "dimension": dimension, "filled_s": round(filled_s, 1)})
    stage.drop(name)
    tell(f"{records:,} x {dimension}: filled and indexed in {filled_s:.0f} s, measured")
    return rows


def _measured(filled: Filled, plan: Plan, about: Mapping[str, object]) -> list[dict[str, object]]:
    process = filled.start_bare(max(CALLERS))
    cases = [filled.podroute(DIRECT), filled.bare(process)]
    recall = {case.name: filled.dataset.recall(case.callers.answers()) for case in cases}
    rows = [
        {
            **about,
            "recall": recall[case.name],
            **asdict(
                measure(
                    case,
                    callers=callers,
                    round=number,
                    warm_up_s=plan.warm_up_s,
                    seconds=plan.seconds,
                    postgres=filled.stage.postgres,
                )
            ),
        }
        for number in range(plan.rounds)
        for callers in CALLERS
        for case in cases
    ]
    process.close()
    return rows


Group = Sequence[Mapping[str, object]]


def _groups(rows: Group) -> dict[tuple[int, int, str, int], Group]:
    """Rows by dimension, records, case and callers."""
    groups: dict[tuple[int, int, str, int], list[Mapping[str, object]]] = {}
    for row in rows:
        dimension, records, callers = (int(str(row[name])) for name in ("dimension", "records", "callers"))
        groups.setdefault((dimension, records, str(row["case"]), callers), []).append(row)
    return {key: groups[key] for key in sorted(groups, key=lambda key: (key[3], CASES.index(key[2]), key[0], key[1]))}


def _figures(group: Group, key: str) -> Figure:
    return Figure.of([float(str(row[key])) for row in group])


def _table(rows: Group) -> Table:
    return Table(
        title="One query",
        header=(
            *("case", "callers", "dimension", "records", "requests/s", "p50 ms", "p99 ms"),
            *("router or caller CPU µs", "PostgreSQL CPU µs", f"recall@{LIMIT}", "fill and index, s"),
        ),
        rows=[
            (
                case,
                str(callers),
                str(dimension),
                f"{records:,}",
                shown(_figures(group, "requests_per_s"), 0),
                shown(_figures(group, "p50_ms"), 2),
                shown(_figures(group, "p99_ms"), 2),
                shown(_figures(group, "cpu_us"), 0),
                shown(_figures(group, "postgres_cpu_us"), 0),
                f"{group[0]['recall']:.3f}",
                f"{group[0]['filled_s']:.0f}",
            )
            for (dimension, records, case, callers), group in _groups(rows).items()
        ],
        note=(
            "Closed loop. The last column is the whole way in: making the vectors, upsert_many through the router, "
            "building the index, VACUUM. All collections are asked with the same ef_search, so recall falls as they "
            "grow."
        ),
    )


def plot(section: Section, folder: Path) -> list[Path]:
    """p50 and CPU times by size, a line for each dimension, and by dimension, a line for each size."""
    groups = _groups(section.rows)

    def points(measured: str, case: str, callers: int) -> dict[tuple[int, int], float]:
        return {
            (dimension, records): statistics.median(float(str(row[measured])) for row in group)
            for (dimension, records, name, number), group in groups.items()
            if name == case and number == callers
        }

    drawings = (
        ("p50 in ms, 1 caller", "p50_ms", 1),
        ("router CPU µs a query, 8 callers", "cpu_us", 8),
        ("PostgreSQL CPU µs a query, 8 callers", "postgres_cpu_us", 8),
    )
    files = []
    for by, other, position in (("records", "dimension", 1), ("dimension", "records", 0)):
        file = folder / f"cost_by_{by}.png"
        with plots.drawn(file, columns=len(drawings), width=4 * len(drawings)) as panels:
            for axes, (title, measured, callers) in zip(panels, drawings, strict=True):
                values = points(measured, DIRECT, callers)
                lines = sorted({key[1 - position] for key in values})
                for shade, line in zip(plots.shades(len(lines)), lines, strict=True):
                    places = sorted(key for key in values if key[1 - position] == line)
                    axes.plot(
                        [key[position] for key in places],
                        [values[key] for key in places],
                        marker="o",
                        color=shade,
                        label=f"{line:,}",
                    )
                axes.set_xscale("log")
                ticks = sorted({key[position] for key in values})
                axes.set_xticks(ticks, [f"{tick:,}" for tick in ticks])
                axes.minorticks_off()
                axes.set_ylim(bottom=0)
                axes.set_title(title)
                axes.set_xlabel("records" if by == "records" else "dimension")
            panels[0].legend(title=other)
        files.append(file)
    return files
