"""What a query with a filter finds of what is there, by how many records the filter lets through, on both paths."""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import podroute

from benchmarks.data import Dataset, make_dataset, record_id
from benchmarks.progress import tell
from benchmarks.section import Scale, Section, Table
from benchmarks.stage import open_stage

LIMIT = 10
SELECTIVITIES = {"1 %": 100, "10 %": 10, "50 %": 2}
"""One record in so many has what the filter asks for. It has nothing to do with the vectors."""
PATHS = {"DIRECT": "direct", "FDW": "fdw"}
WAYS: dict[str, dict[str, Any]] = {
    "as it is": {},
    "ef_search 200": {"ef_search": 200},
    "strict": {"iterative_scan": "strict"},
    "no iterative scan": {"iterative_scan": "off"},
    "exact": {"exact": True},
}
"""What a query says of how to search."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What is measured."""

    records: int
    dimension: int
    queries: int


PLANS = {
    Scale.FULL: Plan(records=100_000, dimension=384, queries=200),
    Scale.SMOKE: Plan(records=2_000, dimension=64, queries=20),
}


def run(scale: Scale) -> Section:
    """Measures."""
    plan = PLANS[scale]
    dataset = make_dataset(records=plan.records, dimension=plan.dimension, queries=plan.queries, neighbours=LIMIT)
    with open_stage(callers=0) as stage:
        tell(f"filling {plan.records:,} x {plan.dimension} and building its index")
        filled = stage.fill("filtered", dataset, limit=LIMIT, metadata=_metadata)
        with podroute.Client(stage.address) as client:
            rows = list(_measure(client, filled.name, dataset))
    return Section(
        name="filtered",
        title="Recall with a filter",
        parameters={
            **asdict(plan),
            "limit": LIMIT,
            "index": "HNSW, m 16, ef_construction 64",
            "filter": '{"of_100": 0}, {"of_10": 0}, {"of_2": 0}: independent of the vectors',
            "callers": 1,
        },
        rows=rows,
        tables=[_table(plan, rows)],
    )


def _metadata(position: int) -> Mapping[str, object]:
    return {f"of_{every}": position % every for every in SELECTIVITIES.values()}


def _measure(client: podroute.Client, collection: str, dataset: Dataset) -> Iterator[dict[str, object]]:
    for selectivity, every in SELECTIVITIES.items():
        truth = _nearest_of(dataset, every)
        for path, of_path in PATHS.items():
            for way, arguments in WAYS.items():
                asked = {"filter": {f"of_{every}": 0}, "limit": LIMIT, "path": of_path, **arguments}
                client.query(collection, dataset.queries[0], **asked)  # prepares the statement
                yield {"selectivity": selectivity, "path": path, "way": way} | _asked(
                    client, collection, dataset, truth, asked
                )
        tell(f"{selectivity} measured")


def _asked(
    client: podroute.Client, collection: str, dataset: Dataset, truth: Sequence[set[str]], asked: Mapping[str, Any]
) -> dict[str, object]:
    """Each query once, one after the other."""
    took_ms, found, full, complete = [], 0, 0, 0
    for query, nearest in zip(dataset.queries, truth, strict=True):
        began = time.perf_counter()
        result = client.query(collection, query, **asked)
        took_ms.append((time.perf_counter() - began) * 1000)
        found += len(nearest & {match.id for match in result.matches})
        full += len(result.matches) == LIMIT
        complete += result.complete
    queries = len(dataset.queries)
    return {
        "recall": found / (LIMIT * queries),
        "full": full / queries,
        "complete": complete / queries,
        "p50_ms": statistics.median(took_ms),
        "p95_ms": float(np.percentile(took_ms, 95)),
    }


def _nearest_of(dataset: Dataset, every: int) -> list[set[str]]:
    """The ids of the records nearest to each query by cosine distance, among those that the filter lets through."""
    positions = np.arange(0, len(dataset.records), every)
    chosen = dataset.records[positions].astype(np.float64)
    chosen /= np.linalg.norm(chosen, axis=1, keepdims=True)
    likeness = dataset.queries.astype(np.float64) @ chosen.T
    nearest = np.argpartition(-likeness, LIMIT - 1, axis=1)[:, :LIMIT]
    return [{record_id(int(positions[i])) for i in row} for row in nearest]


def _table(plan: Plan, rows: Sequence[Mapping[str, Any]]) -> Table:
    return Table(
        title=f"Recall@{LIMIT} with a filter against exact search, {plan.records:,} x {plan.dimension}",
        header=("filter lets through", "path", "search", f"recall@{LIMIT}", f"{LIMIT} found", "p50 ms", "p95 ms"),
        rows=[
            (
                row["selectivity"],
                row["path"],
                row["way"],
                f"{row['recall']:.3f}",
                f"{row['full']:.0%}",
                f"{row['p50_ms']:.1f}",
                f"{row['p95_ms']:.1f}",
            )
            for row in rows
        ],
        note=(
            f"{plan.queries} queries, one after the other, by the Python client. As it is: a relaxed iterative scan, "
            "and an exact pass where that stops short. The filter has nothing to do with the vectors; one that lets "
            "through what is far from the query is harder for every index."
        ),
    )
