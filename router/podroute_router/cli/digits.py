"""The demo's work: scikit-learn's handwritten digits in two collections, searched along both paths by the client."""

from __future__ import annotations

import asyncio
import math
import statistics
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Any, Final

import podroute
from podroute.filters import FilterDict

PATHS: Final[tuple[podroute.Path, podroute.Path]] = ("direct", "fdw")
LIMIT: Final = 4
JUDGED: Final = 200
"""Digits whose neighbours are judged and compared."""

TIMED_CALLS: Final = 15
_IN_FLIGHT: Final = 8
_THOROUGH: Final = 200
"""Candidates of a search whose answer is compared: PostgreSQL may use the index for one path and read the whole table
for the other, and what an index misses is no difference between the paths."""
_ROUNDING: Final = 1e-6


class DataMissing(Exception):
    """The digits are not installed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """A collection of the demo: where it goes, by which path it is filled, and what is asked of it.

    Attributes:
        name, pod, metric: of the collection.
        written_by: the access path of its upserts.
        shown: index of the digit whose neighbours the table shows.
        filter: of the queries that have one; `filter_text` says it for people.
    """

    name: str
    pod: str
    metric: podroute.Metric
    written_by: podroute.Path
    shown: int
    filter: FilterDict
    filter_text: str


PLANS: Final = (
    Plan(
        name="digits",
        pod="alpha",
        metric="cosine",
        written_by="direct",
        shown=1796,
        filter={"label": {"$ne": 8}},
        filter_text="label != 8",
    ),
    Plan(
        name="digits_l2",
        pod="beta",
        metric="l2",
        written_by="fdw",
        shown=33,
        filter={"index": {"$gte": 900}},
        filter_text="index >= 900",
    ),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """One row of the table: the neighbours of a digit, and the median time of a call in milliseconds."""

    plan: Plan
    label: int
    is_filtered: bool
    result: podroute.QueryResult
    milliseconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """How a collection answers: the share of right labels by path, and on how many of the queries the paths differ."""

    plan: Plan
    right: Mapping[podroute.Path, float]
    compared: int
    differing: int


def load_digits() -> list[podroute.Record]:
    """The 1,797 digits: 64 grey values of 0 to 16 each, with the digit that was meant, and its index.

    Raises:
        DataMissing: scikit-learn is not installed.
    """
    try:
        datasets = import_module("sklearn.datasets")
    except ModuleNotFoundError as error:
        raise DataMissing("the demo's digits are scikit-learn's: pip install scikit-learn") from error
    digits: Any = datasets.load_digits()
    return [
        podroute.Record(str(index), pixels, {"label": int(label), "index": index})
        for index, (pixels, label) in enumerate(zip(digits.data, digits.target, strict=True))
    ]


async def fill(client: podroute.AsyncClient, plan: Plan, records: Sequence[podroute.Record]) -> podroute.UpsertResult:
    """Makes the collection and upserts the records."""
    await client.create_collection(plan.name, len(records[0].vector), metric=plan.metric, pod=plan.pod)
    return await client.upsert(plan.name, records, path=plan.written_by)


async def ask(client: podroute.AsyncClient, plan: Plan, records: Sequence[podroute.Record]) -> list[Answer]:
    """The neighbours of the digit shown, along both paths, without and with the filter."""
    label = records[plan.shown].metadata["label"]
    answers = []
    for spec in (None, plan.filter):
        for path in PATHS:
            result = await _neighbours(client, plan, plan.shown, path, spec)
            seconds = []
            for _ in range(TIMED_CALLS):
                started = time.perf_counter()
                await _neighbours(client, plan, plan.shown, path, spec)
                seconds.append(time.perf_counter() - started)
            median_ms = statistics.median(seconds) * 1000
            answers.append(
                Answer(plan=plan, label=label, is_filtered=spec is not None, result=result, milliseconds=median_ms)
            )
    return answers


async def judge(client: podroute.AsyncClient, plan: Plan, records: Sequence[podroute.Record]) -> Judgement:
    """Searches along both paths, without and with the filter, for the neighbours of digits spread over the data."""
    queries = [len(records) * number // JUDGED for number in range(JUDGED)]
    labels = {record.id: record.metadata["label"] for record in records}
    asking = asyncio.Semaphore(_IN_FLIGHT)

    async def along(path: podroute.Path, spec: FilterDict | None) -> list[podroute.QueryResult]:
        async def one(index: int) -> podroute.QueryResult:
            async with asking:
                return await _neighbours(client, plan, index, path, spec, ef_search=_THOROUGH)

        return await asyncio.gather(*map(one, queries))

    plain = {path: await along(path, None) for path in PATHS}
    filtered = {path: await along(path, plan.filter) for path in PATHS}
    differing = sum(
        not agree(*pair) for found in (plain, filtered) for pair in zip(*(found[path] for path in PATHS), strict=True)
    )
    wanted = [records[index].metadata["label"] for index in queries]
    return Judgement(
        plan=plan,
        right={path: right_share(wanted, plain[path], labels) for path in PATHS},
        compared=2 * JUDGED,
        differing=differing,
    )


def agree(one: podroute.QueryResult, other: podroute.QueryResult) -> bool:
    """True where both hold the same neighbours in the same order at the same distances, but for rounding.

    Of several records that are as far as the last neighbour, either path may take any: that is no difference.
    """
    mine, theirs = ({match.id: match.distance for match in result.matches} for result in (one, other))
    if len(mine) != len(theirs) or not all(map(_close, mine.values(), theirs.values())):
        return False
    if not all(_close(mine[shared], theirs[shared]) for shared in mine.keys() & theirs.keys()):
        return False
    last = max(mine.values(), default=0.0)
    return all(_close((mine | theirs)[single], last) for single in mine.keys() ^ theirs.keys())


def right_share(wanted: Sequence[int], results: Iterable[podroute.QueryResult], labels: Mapping[str, int]) -> float:
    """The share, of all neighbours, of those with the label of the digit that they are neighbours of."""
    hits = [
        labels[match.id] == label for label, result in zip(wanted, results, strict=True) for match in result.matches
    ]
    return sum(hits) / len(hits) if hits else 0.0


async def _neighbours(
    client: podroute.AsyncClient,
    plan: Plan,
    index: int,
    path: podroute.Path,
    spec: FilterDict | None,
    *,
    ef_search: int | None = None,
) -> podroute.QueryResult:
    return await client.query(
        plan.name,
        id=str(index),
        limit=LIMIT,
        filter=spec,
        ef_search=ef_search,
        include_metadata=True,
        path=path,
    )


def _close(distance: float, other: float) -> bool:
    return math.isclose(distance, other, rel_tol=_ROUNDING, abs_tol=_ROUNDING)
