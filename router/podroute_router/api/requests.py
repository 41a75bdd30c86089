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
from podroute_router.domain import (
    AccessPath,
    Hnsw,
    IndexMethod,
    IterativeScan,
    IvfFlat,
    MetadataGin,
    MetadataUpdate,
    Metric,
    Record,
    Search,
    SearchParams,
    Selection,
    UpdateMode,
    UpsertMode,
    Vector,
)
from podroute_router.errors import InvalidArgument
from podroute_router.metadata import check_metadata
from podroute_router.names import check_pod_name, check_record_id

MAX_DIMENSION = 16_000
MAX_EF_SEARCH = 1000
MAX_PROBES = 32_768
MAX_SCAN_TUPLES = 2**31 - 1
MAX_METADATA_KEYS = 64
MAX_METADATA_KEY_BYTES = 1024
MAX_PAGE_SIZE = 1000
MAX_LISTS = 32_768
MAX_IDENTIFIER_BYTES = 63
DEFAULT_LIMIT = 10
DEFAULT_SCAN_PAGE = 100
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


_ITERATIVE_SCANS: Final[dict[int, IterativeScan]] = {
    vector_service_pb2.ITERATIVE_SCAN_UNSPECIFIED: IterativeScan.RELAXED,
    vector_service_pb2.ITERATIVE_SCAN_OFF: IterativeScan.OFF,
    vector_service_pb2.ITERATIVE_SCAN_STRICT: IterativeScan.STRICT,
    vector_service_pb2.ITERATIVE_SCAN_RELAXED: IterativeScan.RELAXED,
}
_UPSERT_MODES: Final[dict[int, UpsertMode]] = {
    vector_service_pb2.UPSERT_MODE_UNSPECIFIED: UpsertMode.REPLACE,
    vector_service_pb2.UPSERT_MODE_INSERT_ONLY: UpsertMode.INSERT_ONLY,
    vector_service_pb2.UPSERT_MODE_UPDATE_ONLY: UpsertMode.UPDATE_ONLY,
}
_UPDATE_MODES: Final[dict[int, UpdateMode]] = {
    vector_service_pb2.UPDATE_MODE_UNSPECIFIED: UpdateMode.MERGE,
    vector_service_pb2.UPDATE_MODE_MERGE: UpdateMode.MERGE,
    vector_service_pb2.UPDATE_MODE_REPLACE: UpdateMode.REPLACE,
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
    metadata_keys = _to_metadata_keys(request.metadata_keys)
    if request.HasField("max_distance") and math.isnan(request.max_distance):
        raise InvalidArgument("MAX_DISTANCE", "max_distance", "must not be NaN")
    return Search(
        target=target,
        limit=limit,
        metric=to_metric(request.metric),
        filter=to_filter(request.filter) if request.HasField("filter") else None,
        params=_to_params(request.params),
        max_distance=request.max_distance if request.HasField("max_distance") else None,
        include_metadata=request.include_metadata or bool(metadata_keys),
        metadata_keys=metadata_keys,
        include_vector=request.include_vector,
    )


def _to_params(params: vector_service_pb2.SearchParams) -> SearchParams:
    ef_search = params.ef_search if params.HasField("ef_search") else None
    probes = params.probes if params.HasField("probes") else None
    max_scan_tuples = params.max_scan_tuples if params.HasField("max_scan_tuples") else None
    if ef_search is not None:
        _check_range("EF_SEARCH", "params.ef_search", ef_search, 1, MAX_EF_SEARCH)
    if probes is not None:
        _check_range("PROBES", "params.probes", probes, 1, MAX_PROBES)
    if max_scan_tuples is not None:
        _check_range("MAX_SCAN_TUPLES", "params.max_scan_tuples", max_scan_tuples, 1, MAX_SCAN_TUPLES)
    if params.iterative_scan not in _ITERATIVE_SCANS:
        raise InvalidArgument(
            "ITERATIVE_SCAN", "params.iterative_scan", f"{params.iterative_scan} is no way to scan on"
        )
    return SearchParams(
        exact=params.exact,
        ef_search=ef_search,
        probes=probes,
        iterative_scan=_ITERATIVE_SCANS[params.iterative_scan],
        max_scan_tuples=max_scan_tuples,
    )


def _to_metadata_keys(keys: Sequence[str]) -> tuple[str, ...]:
    """The keys, each once."""
    if not keys:
        return ()
    _check_count("METADATA_KEYS", "metadata_keys", len(keys), MAX_METADATA_KEYS)
    for i, key in enumerate(keys):
        if not 1 <= len(key.encode()) <= MAX_METADATA_KEY_BYTES or "\0" in key:
            raise InvalidArgument(
                "METADATA_KEYS",
                f"metadata_keys[{i}]",
                f"must be 1 to {MAX_METADATA_KEY_BYTES} bytes without U+0000",
                limit=MAX_METADATA_KEY_BYTES,
            )
    return tuple(dict.fromkeys(keys))


def to_queries(request: vector_service_pb2.BatchQueryRequest, limits: Limits) -> list[vector_service_pb2.QueryRequest]:
    """The queries of a batch, each still to be checked by itself."""
    _check_count("QUERY_COUNT", "queries", len(request.queries), limits.max_batch_queries)
    return list(request.queries)


def to_upsert_mode(mode: int) -> UpsertMode:
    """Which records to write."""
    if mode not in _UPSERT_MODES:
        raise InvalidArgument("UPSERT_MODE", "mode", f"{mode} is no mode of an upsert")
    return _UPSERT_MODES[mode]


def to_metadata_update(request: vector_service_pb2.UpdateMetadataRequest, limits: Limits) -> MetadataUpdate:
    """New metadata, and for which records."""
    if request.mode not in _UPDATE_MODES:
        raise InvalidArgument("UPDATE_MODE", "mode", f"{request.mode} is no mode of an update")
    selection = to_selection(request, limits)
    if not request.metadata:  # forgotten, it would empty what it was to change
        raise InvalidArgument("METADATA_MISSING", "metadata", "is required; {} is an empty object")
    metadata = check_metadata(request.metadata, "metadata")
    return MetadataUpdate(selection=selection, metadata=metadata, mode=_UPDATE_MODES[request.mode])


def to_selection(
    request: vector_service_pb2.DeleteRequest | vector_service_pb2.UpdateMetadataRequest, limits: Limits
) -> Selection:
    """Which records to delete or update."""
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


def to_index_method(request: collection_service_pb2.CreateIndexRequest) -> IndexMethod:
    """The kind of index and its parameters; None leaves the default."""
    match request.WhichOneof("method"):
        case "hnsw":
            return _to_hnsw(request.hnsw)
        case "ivfflat":
            lists = request.ivfflat.lists if request.ivfflat.HasField("lists") else None
            if lists is not None:
                _check_range("IVFFLAT_LISTS", "ivfflat.lists", lists, 1, MAX_LISTS)
            return IvfFlat(lists=lists)
        case "metadata_gin":
            return MetadataGin()
        case _:
            raise InvalidArgument("METHOD_MISSING", "method", "name the kind of index: hnsw, ivfflat or metadata_gin")


def _to_hnsw(hnsw: collection_service_pb2.Hnsw) -> Hnsw:
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
    return Hnsw(m=m, ef_construction=ef_construction)


def to_index_name(request: collection_service_pb2.DropIndexRequest) -> str:
    """The index to drop."""
    _check_identifier("INDEX_NAME", "name", request.name)
    return request.name


def to_table_name(request: collection_service_pb2.AdoptCollectionRequest) -> str:
    """The table to adopt."""
    _check_identifier("TABLE_NAME", "table_name", request.table_name)
    return request.table_name


def _check_identifier(reason: str, field: str, name: str) -> None:
    if not 1 <= len(name.encode()) <= MAX_IDENTIFIER_BYTES or "\0" in name:
        raise InvalidArgument(
            reason,
            field,
            f"must be 1 to {MAX_IDENTIFIER_BYTES} bytes without U+0000",
            limit=MAX_IDENTIFIER_BYTES,
        )


def _check_count(reason: str, field: str, count: int, most: int) -> None:
    if not 1 <= count <= most:
        raise InvalidArgument(reason, field, f"needs 1 to {most} entries, has {count}", limit=most, count=count)


def _check_range(reason: str, field: str, value: int, least: int, most: int) -> None:
    if not least <= value <= most:
        raise InvalidArgument(reason, field, f"is {value}, must be {least} to {most}", limit=most, value=value)
