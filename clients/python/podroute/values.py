"""What callers pass and receive, as immutable values."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol, TypeAlias, cast

Path: TypeAlias = Literal["auto", "direct", "fdw"]
"""The way from the router to a collection; auto: the router chooses."""

Metric: TypeAlias = Literal["cosine", "l2", "inner_product", "l1"]
"""How the distance between two vectors is measured, as pgvector defines it."""

IndexMethod: TypeAlias = Literal["hnsw", "ivfflat", "metadata_gin"]
"""The kind of an index: two of vectors, one of metadata."""

Unknown: TypeAlias = Literal["unknown"]
"""What a newer router says in words that this client does not have."""

IterativeScan: TypeAlias = Literal["off", "strict", "relaxed"]
"""How an index scan goes on where its first candidates hold fewer than `limit` matches: not at all, in exact, or in
about the order of the distance."""

IncompleteReason: TypeAlias = Literal["timed_out", "scan_limited"]
"""Why a query may have missed matches."""

PodState: TypeAlias = Literal["unknown", "serving", "unreachable", "unconfigured"]
"""What the router knows of a pod; unconfigured: it has no address for it."""


class ArrayLike(Protocol):
    """What turns itself into a list: a numpy array, an array.array, a torch tensor on the CPU."""

    def tolist(self) -> Any:
        """The components as Python numbers."""


VectorLike: TypeAlias = Sequence[float] | ArrayLike
"""The components of a vector: shape (dimension,)."""


@dataclass(frozen=True, slots=True, init=False)
class Record:
    """What a collection stores.

    Args:
        id: 1 to 1024 bytes of UTF-8, unique in its collection.
        vector: the components, shape (dimension,); stored as float32. Results hold a list of floats.
        metadata: a JSON object. Integers are exact whatever their size; other numbers become floats when read.
    """

    id: str
    vector: Sequence[float]
    metadata: Mapping[str, Any]

    def __init__(self, id: str, vector: VectorLike, metadata: Mapping[str, Any] | None = None) -> None:
        object.__setattr__(self, "id", id)
        object.__setattr__(self, "vector", components(vector))
        object.__setattr__(self, "metadata", {} if metadata is None else metadata)


RecordLike: TypeAlias = Record | tuple[str, VectorLike, Mapping[str, Any] | None]
"""A record, or its id, vector and metadata as a tuple."""


def components(vector: VectorLike) -> Sequence[float]:
    """The components as a sequence of Python numbers; an array is converted at once, a sequence is kept."""
    tolist: Callable[[], Sequence[float]] | None = getattr(vector, "tolist", None)
    return tolist() if tolist is not None else cast("Sequence[float]", vector)


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """The way a call was served.

    Attributes:
        path: direct or fdw.
        pods: the pods that served the call.
        map_revision: revision of the shard map that the router routed by.
        on_primary: True where the pod is the primary database itself.
    """

    path: Path | Unknown
    pods: tuple[str, ...]
    map_revision: int
    on_primary: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Match:
    """One neighbour. `metadata` and `vector` are None unless they were asked for.

    `distance` is in the metric's unit; NaN where cosine meets a vector of zeros.
    """

    id: str
    distance: float
    metadata: dict[str, Any] | None = None
    vector: list[float] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class QueryResult:
    """Matches, nearest first. `complete` is False where fewer than `limit` were found and more may exist.

    `incomplete_reason` says why: `timed_out`, or `scan_limited` by `iterative_scan` or `max_scan_tuples` of the query.
    """

    matches: tuple[Match, ...]
    route: Route
    complete: bool
    incomplete_reason: IncompleteReason | Unknown | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class FetchResult:
    """The records found, in the order asked for, and the ids that no record has."""

    records: tuple[Record, ...]
    missing_ids: tuple[str, ...]
    route: Route


@dataclass(frozen=True, slots=True, kw_only=True)
class UpsertResult:
    """How many records were written: the distinct ids of the request, as far as its mode lets them be written."""

    upserted_count: int
    route: Route


@dataclass(frozen=True, slots=True, kw_only=True)
class UpsertManyResult:
    """How many records were acknowledged, and the way that the last of them went.

    All of them are stored, but for those that a mode leaves out.
    """

    record_count: int
    route: Route


UpsertMode: TypeAlias = Literal["replace", "insert_only", "update_only"]
"""Which records an upsert writes: all, those whose ids are new, or those whose ids exist."""

UpdateMode: TypeAlias = Literal["merge", "replace"]
"""What becomes of the metadata that a record has: its top-level keys are set, or all of it is replaced."""


@dataclass(frozen=True, slots=True, kw_only=True)
class UpdateMetadataResult:
    """How many records were updated, those included whose metadata was so already."""

    updated_count: int
    route: Route


@dataclass(frozen=True, slots=True, kw_only=True)
class ScannedRecord:
    """One record of a scan. `metadata` and `vector` are None unless they were asked for."""

    id: str
    metadata: dict[str, Any] | None = None
    vector: list[float] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class DeleteResult:
    """How many records were deleted, and their ids in code-point order, where these were asked for."""

    deleted_count: int
    deleted_ids: tuple[str, ...] = ()
    route: Route


@dataclass(frozen=True, slots=True, kw_only=True)
class CountResult:
    """How many records there are."""

    count: int
    route: Route


@dataclass(frozen=True, slots=True, kw_only=True)
class Placement:
    """Where a collection's records are: a table on a pod. `generation` grows when it is made anew or moves."""

    pod: str
    table_schema: str
    table_name: str
    generation: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Collection:
    """A named set of records of one dimension; `metric` is that of queries that name none."""

    name: str
    dimension: int
    metric: Metric | Unknown
    placement: Placement


@dataclass(frozen=True, slots=True, kw_only=True)
class IndexProgress:
    """How far a build is, in blocks of the table; `blocks_total` is 0 where PostgreSQL does not know."""

    phase: str
    blocks_done: int
    blocks_total: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Index:
    """An index of a collection, with the parameters that its method has; `unknown` where it is of another kind.

    `metric` is `unknown` where it is not of vectors.
    `size_bytes`: on the pod's disk. `valid`: it serves queries; else its build goes on, or was cut off.
    """

    name: str
    metric: Metric | Unknown
    method: IndexMethod | Unknown
    m: int | None = None
    ef_construction: int | None = None
    lists: int | None = None
    size_bytes: int
    valid: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """What an administrator should know of a table, or of a call.

    `blocking`: the table cannot be adopted as it is, or the call is refused.
    """

    reason: str
    message: str
    blocking: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class AdoptableTable:
    """A table that is no collection yet; `dimension` is 0 where it has no column that says so."""

    table_name: str
    dimension: int
    record_estimate: int
    findings: tuple[Finding, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class AdoptedCollection:
    """A collection that was a table, or would be: what a dry run finds has generation 0."""

    collection: Collection
    record_estimate: int
    indexes: tuple[Index, ...]
    findings: tuple[Finding, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """How the router runs a call.

    Attributes:
        sql: what the router sends, with parameters as $1, $2 …; empty where the backend has no SQL.
        settings: set before it, for this call alone.
        remote_sql: what the primary sends to the pod; empty where the pod is reached without postgres_fdw.
        plan: as EXPLAIN VERBOSE prints it, of the database that the router is connected to.
        findings: what is not pushed down to the pod, and what reads every record.
        route: the way that the call would go.
    """

    sql: str
    settings: Mapping[str, str]
    remote_sql: tuple[str, ...]
    plan: str
    findings: tuple[Finding, ...]
    route: Route


ColumnType: TypeAlias = Literal["text", "bigint", "double precision", "boolean", "timestamptz", "jsonb"]
"""The type of a column in SQL. A value of the metadata that is none of the type is null there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ExposedColumn:
    """A part of the metadata as a column of a view.

    `path`: keys from the top of the metadata downwards; none: the column's name. `indexed`: the pod keeps an index of
    it, which costs every write a little.
    """

    name: str
    type: ColumnType | Unknown = "text"
    path: tuple[str, ...] = ()
    indexed: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Exposure:
    """A view of a collection for SQL: `id`, `embedding` and `metadata`, then the columns. `roles` may read it."""

    collection: str
    view_schema: str
    view_name: str
    columns: tuple[ExposedColumn, ...]
    roles: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ShardMap:
    """What the router routes by. Two routers that hold the same revision hold the same map."""

    revision: int
    pods: tuple[str, ...]
    collections: tuple[Collection, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Pod:
    """A PostgreSQL database that stores collections; `state` is as of the router's last probe, about a second ago."""

    name: str
    state: PodState
    collection_count: int
    on_primary: bool
