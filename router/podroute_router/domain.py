"""The words of the core as immutable values."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from podroute_router.filters import Filter

Vector = NDArray[np.float32]
"""The components of a vector: shape (dimension,), float32, finite."""


class AccessPath(Enum):
    """The way from the router to a collection."""

    AUTO = "auto"
    DIRECT = "direct"
    FDW = "fdw"


class Metric(Enum):
    """How the distance between two vectors is measured, as pgvector defines it."""

    COSINE = "cosine"
    L2 = "l2"
    INNER_PRODUCT = "inner_product"
    L1 = "l1"


@dataclass(frozen=True, slots=True)
class Deadline:
    """The moment by which a call must have been answered, on the monotonic clock."""

    at: float

    @classmethod
    def after(cls, seconds: float) -> Deadline:
        """The moment that lies `seconds` ahead."""
        return cls(time.monotonic() + seconds)

    def remaining_s(self) -> float:
        """Seconds left; never negative."""
        return max(0.0, self.at - time.monotonic())


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """What a collection stores. `metadata` is the text of a JSON object."""

    id: str
    vector: Vector
    metadata: str = "{}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Placement:
    """Where a collection's records are: a table on a pod. `generation` grows when the collection moves."""

    pod: str
    schema: str
    table: str
    generation: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Collection:
    """A named set of records of one dimension; `metric` is that of queries that name none."""

    name: str
    dimension: int
    metric: Metric
    placement: Placement


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchParams:
    """How an approximate index is searched. None leaves the pod's setting."""

    exact: bool = False
    ef_search: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Search:
    """What a caller asks to find: neighbours of a vector, or of the record with an id. None leaves the default."""

    target: Vector | str
    limit: int
    metric: Metric | None = None
    filter: Filter | None = None
    params: SearchParams = field(default_factory=SearchParams)
    max_distance: float | None = None
    include_metadata: bool = False
    include_vector: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """What a backend is asked to find: the `limit` records nearest to `vector` among those that match `filter`."""

    vector: Vector
    limit: int
    metric: Metric
    filter: Filter | None = None
    params: SearchParams = field(default_factory=SearchParams)
    include_metadata: bool = False
    include_vector: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class PlainQuery:
    """A query for the nearest records and nothing else: no filter, no search parameters, no vectors in the answer."""

    limit: int
    metric: Metric
    include_metadata: bool


class Match(NamedTuple):
    """One neighbour. `metadata` is None and `vector` is None unless they were asked for."""

    id: str
    distance: float
    metadata: str | None = None
    vector: Vector | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class QueryResult:
    """Matches in no promised order among ties. `complete` is False where fewer than `limit` came and more may exist."""

    matches: list[Match]
    complete: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """Which records: those with the ids, or else those that match the filter. Exactly one is given."""

    ids: tuple[str, ...] | None = None
    filter: Filter | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class HnswIndex:
    """An HNSW index to build. None leaves pgvector's default."""

    metric: Metric
    m: int | None = None
    ef_construction: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class IndexProgress:
    """How far a build is; `blocks_total` is 0 where PostgreSQL does not know."""

    phase: str
    blocks_done: int
    blocks_total: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Index:
    """An index that serves queries of its metric."""

    name: str
    metric: Metric


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """The way a call was served. `on_primary`: the pod is the primary database itself."""

    path: AccessPath
    pods: tuple[str, ...]
    map_revision: int
    on_primary: bool
