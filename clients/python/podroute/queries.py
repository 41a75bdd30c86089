"""Calls as values: queries for batches, and what can be explained."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import KW_ONLY, dataclass

from podroute.filters import FilterDict
from podroute.values import IterativeScan, Metric, Path, VectorLike


@dataclass(frozen=True, slots=True)
class Query:
    """A query, of a batch or to explain. Its fields are the arguments of `Client.query`."""

    collection: str
    vector: VectorLike | None = None
    _: KW_ONLY
    id: str | None = None
    limit: int = 10
    filter: FilterDict | None = None
    metric: Metric | None = None
    exact: bool = False
    ef_search: int | None = None
    probes: int | None = None
    iterative_scan: IterativeScan | None = None
    max_scan_tuples: int | None = None
    max_distance: float | None = None
    include_metadata: bool = False
    metadata_keys: Sequence[str] | None = None
    include_vector: bool = False
    path: Path | None = None


@dataclass(frozen=True, slots=True)
class Count:
    """A count to explain. Its fields are the arguments of `Client.count`."""

    collection: str
    _: KW_ONLY
    filter: FilterDict | None = None
    path: Path | None = None


@dataclass(frozen=True, slots=True)
class Delete:
    """A deletion to explain. Its fields are arguments of `Client.delete`."""

    collection: str
    _: KW_ONLY
    ids: Iterable[str] | None = None
    filter: FilterDict | None = None
    path: Path | None = None
