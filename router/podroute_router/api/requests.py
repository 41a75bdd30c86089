"""Requests of the contract as values of the core. Pure; raises InvalidArgument that names the field at fault.

What needs the collection (its dimension, its metric) is the engine's to check.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Final

import numpy as np
from podroute.v1 import collection_service_pb2, record_pb2, route_pb2, vector_service_pb2

from podroute_router.api.filter_requests import to_filter
from podroute_router.config import Limits
from podroute_router.domain import AccessPath, Metric, Record, Search, SearchParams, Selection, Vector
from podroute_router.errors import InvalidArgument
from podroute_router.metadata import check_metadata
from podroute_router.names import check_pod_name, check_record_id

MAX_DIMENSION = 16_000
MAX_EF_SEARCH = 1000
MAX_PAGE_SIZE = 1000
DEFAULT_LIMIT = 10
DEFAULT_M = 16
DEFAULT_EF_CONSTRUCTION = 64

_PATHS: Final[dict[int, AccessPath]] = {
    route_pb2.ACCESS_PATH_UNSPECIFIED: AccessPath.AUTO,
    route_pb2.ACCESS_PATH_DIRECT: AccessPath.DIRECT,
    route_pb2.ACCESS_PATH_FDW: AccessPath.FDW,
}
_METRICS: Final[dict[int, Metric | None]] = {
    record_pb2.METRIC_UNSPECIFIED: None,
    record_pb2.METRIC_COSINE: Metric.COSINE,
    record_pb2.METRIC_L2: Metric.L2,
    record_pb2.METRIC_INNER_PRODUCT: Metric.INNER_PRODUCT,
    record_pb2.METRIC_L1: Metric.L1,
}


def to_path(path: int) -> AccessPath:
    """The access path asked for; AUTO where none is."""
    found = _PATHS.get(path)
    if found is None:
        raise InvalidArgument("ACCESS_PATH", "path", f"{path} is no access path")
    return found


def to_metric(metric: int) -> Metric | None:
    """The metric asked for; None where none is."""
    if metric not in _METRICS:
        raise InvalidArgument("METRIC", "metric", f"{metric} is no metric")
    return _METRICS[metric]


def to_vector(message: record_pb2.Vector, field: str) -> Vector:
    """The components, finite; how many there are is the engine's to check."""
    vector = np.frombuffer(packed_components(message), dtype="<f4").astype(np.float32)
    if np.count_nonzero(np.isfinite(vector)) < len(vector):  # less than half of what .all() takes
        raise InvalidArgument("VECTOR_NOT_FINITE", field, "components must be finite float32, neither NaN nor infinite")
    return vector


def packed_components(message: record_pb2.Vector) -> bytes:
    """The components as little-endian float32: out of the wire format, which has them so, and not number by number."""
    size = 4 * len(message.values)
    start = 1 + (size.bit_length() + 6) // 7  # the field's tag, and how long it is
    return message.SerializeToString()[start : start + size]


def to_records(
    request: vector_service_pb2.UpsertRequest | vector_service_pb2.UpsertStreamRequest, limits: Limits
) -> Iterator[Record]:
    """The records to write one by one, as they stand in the request; an id may stand twice."""
    _check_count("RECORD_COUNT", "records", len(request.records), limits.max_records)
    for i, record in enumerate(request.records):
        yield _to_record(record, f"records[{i}]")


def _to_record(record: record_pb2.Record, field: str) -> Record:
    if not record.HasField("vector"):
        raise InvalidArgument("VECTOR_MISSING", f"{field}.vector", "is required")
    return Record(
        id=check_record_id(record.id, f"{field}.id"),
        vector=to_vector(record.vector, f"{field}.vector"),
        metadata=check_metadata(record.metadata, f"{field}.metadata"),
    )


def to_ids(ids: Sequence[str], field: str, most: int) -> tuple[str, ...]:
    """The ids, as they stand in the request; one may stand twice."""
    _check_count("ID_COUNT", field, len(ids), most)
    return tuple(check_record_id(record_id, f"{field}[{i}]") for i, record_id in enumerate(ids))


def to_search(request: vector_service_pb2.QueryRequest, limits: Limits) -> Search:
    """What a query asks for."""
    target: Vector | str
    match request.WhichOneof("target"):
        case "vector":
            target = to_vector(request.vector, "vector")
        case "id":
            target = check_record_id(request.id, "id")
        case _:
            raise InvalidArgument("TARGET_MISSING", "target", "give a vector or the id of a record")
    limit = request.limit if request.HasField("limit") else DEFAULT_LIMIT
    _check_range("LIMIT", "limit", limit, 1, limits.max_limit)
    if request.HasField("max_distance") and math.isnan(request.max_distance):
        raise InvalidArgument("MAX_DISTANCE", "max_distance", "must not be NaN")
    return Search(
        target=target,
        limit=limit,
        metric=to_metric(request.metric),
        filter=to_filter(request.filter) if request.HasField("filter") else None,
        params=_to_params(request.params),
        max_distance=request.max_distance if request.HasField("max_distance") else None,
        include_metadata=request.include_metadata,
        include_vector=request.include_vector,
    )


def _to_params(params: vector_service_pb2.SearchParams) -> SearchParams:
    if not params.HasField("ef_search"):
        return SearchParams(exact=params.exact)
    _check_range("EF_SEARCH", "params.ef_search", params.ef_search, 1, MAX_EF_SEARCH)
    return SearchParams(exact=params.exact, ef_search=params.ef_search)


def to_selection(request: vector_service_pb2.DeleteRequest, limits: Limits) -> Selection:
    """Which records to delete."""
    match request.WhichOneof("target"):
        case "ids":
            return Selection(ids=to_ids(request.ids.ids, "ids.ids", limits.max_records))
        case "filter":
            return Selection(filter=to_filter(request.filter))
        case _:
            raise InvalidArgument("TARGET_MISSING", "target", 'give ids or a filter; nothing never means "all"')


def to_dimension(request: collection_service_pb2.CreateCollectionRequest) -> int:
    """How many components the new collection's vectors have."""
    _check_range("DIMENSION", "dimension", request.dimension, 1, MAX_DIMENSION)
    return request.dimension


def to_pod(request: collection_service_pb2.CreateCollectionRequest) -> str | None:
    """The pod that is to hold the new collection; None leaves it to the policy."""
    return check_pod_name(request.pod, "pod") if request.pod else None


def to_page_size(page_size: int) -> int:
    """How many collections at most a page holds; 0 leaves it to the control plane."""
    _check_range("PAGE_SIZE", "page_size", page_size, 0, MAX_PAGE_SIZE)
    return page_size


def to_hnsw(request: collection_service_pb2.CreateIndexRequest) -> tuple[int | None, int | None]:
    """The index's `m` and `ef_construction`; None leaves pgvector's default."""
    if request.WhichOneof("method") != "hnsw":
        raise InvalidArgument("METHOD_MISSING", "method", "name the kind of index; hnsw is the one there is")
    hnsw = request.hnsw
    m = hnsw.m if hnsw.HasField("m") else None
    ef_construction = hnsw.ef_construction if hnsw.HasField("ef_construction") else None
    if m is not None:
        _check_range("HNSW_M", "hnsw.m", m, 2, 100)
    if ef_construction is not None:
        _check_range("HNSW_EF_CONSTRUCTION", "hnsw.ef_construction", ef_construction, 4, 1000)
    least = 2 * (DEFAULT_M if m is None else m)
    effective = DEFAULT_EF_CONSTRUCTION if ef_construction is None else ef_construction
    if effective < least:
        raise InvalidArgument(
            "HNSW_EF_CONSTRUCTION", "hnsw.ef_construction", f"is {effective}, must be at least 2 * m = {least}"
        )
    return m, ef_construction


def _check_count(reason: str, field: str, count: int, most: int) -> None:
    if not 1 <= count <= most:
        raise InvalidArgument(reason, field, f"needs 1 to {most} entries, has {count}", limit=most, count=count)


def _check_range(reason: str, field: str, value: int, least: int, most: int) -> None:
    if not least <= value <= most:
        raise InvalidArgument(reason, field, f"is {value}, must be {least} to {most}", limit=most, value=value)
