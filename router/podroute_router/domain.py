"""The words of the core as immutable values."""

from __future__ import annotations

import time
from collections.abc import Mapping
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
    """Where a collection's records are: a table on a pod. `generation` grows when it is made anew or moves."""

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


class IterativeScan(Enum):
    """How an index scan goes on where its first candidates hold fewer than `limit` matches: not at all, in exact or in
    about the order of the distance.
    """

    OFF = "off"
    STRICT = "strict"
    RELAXED = "relaxed"


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchParams:
    """How an approximate index is searched. None leaves the pod's setting."""

    exact: bool = False
    ef_search: int | None = None
    probes: int | None = None
    iterative_scan: IterativeScan = IterativeScan.RELAXED
    max_scan_tuples: int | None = None

    @property
    def limits_scan(self) -> bool:
        """True where the search may stop before it has found as many as there are: the caller set it a bound."""
        bounded = self.iterative_scan is IterativeScan.OFF or self.max_scan_tuples is not None
        return bounded and not self.exact


class IncompleteReason(Enum):
    """Why a query may have missed matches."""

    TIMED_OUT = "timed_out"
    """The index stopped short, and the exact pass after it ran out of time."""
    SCAN_LIMITED = "scan_limited"
    """The index stopped short where the search parameters had it stop."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Search:
    """What a caller asks to find: neighbours of a vector, or of the record with an id. None leaves the default.

    `metadata_keys`: as of `Query`.
    """

    target: Vector | str
    limit: int
    metric: Metric | None = None
    filter: Filter | None = None
    params: SearchParams = field(default_factory=SearchParams)
    max_distance: float | None = None
    include_metadata: bool = False
    metadata_keys: tuple[str, ...] = ()
    include_vector: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """What a backend is asked to find: the `limit` records nearest to `vector` among those that match `filter`.

    `metadata_keys`, where there are any, go with `include_metadata`: only these top-level keys are wanted of each
    metadata, as far as it has them. They are distinct.
    """

    vector: Vector
    limit: int
    metric: Metric
    filter: Filter | None = None
    params: SearchParams = field(default_factory=SearchParams)
    include_metadata: bool = False
    metadata_keys: tuple[str, ...] = ()
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
    """Matches in any order. `incomplete_reason`: why more may exist where fewer than `limit` came; None: none do."""

    matches: list[Match]
    incomplete_reason: IncompleteReason | None = None

    @property
    def complete(self) -> bool:
        """True where the matches are all that was asked for."""
        return self.incomplete_reason is None


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """Which records: those with the ids, or else those that match the filter. Exactly one is given."""

    ids: tuple[str, ...] | None = None
    filter: Filter | None = None


class UpsertMode(Enum):
    """Which records an upsert writes: all, those whose ids are new, or those whose ids exist."""

    REPLACE = "replace"
    INSERT_ONLY = "insert_only"
    UPDATE_ONLY = "update_only"


class UpdateMode(Enum):
    """What becomes of the metadata that a record has: top-level keys are set, or all of it is replaced."""

    MERGE = "merge"
    REPLACE = "replace"


@dataclass(frozen=True, slots=True, kw_only=True)
class MetadataUpdate:
    """New metadata, the text of a JSON object, for the records selected."""

    selection: Selection
    metadata: str
    mode: UpdateMode


@dataclass(frozen=True, slots=True, kw_only=True)
class ScanPage:
    """The `limit` records that come after the id `after`, among those that match; no id comes before the empty one."""

    after: str
    limit: int
    filter: Filter | None = None
    include_metadata: bool = False
    include_vector: bool = False


class ScannedRecord(NamedTuple):
    """One record of a scan. `metadata` is None and `vector` is None unless they were asked for."""

    id: str
    metadata: str | None = None
    vector: Vector | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Hnsw:
    """Parameters of an HNSW index. None leaves pgvector's default."""

    m: int | None = None
    ef_construction: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class IvfFlat:
    """Parameters of an IVFFlat index. None leaves the number of lists to the number of records."""

    lists: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class MetadataGin:
    """A GIN index of all metadata. It has no parameters and no metric."""


IndexMethod = Hnsw | IvfFlat | MetadataGin


@dataclass(frozen=True, slots=True, kw_only=True)
class WantedIndex:
    """An index to build.

    `metric`: None where it is of metadata. `replace`: it is built whatever stands, and then takes the place of the
    valid ones of its metric, or of the metadata.
    """

    metric: Metric | None
    method: IndexMethod = field(default_factory=Hnsw)
    replace: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class IndexProgress:
    """How far a build is; `blocks_total` is 0 where PostgreSQL does not know."""

    phase: str
    blocks_done: int
    blocks_total: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Index:
    """An index that stands; parameters are never None.

    `metric` is None where it is not of vectors, `method` where it is of a kind that serves no call.
    `size_bytes`: on the pod's disk. `valid`: it serves queries; else its build goes on, or was cut off.
    """

    name: str
    metric: Metric | None
    method: IndexMethod | None
    size_bytes: int
    valid: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """What an administrator should know of a table, or of a call.

    `blocking`: it keeps the table from being adopted, or the call from being served.
    """

    reason: str
    message: str
    blocking: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundTable:
    """A table that may be adopted. `dimension` is 0 where no column tells; findings that block come first."""

    name: str
    dimension: int
    record_estimate: int
    indexes: tuple[Index, ...] = ()
    findings: tuple[Finding, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Counting:
    """What a count asks for: the records that match the filter, or all."""

    filter: Filter | None = None


Explainable = Query | Counting | Selection
"""What can be explained: a query, a count, or the deletion of a selection."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """How a call is run. `sql` and `remote_sql` are empty where there is none; `plan` is text for a person.

    `settings` go before the statement, for this call alone. `remote_sql` is what the primary sends to the pod.
    """

    sql: str
    plan: str
    settings: Mapping[str, str] = field(default_factory=dict)
    remote_sql: tuple[str, ...] = ()
    findings: tuple[Finding, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """The way a call was served. `on_primary`: the pod is the primary database itself."""

    path: AccessPath
    pods: tuple[str, ...]
    map_revision: int
    on_primary: bool
