"""How fast records are written, without and with an HNSW index, and what a long stream costs the router in memory."""

from __future__ import annotations

import itertools
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import podroute

from benchmarks import plots
from benchmarks.children import ChildFailed
from benchmarks.data import Vectors, make_dataset, record_id
from benchmarks.measuring import Figure, Usage
from benchmarks.output import shown
from benchmarks.progress import tell
from benchmarks.section import Scale, Section, Table
from benchmarks.stage import DIRECT, FDW, Stage, open_stage
from benchmarks.writers import Executemany, Podroute, Row, Vecs, Writer, empty_collection, start_vecs

EXECUTEMANY, VECS = "bare psycopg, executemany", "vecs"
SEVERAL = "bare psycopg, executemany on {} connections"
PLAIN, INDEXED, LONG = "plain", "HNSW in place", "long stream"
BATCH = 1000
INDEXED_BATCH = 100
"""With the index in place, where a row takes a hundred times as long."""
SAMPLES = 100
"""Looks at the router's memory during the long stream."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What is measured."""

    dimension: int
    records: int
    vecs_records: int
    rounds: int
    indexed_records: int
    indexed_rounds: int
    connections: int
    """Of `executemany` with the index in place, where that is more than one."""
    long_dimension: int
    long_records: int


PLANS = {
    Scale.FULL: Plan(
        dimension=384,
        records=50_000,
        vecs_records=5_000,
        rounds=5,
        indexed_records=4_000,
        indexed_rounds=3,
        connections=2,
        long_dimension=128,
        long_records=1_000_000,
    ),
    Scale.SMOKE: Plan(
        dimension=384,
        records=10_000,
        vecs_records=500,
        rounds=2,
        indexed_records=300,
        indexed_rounds=1,
        connections=2,
        long_dimension=32,
        long_records=30_000,
    ),
}


def run(scale: Scale) -> Section:
    """Measures."""
    plan = PLANS[scale]
    vectors = make_dataset(records=plan.records, dimension=plan.dimension, queries=1, neighbours=1).records
    rows: list[Row] = [(record_id(i), vector, {"number": i}) for i, vector in enumerate(vectors)]
    measured: list[dict[str, object]] = []
    notes = [
        "Sender, router and servers share the machine's processors. All ways replace a record that has the same id.",
        "A request of `upsert_many` ends at 512 KiB, or at as many rows as a transaction of `executemany` has.",
    ]
    with open_stage(callers=0) as stage, podroute.Client(stage.address) as client:
        client.wait_until_serving()
        plain: dict[str, Writer] = {
            EXECUTEMANY: Executemany(stage, batch=BATCH),
            DIRECT: Podroute(client, "direct", batch=BATCH),
            FDW: Podroute(client, "fdw", batch=BATCH),
        }
        try:
            plain[VECS] = _vecs(stage, vectors[: plan.vecs_records])
        except ChildFailed as error:
            notes.append(f"{VECS} was not measured: {error}")
        counts = {name: plan.vecs_records if name == VECS else plan.records for name in plain}
        measured += _rounds(stage, PLAIN, plain, {name: rows[:count] for name, count in counts.items()}, plan.rounds)

        several = SEVERAL.format(plan.connections)
        indexed: dict[str, Writer] = {
            EXECUTEMANY: Executemany(stage, batch=INDEXED_BATCH, indexed=True),
            several: Executemany(stage, batch=INDEXED_BATCH, indexed=True, connections=plan.connections),
            DIRECT: Podroute(client, "direct", batch=INDEXED_BATCH, indexed=True),
        }
        some = rows[: plan.indexed_records]
        measured += _rounds(stage, INDEXED, indexed, dict.fromkeys(indexed, some), plan.indexed_rounds)
        measured += _long_stream(stage, client, plan)
    return Section(
        name="ingest",
        title="Ingest",
        parameters={
            **asdict(plan),
            "batch": BATCH,
            "indexed_batch": INDEXED_BATCH,
            "index": "HNSW, m 16, ef_construction 64",
            "fsync": "off",
        },
        rows=measured,
        tables=[
            _rates(f"Rows/s, {plan.dimension} dimensions, no index but the primary key", measured, PLAIN),
            _rates(f"Rows/s, {plan.dimension} dimensions, HNSW index in place", measured, INDEXED),
            _memory(plan, measured),
        ],
        ratios=_ratios(measured, several),
        notes=notes,
    )


def _vecs(stage: Stage, vectors: Vectors) -> Vecs:
    file = stage.folder / "written.npy"
    np.save(file, vectors)
    return start_vecs(stage, str(file))


def _rounds(
    stage: Stage, part: str, writers: Mapping[str, Writer], rows: Mapping[str, Sequence[Row]], rounds: int
) -> list[dict[str, object]]:
    """All writers in turn; each round begins with another one."""
    for name, writer in writers.items():  # connections, statements, caches
        writer.write(rows[name][: min(BATCH, len(rows[name]) // 2)])
    measured: list[dict[str, object]] = []
    names = list(writers)
    for number in range(rounds):
        for name in names[number % len(names) :] + names[: number % len(names)]:
            before = Usage.now()
            seconds = writers[name].write(rows[name])
            after = Usage.now()
            count = len(rows[name])
            cpu = {
                "sender_cpu_us": after.of(writers[name].sender) - before.of(writers[name].sender),
                "router_cpu_us": after.of(stage.router.pid) - before.of(stage.router.pid),
                "postgres_cpu_us": after.below(stage.postgres) - before.below(stage.postgres),
            }
            measured.append(
                {
                    "part": part,
                    "case": name,
                    "round": number,
                    "rows": count,
                    "seconds": seconds,
                    "rows_per_s": count / seconds,
                    **{key: value * 1e6 / count for key, value in cpu.items()},
                    "others_cpu": after.others_since(before),
                }
            )
        tell(f"ingest, {part}: round {number + 1} of {rounds}")
    return measured


def _long_stream(stage: Stage, client: podroute.Client, plan: Plan) -> list[dict[str, object]]:
    """One `upsert_many` over DIRECT, and the router's memory meanwhile."""
    samples: list[dict[str, object]] = []
    vectors = make_dataset(records=10_000, dimension=plan.long_dimension, queries=1, neighbours=1).records

    def rows() -> Iterator[Row]:
        for i, vector in enumerate(itertools.islice(itertools.cycle(vectors), plan.long_records)):
            yield record_id(i), vector, {"number": i}

    def sample(written: int) -> None:
        if written * SAMPLES // plan.long_records > len(samples):
            taken = {"rows": written, "seconds": time.monotonic() - began, "rss_mib": _rss_mib(stage.router.pid)}
            samples.append({"part": LONG, "case": DIRECT, **taken})

    with empty_collection(client, dimension=plan.long_dimension) as name:
        began = time.monotonic()
        client.upsert_many(name, rows(), batch=BATCH, path="direct", on_progress=sample)
    tell(f"ingest, {LONG}: {plan.long_records:,} rows")
    return samples


def _rss_mib(pid: int) -> float:
    pages = int(Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def _series(rows: Sequence[Mapping[str, object]], part: str, case: str, key: str) -> list[float]:
    """The figures of a case in the order of the rounds."""
    found = sorted(
        (int(str(row["round"])), float(str(row[key]))) for row in rows if row["part"] == part and row["case"] == case
    )
    return [value for _, value in found]


def _over(rows: Sequence[Mapping[str, object]], part: str, case: str, peer: str) -> Figure | None:
    """Rows/s of a case divided by its peer's, round by round; None where the peer was not measured."""
    pairs = zip(_series(rows, part, case, "rows_per_s"), _series(rows, part, peer, "rows_per_s"), strict=False)
    ratios = [value / of_peer for value, of_peer in pairs]
    return Figure.of(ratios) if ratios else None


def _ratios(rows: Sequence[Mapping[str, object]], several: str) -> dict[str, Figure | float | None]:
    """By name; with the index, against the peer that does best."""
    best = max((EXECUTEMANY, several), key=lambda peer: Figure.of(_series(rows, INDEXED, peer, "rows_per_s")).median)
    early, late, _ = _long_memory(rows)
    return {
        "ingest_over_executemany": _over(rows, PLAIN, DIRECT, EXECUTEMANY),
        "ingest_over_vecs": _over(rows, PLAIN, DIRECT, VECS),
        "fdw_ingest_over_direct": _over(rows, PLAIN, FDW, DIRECT),
        "ingest_with_index_over_executemany": _over(rows, INDEXED, DIRECT, best),
        "rss_1m_over_100k": late / early,
    }


def _long_memory(rows: Sequence[Mapping[str, object]]) -> tuple[float, float, float]:
    """The router's RSS in the second tenth of the rows, in the last one, and the most of it; MiB."""
    samples = [(int(str(row["rows"])), float(str(row["rss_mib"]))) for row in rows if row["part"] == LONG]
    last = samples[-1][0]
    early = [rss for written, rss in samples if 0.1 * last <= written <= 0.2 * last]
    late = [rss for written, rss in samples if written >= 0.9 * last]
    return Figure.of(early).median, Figure.of(late).median, max(rss for _, rss in samples)


def _rates(title: str, rows: Sequence[Mapping[str, object]], part: str) -> Table:
    cells = []
    for case in dict.fromkeys(str(row["case"]) for row in rows if row["part"] == part):
        keys = (("rows_per_s", 0), ("sender_cpu_us", 1), ("router_cpu_us", 1), ("postgres_cpu_us", 1))
        cells.append([case, *(shown(Figure.of(_series(rows, part, case, key)), digits) for key, digits in keys)])
    return Table(
        title=title,
        header=("way", "rows/s", "sender CPU µs/row", "router CPU µs/row", "PostgreSQL CPU µs/row"),
        rows=cells,
        note="CPU times are those of making and removing the collection too, rows/s are not.",
    )


def _memory(plan: Plan, rows: Sequence[Mapping[str, object]]) -> Table:
    early, late, most = _long_memory(rows)
    last = [row for row in rows if row["part"] == LONG][-1]
    rate = float(str(last["rows"])) / float(str(last["seconds"]))
    return Table(
        title=f"One stream of {plan.long_records:,} rows, {plan.long_dimension} dimensions, DIRECT",
        header=("rows", "rows/s", "router's RSS in the second tenth, MiB", "in the last tenth, MiB", "most, MiB"),
        rows=[[f"{plan.long_records:,}", f"{rate:,.0f}", f"{early:.1f}", f"{late:.1f}", f"{most:.1f}"]],
    )


def plot(section: Section, folder: Path) -> list[Path]:
    """Rows/s of each way, and the long stream's memory and progress."""
    file = folder / "ingest.png"
    with plots.drawn(file, columns=2, width=11) as (bars, memory):
        cases = list(dict.fromkeys(str(row["case"]) for row in section.rows if row["part"] == PLAIN))
        rates = [Figure.of(_series(section.rows, PLAIN, case, "rows_per_s")).median for case in cases]
        bars.barh(cases[::-1], rates[::-1], color=[plots.colour(case) for case in cases[::-1]])
        bars.set_xlabel("rows/s")
        bars.set_title("Ingest, no index but the primary key")
        samples = [row for row in section.rows if row["part"] == LONG]
        written = [float(str(row["rows"])) / 1e3 for row in samples]
        memory.plot(written, [float(str(row["rss_mib"])) for row in samples], color=plots.colour(DIRECT))
        memory.set_ylim(bottom=0)
        memory.set_xlabel("rows written, thousands")
        memory.set_ylabel("the router's RSS, MiB")
        memory.set_title("One stream")
    return [file]
