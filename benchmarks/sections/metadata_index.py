"""What an index of metadata costs writes, and what it gives to the calls that it serves."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass

import podroute

from benchmarks.data import Dataset, make_dataset, record_id
from benchmarks.measuring import Figure
from benchmarks.output import shown
from benchmarks.progress import tell
from benchmarks.section import Scale, Section, Table
from benchmarks.stage import POD, open_stage

LIMIT = 10
BINS = 100
"""One record in so many has what a filter asks for."""
KINDS: Mapping[str, Sequence[podroute.IndexMethod]] = {
    "none": (),
    "GIN": ("metadata_gin",),
    "HNSW": ("hnsw",),
    "HNSW and GIN": ("hnsw", "metadata_gin"),
}
"""The indexes of each collection."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What is measured, and how often."""

    records: int
    dimension: int
    written: int
    """Records an upsert, and of an update."""
    rounds: int


PLANS = {
    Scale.FULL: Plan(records=50_000, dimension=384, written=1_000, rounds=7),
    Scale.SMOKE: Plan(records=2_000, dimension=64, written=100, rounds=2),
}


def run(scale: Scale) -> Section:
    """Measures."""
    plan = PLANS[scale]
    spare = plan.written * (plan.rounds + 1)
    dataset = make_dataset(records=plan.records + spare, dimension=plan.dimension, queries=2, neighbours=LIMIT)
    rows: list[dict[str, object]] = []
    with open_stage(callers=0) as stage, podroute.Client(stage.address, timeout_s=120.0) as client:
        client.wait_until_serving()
        for kind, methods in KINDS.items():
            tell(f"filling a collection with indexes: {kind}")
            name = _name(kind)
            client.create_collection(name, dimension=plan.dimension, pod=POD)
            client.upsert_many(name, (_record(dataset, i) for i in range(plan.records)))
            for method in methods:
                client.create_index(name, method=method)
        for number in range(-1, plan.rounds):  # the first warms up
            for kind in KINDS:  # in turn: what else the machine does falls on all alike
                for call, seconds in _timed(client, _name(kind), dataset, plan, number + 1):
                    if number >= 0:
                        rows.append({"indexes": kind, "call": call, "round": number, "ms": seconds * 1000})
            tell(f"round {number + 1} of {plan.rounds}")
    return Section(
        name="metadata_index",
        title="An index of metadata",
        parameters={**asdict(plan), "path": "DIRECT", "callers": 1, "filter": f"one record in {BINS}"},
        rows=rows,
        tables=[_table(plan, rows)],
    )


def _name(kind: str) -> str:
    return kind.lower().replace(" ", "_")


def _record(dataset: Dataset, position: int) -> podroute.Record:
    """With metadata as a text's passage has it."""
    return podroute.Record(
        id=record_id(position),
        vector=dataset.records[position].tolist(),
        metadata={
            "bin": position % BINS,
            "source": f"https://example.org/pages/{position // 10}",
            "language": ("en", "de", "fr")[position % 3],
            "tags": [f"tag{position % 17}", f"tag{position % 29}"],
            "year": 1990 + position % 35,
        },
    )


def _timed(
    client: podroute.Client, name: str, dataset: Dataset, plan: Plan, number: int
) -> Iterator[tuple[str, float]]:
    """What each kind of call took, in seconds. What is written is taken away again."""
    first = plan.records + number * plan.written
    new = [_record(dataset, i) for i in range(first, first + plan.written)]
    here = {"bin": number % BINS}
    standing = [record_id(i) for i in range(number * plan.written, (number + 1) * plan.written)]
    calls: dict[str, Callable[[], object]] = {
        "Upsert of new records": lambda: client.upsert(name, new, path="direct"),
        "Upsert of the same again": lambda: client.upsert(name, new, path="direct"),
        "UpdateMetadata by ids": lambda: client.update_metadata(name, {"seen": number}, ids=standing, path="direct"),
        "Count by filter": lambda: client.count(name, filter=here, path="direct"),
        "exact Query with a filter": lambda: client.query(
            name, dataset.queries[0], limit=LIMIT, filter=here, exact=True, path="direct"
        ),
        "Query with a filter": lambda: client.query(name, dataset.queries[0], limit=LIMIT, filter=here, path="direct"),
        "Delete by ids": lambda: client.delete(name, ids=[record.id for record in new], path="direct"),
    }
    for call, act in calls.items():
        began = time.perf_counter()
        act()
        yield call, time.perf_counter() - began


def _table(plan: Plan, rows: Sequence[Mapping[str, object]]) -> Table:
    def cell(call: str, kind: str) -> str:
        return shown(
            Figure.of([float(str(row["ms"])) for row in rows if (row["call"], row["indexes"]) == (call, kind)]), 1
        )

    calls = list(dict.fromkeys(str(row["call"]) for row in rows))
    return Table(
        title=f"ms a call, {plan.records:,} x {plan.dimension}, {plan.written:,} records a write",
        header=("call", *(f"indexes: {kind}" for kind in KINDS)),
        rows=[(call, *(cell(call, kind) for kind in KINDS)) for call in calls],
        note=f"Medians of {plan.rounds} rounds; the collections are asked in turn. A filter lets 1 % through.",
    )
