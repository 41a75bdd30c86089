from google.protobuf import any_pb2 as _any_pb2
from podroute.v1 import filter_pb2 as _filter_pb2
from podroute.v1 import record_pb2 as _record_pb2
from podroute.v1 import route_pb2 as _route_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class UpsertMode(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    UPSERT_MODE_UNSPECIFIED: _ClassVar[UpsertMode]
    UPSERT_MODE_INSERT_ONLY: _ClassVar[UpsertMode]
    UPSERT_MODE_UPDATE_ONLY: _ClassVar[UpsertMode]

class IterativeScan(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    ITERATIVE_SCAN_UNSPECIFIED: _ClassVar[IterativeScan]
    ITERATIVE_SCAN_OFF: _ClassVar[IterativeScan]
    ITERATIVE_SCAN_STRICT: _ClassVar[IterativeScan]
    ITERATIVE_SCAN_RELAXED: _ClassVar[IterativeScan]

class IncompleteReason(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    INCOMPLETE_REASON_UNSPECIFIED: _ClassVar[IncompleteReason]
    INCOMPLETE_REASON_TIMED_OUT: _ClassVar[IncompleteReason]
    INCOMPLETE_REASON_SCAN_LIMITED: _ClassVar[IncompleteReason]

class UpdateMode(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    UPDATE_MODE_UNSPECIFIED: _ClassVar[UpdateMode]
    UPDATE_MODE_MERGE: _ClassVar[UpdateMode]
    UPDATE_MODE_REPLACE: _ClassVar[UpdateMode]
UPSERT_MODE_UNSPECIFIED: UpsertMode
UPSERT_MODE_INSERT_ONLY: UpsertMode
UPSERT_MODE_UPDATE_ONLY: UpsertMode
ITERATIVE_SCAN_UNSPECIFIED: IterativeScan
ITERATIVE_SCAN_OFF: IterativeScan
ITERATIVE_SCAN_STRICT: IterativeScan
ITERATIVE_SCAN_RELAXED: IterativeScan
INCOMPLETE_REASON_UNSPECIFIED: IncompleteReason
INCOMPLETE_REASON_TIMED_OUT: IncompleteReason
INCOMPLETE_REASON_SCAN_LIMITED: IncompleteReason
UPDATE_MODE_UNSPECIFIED: UpdateMode
UPDATE_MODE_MERGE: UpdateMode
UPDATE_MODE_REPLACE: UpdateMode

class UpsertRequest(_message.Message):
    __slots__ = ("collection", "records", "path", "mode")
    COLLECTION_FIELD_NUMBER: _ClassVar[int]
    RECORDS_FIELD_NUMBER: _ClassVar[int]
    PATH_FIELD_NUMBER: _ClassVar[int]
    MODE_FIELD_NUMBER: _ClassVar[int]
    collection: str
    records: _containers.RepeatedCompositeFieldContainer[_record_pb2.Record]
    path: _route_pb2.AccessPath
    mode: UpsertMode
    def __init__(self, collection: _Optional[str] = ..., records: _Optional[_Iterable[_Union[_record_pb2.Record, _Mapping]]] = ..., path: _Optional[_Union[_route_pb2.AccessPath, str]] = ..., mode: _Optional[_Union[UpsertMode, str]] = ...) -> None: ...

class UpsertResponse(_message.Message):
    __slots__ = ("upserted_count", "route")
    UPSERTED_COUNT_FIELD_NUMBER: _ClassVar[int]
    ROUTE_FIELD_NUMBER: _ClassVar[int]
    upserted_count: int
    route: _route_pb2.Route
    def __init__(self, upserted_count: _Optional[int] = ..., route: _Optional[_Union[_route_pb2.Route, _Mapping]] = ...) -> None: ...

class UpsertStreamRequest(_message.Message):
    __slots__ = ("collection", "records", "path", "sequence", "mode")
    COLLECTION_FIELD_NUMBER: _ClassVar[int]
    RECORDS_FIELD_NUMBER: _ClassVar[int]
    PATH_FIELD_NUMBER: _ClassVar[int]
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    MODE_FIELD_NUMBER: _ClassVar[int]
    collection: str
    records: _containers.RepeatedCompositeFieldContainer[_record_pb2.Record]
    path: _route_pb2.AccessPath
    sequence: int
    mode: UpsertMode
    def __init__(self, collection: _Optional[str] = ..., records: _Optional[_Iterable[_Union[_record_pb2.Record, _Mapping]]] = ..., path: _Optional[_Union[_route_pb2.AccessPath, str]] = ..., sequence: _Optional[int] = ..., mode: _Optional[_Union[UpsertMode, str]] = ...) -> None: ...

class UpsertStreamResponse(_message.Message):
    __slots__ = ("sequence", "upserted_count", "route")
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    UPSERTED_COUNT_FIELD_NUMBER: _ClassVar[int]
    ROUTE_FIELD_NUMBER: _ClassVar[int]
    sequence: int
    upserted_count: int
    route: _route_pb2.Route
    def __init__(self, sequence: _Optional[int] = ..., upserted_count: _Optional[int] = ..., route: _Optional[_Union[_route_pb2.Route, _Mapping]] = ...) -> None: ...

class SearchParams(_message.Message):
    __slots__ = ("exact", "ef_search", "probes", "iterative_scan", "max_scan_tuples")
    EXACT_FIELD_NUMBER: _ClassVar[int]
    EF_SEARCH_FIELD_NUMBER: _ClassVar[int]
    PROBES_FIELD_NUMBER: _ClassVar[int]
    ITERATIVE_SCAN_FIELD_NUMBER: _ClassVar[int]
    MAX_SCAN_TUPLES_FIELD_NUMBER: _ClassVar[int]
    exact: bool
    ef_search: int
    probes: int
    iterative_scan: IterativeScan
    max_scan_tuples: int
    def __init__(self, exact: _Optional[bool] = ..., ef_search: _Optional[int] = ..., probes: _Optional[int] = ..., iterative_scan: _Optional[_Union[IterativeScan, str]] = ..., max_scan_tuples: _Optional[int] = ...) -> None: ...

class QueryRequest(_message.Message):
    __slots__ = ("collection", "vector", "id", "limit", "filter", "metric", "params", "max_distance", "include_metadata", "include_vector", "path", "metadata_keys")
    COLLECTION_FIELD_NUMBER: _ClassVar[int]
    VECTOR_FIELD_NUMBER: _ClassVar[int]
    ID_FIELD_NUMBER: _ClassVar[int]
    LIMIT_FIELD_NUMBER: _ClassVar[int]
    FILTER_FIELD_NUMBER: _ClassVar[int]
    METRIC_FIELD_NUMBER: _ClassVar[int]
    PARAMS_FIELD_NUMBER: _ClassVar[int]
    MAX_DISTANCE_FIELD_NUMBER: _ClassVar[int]
    INCLUDE_METADATA_FIELD_NUMBER: _ClassVar[int]
    INCLUDE_VECTOR_FIELD_NUMBER: _ClassVar[int]
    PATH_FIELD_NUMBER: _ClassVar[int]
    METADATA_KEYS_FIELD_NUMBER: _ClassVar[int]
    collection: str
    vector: _record_pb2.Vector
    id: str
    limit: int
    filter: _filter_pb2.Filter
    metric: _record_pb2.Metric
    params: SearchParams
    max_distance: float
    include_metadata: bool
    include_vector: bool
    path: _route_pb2.AccessPath
    metadata_keys: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, collection: _Optional[str] = ..., vector: _Optional[_Union[_record_pb2.Vector, _Mapping]] = ..., id: _Optional[str] = ..., limit: _Optional[int] = ..., filter: _Optional[_Union[_filter_pb2.Filter, _Mapping]] = ..., metric: _Optional[_Union[_record_pb2.Metric, str]] = ..., params: _Optional[_Union[SearchParams, _Mapping]] = ..., max_distance: _Optional[float] = ..., include_metadata: _Optional[bool] = ..., include_vector: _Optional[bool] = ..., path: _Optional[_Union[_route_pb2.AccessPath, str]] = ..., metadata_keys: _Optional[_Iterable[str]] = ...) -> None: ...

class QueryResponse(_message.Message):
    __slots__ = ("matches", "route", "complete", "incomplete_reason")
    MATCHES_FIELD_NUMBER: _ClassVar[int]
    ROUTE_FIELD_NUMBER: _ClassVar[int]
    COMPLETE_FIELD_NUMBER: _ClassVar[int]
    INCOMPLETE_REASON_FIELD_NUMBER: _ClassVar[int]
    matches: _containers.RepeatedCompositeFieldContainer[_record_pb2.Match]
    route: _route_pb2.Route
    complete: bool
    incomplete_reason: IncompleteReason
    def __init__(self, matches: _Optional[_Iterable[_Union[_record_pb2.Match, _Mapping]]] = ..., route: _Optional[_Union[_route_pb2.Route, _Mapping]] = ..., complete: _Optional[bool] = ..., incomplete_reason: _Optional[_Union[IncompleteReason, str]] = ...) -> None: ...

class BatchQueryRequest(_message.Message):
    __slots__ = ("queries",)
    QUERIES_FIELD_NUMBER: _ClassVar[int]
    queries: _containers.RepeatedCompositeFieldContainer[QueryRequest]
    def __init__(self, queries: _Optional[_Iterable[_Union[QueryRequest, _Mapping]]] = ...) -> None: ...

class BatchQueryResponse(_message.Message):
    __slots__ = ("results",)
    RESULTS_FIELD_NUMBER: _ClassVar[int]
    results: _containers.RepeatedCompositeFieldContainer[BatchQueryResult]
    def __init__(self, results: _Optional[_Iterable[_Union[BatchQueryResult, _Mapping]]] = ...) -> None: ...

class BatchQueryResult(_message.Message):
    __slots__ = ("response", "error")
    RESPONSE_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    response: QueryResponse
    error: Status
    def __init__(self, response: _Optional[_Union[QueryResponse, _Mapping]] = ..., error: _Optional[_Union[Status, _Mapping]] = ...) -> None: ...

class Status(_message.Message):
    __slots__ = ("code", "message", "details")
    CODE_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    DETAILS_FIELD_NUMBER: _ClassVar[int]
    code: int
    message: str
    details: _containers.RepeatedCompositeFieldContainer[_any_pb2.Any]
    def __init__(self, code: _Optional[int] = ..., message: _Optional[str] = ..., details: _Optional[_Iterable[_Union[_any_pb2.Any, _Mapping]]] = ...) -> None: ...

class FetchRequest(_message.Message):
    __slots__ = ("collection", "ids", "path")
    COLLECTION_FIELD_NUMBER: _ClassVar[int]
    IDS_FIELD_NUMBER: _ClassVar[int]
    PATH_FIELD_NUMBER: _ClassVar[int]
    collection: str
    ids: _containers.RepeatedScalarFieldContainer[str]
    path: _route_pb2.AccessPath
    def __init__(self, collection: _Optional[str] = ..., ids: _Optional[_Iterable[str]] = ..., path: _Optional[_Union[_route_pb2.AccessPath, str]] = ...) -> None: ...

class FetchResponse(_message.Message):
    __slots__ = ("records", "missing_ids", "route")
    RECORDS_FIELD_NUMBER: _ClassVar[int]
    MISSING_IDS_FIELD_NUMBER: _ClassVar[int]
    ROUTE_FIELD_NUMBER: _ClassVar[int]
    records: _containers.RepeatedCompositeFieldContainer[_record_pb2.Record]
    missing_ids: _containers.RepeatedScalarFieldContainer[str]
    route: _route_pb2.Route
    def __init__(self, records: _Optional[_Iterable[_Union[_record_pb2.Record, _Mapping]]] = ..., missing_ids: _Optional[_Iterable[str]] = ..., route: _Optional[_Union[_route_pb2.Route, _Mapping]] = ...) -> None: ...

class IdList(_message.Message):
    __slots__ = ("ids",)
    IDS_FIELD_NUMBER: _ClassVar[int]
    ids: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, ids: _Optional[_Iterable[str]] = ...) -> None: ...

class DeleteRequest(_message.Message):
    __slots__ = ("collection", "ids", "filter", "path", "include_ids")
    COLLECTION_FIELD_NUMBER: _ClassVar[int]
    IDS_FIELD_NUMBER: _ClassVar[int]
    FILTER_FIELD_NUMBER: _ClassVar[int]
    PATH_FIELD_NUMBER: _ClassVar[int]
    INCLUDE_IDS_FIELD_NUMBER: _ClassVar[int]
    collection: str
    ids: IdList
    filter: _filter_pb2.Filter
    path: _route_pb2.AccessPath
    include_ids: bool
    def __init__(self, collection: _Optional[str] = ..., ids: _Optional[_Union[IdList, _Mapping]] = ..., filter: _Optional[_Union[_filter_pb2.Filter, _Mapping]] = ..., path: _Optional[_Union[_route_pb2.AccessPath, str]] = ..., include_ids: _Optional[bool] = ...) -> None: ...

class DeleteResponse(_message.Message):
    __slots__ = ("deleted_count", "route", "deleted_ids")
    DELETED_COUNT_FIELD_NUMBER: _ClassVar[int]
    ROUTE_FIELD_NUMBER: _ClassVar[int]
    DELETED_IDS_FIELD_NUMBER: _ClassVar[int]
    deleted_count: int
    route: _route_pb2.Route
    deleted_ids: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, deleted_count: _Optional[int] = ..., route: _Optional[_Union[_route_pb2.Route, _Mapping]] = ..., deleted_ids: _Optional[_Iterable[str]] = ...) -> None: ...

class CountRequest(_message.Message):
    __slots__ = ("collection", "filter", "path")
    COLLECTION_FIELD_NUMBER: _ClassVar[int]
    FILTER_FIELD_NUMBER: _ClassVar[int]
    PATH_FIELD_NUMBER: _ClassVar[int]
    collection: str
    filter: _filter_pb2.Filter
    path: _route_pb2.AccessPath
    def __init__(self, collection: _Optional[str] = ..., filter: _Optional[_Union[_filter_pb2.Filter, _Mapping]] = ..., path: _Optional[_Union[_route_pb2.AccessPath, str]] = ...) -> None: ...

class CountResponse(_message.Message):
    __slots__ = ("count", "route")
    COUNT_FIELD_NUMBER: _ClassVar[int]
    ROUTE_FIELD_NUMBER: _ClassVar[int]
    count: int
    route: _route_pb2.Route
    def __init__(self, count: _Optional[int] = ..., route: _Optional[_Union[_route_pb2.Route, _Mapping]] = ...) -> None: ...

class UpdateMetadataRequest(_message.Message):
    __slots__ = ("collection", "ids", "filter", "metadata", "mode", "path")
    COLLECTION_FIELD_NUMBER: _ClassVar[int]
    IDS_FIELD_NUMBER: _ClassVar[int]
    FILTER_FIELD_NUMBER: _ClassVar[int]
    METADATA_FIELD_NUMBER: _ClassVar[int]
    MODE_FIELD_NUMBER: _ClassVar[int]
    PATH_FIELD_NUMBER: _ClassVar[int]
    collection: str
    ids: IdList
    filter: _filter_pb2.Filter
    metadata: str
    mode: UpdateMode
    path: _route_pb2.AccessPath
    def __init__(self, collection: _Optional[str] = ..., ids: _Optional[_Union[IdList, _Mapping]] = ..., filter: _Optional[_Union[_filter_pb2.Filter, _Mapping]] = ..., metadata: _Optional[str] = ..., mode: _Optional[_Union[UpdateMode, str]] = ..., path: _Optional[_Union[_route_pb2.AccessPath, str]] = ...) -> None: ...

class UpdateMetadataResponse(_message.Message):
    __slots__ = ("updated_count", "route")
    UPDATED_COUNT_FIELD_NUMBER: _ClassVar[int]
    ROUTE_FIELD_NUMBER: _ClassVar[int]
    updated_count: int
    route: _route_pb2.Route
    def __init__(self, updated_count: _Optional[int] = ..., route: _Optional[_Union[_route_pb2.Route, _Mapping]] = ...) -> None: ...

class ScanRequest(_message.Message):
    __slots__ = ("collection", "filter", "resume_token", "page_size", "include_metadata", "include_vector", "path")
    COLLECTION_FIELD_NUMBER: _ClassVar[int]
    FILTER_FIELD_NUMBER: _ClassVar[int]
    RESUME_TOKEN_FIELD_NUMBER: _ClassVar[int]
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    INCLUDE_METADATA_FIELD_NUMBER: _ClassVar[int]
    INCLUDE_VECTOR_FIELD_NUMBER: _ClassVar[int]
    PATH_FIELD_NUMBER: _ClassVar[int]
    collection: str
    filter: _filter_pb2.Filter
    resume_token: str
    page_size: int
    include_metadata: bool
    include_vector: bool
    path: _route_pb2.AccessPath
    def __init__(self, collection: _Optional[str] = ..., filter: _Optional[_Union[_filter_pb2.Filter, _Mapping]] = ..., resume_token: _Optional[str] = ..., page_size: _Optional[int] = ..., include_metadata: _Optional[bool] = ..., include_vector: _Optional[bool] = ..., path: _Optional[_Union[_route_pb2.AccessPath, str]] = ...) -> None: ...

class ScanResponse(_message.Message):
    __slots__ = ("records", "resume_token", "route")
    RECORDS_FIELD_NUMBER: _ClassVar[int]
    RESUME_TOKEN_FIELD_NUMBER: _ClassVar[int]
    ROUTE_FIELD_NUMBER: _ClassVar[int]
    records: _containers.RepeatedCompositeFieldContainer[_record_pb2.Record]
    resume_token: str
    route: _route_pb2.Route
    def __init__(self, records: _Optional[_Iterable[_Union[_record_pb2.Record, _Mapping]]] = ..., resume_token: _Optional[str] = ..., route: _Optional[_Union[_route_pb2.Route, _Mapping]] = ...) -> None: ...
