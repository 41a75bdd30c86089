from podroute.v1 import filter_pb2 as _filter_pb2
from podroute.v1 import record_pb2 as _record_pb2
from podroute.v1 import route_pb2 as _route_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class UpsertRequest(_message.Message):
    __slots__ = ("collection", "records", "path")
    COLLECTION_FIELD_NUMBER: _ClassVar[int]
    RECORDS_FIELD_NUMBER: _ClassVar[int]
    PATH_FIELD_NUMBER: _ClassVar[int]
    collection: str
    records: _containers.RepeatedCompositeFieldContainer[_record_pb2.Record]
    path: _route_pb2.AccessPath
    def __init__(self, collection: _Optional[str] = ..., records: _Optional[_Iterable[_Union[_record_pb2.Record, _Mapping]]] = ..., path: _Optional[_Union[_route_pb2.AccessPath, str]] = ...) -> None: ...

class UpsertResponse(_message.Message):
    __slots__ = ("upserted_count", "route")
    UPSERTED_COUNT_FIELD_NUMBER: _ClassVar[int]
    ROUTE_FIELD_NUMBER: _ClassVar[int]
    upserted_count: int
    route: _route_pb2.Route
    def __init__(self, upserted_count: _Optional[int] = ..., route: _Optional[_Union[_route_pb2.Route, _Mapping]] = ...) -> None: ...

class UpsertStreamRequest(_message.Message):
    __slots__ = ("collection", "records", "path", "sequence")
    COLLECTION_FIELD_NUMBER: _ClassVar[int]
    RECORDS_FIELD_NUMBER: _ClassVar[int]
    PATH_FIELD_NUMBER: _ClassVar[int]
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    collection: str
    records: _containers.RepeatedCompositeFieldContainer[_record_pb2.Record]
    path: _route_pb2.AccessPath
    sequence: int
    def __init__(self, collection: _Optional[str] = ..., records: _Optional[_Iterable[_Union[_record_pb2.Record, _Mapping]]] = ..., path: _Optional[_Union[_route_pb2.AccessPath, str]] = ..., sequence: _Optional[int] = ...) -> None: ...

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
    __slots__ = ("exact", "ef_search")
    EXACT_FIELD_NUMBER: _ClassVar[int]
    EF_SEARCH_FIELD_NUMBER: _ClassVar[int]
    exact: bool
    ef_search: int
    def __init__(self, exact: _Optional[bool] = ..., ef_search: _Optional[int] = ...) -> None: ...

class QueryRequest(_message.Message):
    __slots__ = ("collection", "vector", "id", "limit", "filter", "metric", "params", "max_distance", "include_metadata", "include_vector", "path")
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
    def __init__(self, collection: _Optional[str] = ..., vector: _Optional[_Union[_record_pb2.Vector, _Mapping]] = ..., id: _Optional[str] = ..., limit: _Optional[int] = ..., filter: _Optional[_Union[_filter_pb2.Filter, _Mapping]] = ..., metric: _Optional[_Union[_record_pb2.Metric, str]] = ..., params: _Optional[_Union[SearchParams, _Mapping]] = ..., max_distance: _Optional[float] = ..., include_metadata: _Optional[bool] = ..., include_vector: _Optional[bool] = ..., path: _Optional[_Union[_route_pb2.AccessPath, str]] = ...) -> None: ...

class QueryResponse(_message.Message):
    __slots__ = ("matches", "route", "complete")
    MATCHES_FIELD_NUMBER: _ClassVar[int]
    ROUTE_FIELD_NUMBER: _ClassVar[int]
    COMPLETE_FIELD_NUMBER: _ClassVar[int]
    matches: _containers.RepeatedCompositeFieldContainer[_record_pb2.Match]
    route: _route_pb2.Route
    complete: bool
    def __init__(self, matches: _Optional[_Iterable[_Union[_record_pb2.Match, _Mapping]]] = ..., route: _Optional[_Union[_route_pb2.Route, _Mapping]] = ..., complete: _Optional[bool] = ...) -> None: ...

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
    __slots__ = ("collection", "ids", "filter", "path")
    COLLECTION_FIELD_NUMBER: _ClassVar[int]
    IDS_FIELD_NUMBER: _ClassVar[int]
    FILTER_FIELD_NUMBER: _ClassVar[int]
    PATH_FIELD_NUMBER: _ClassVar[int]
    collection: str
    ids: IdList
    filter: _filter_pb2.Filter
    path: _route_pb2.AccessPath
    def __init__(self, collection: _Optional[str] = ..., ids: _Optional[_Union[IdList, _Mapping]] = ..., filter: _Optional[_Union[_filter_pb2.Filter, _Mapping]] = ..., path: _Optional[_Union[_route_pb2.AccessPath, str]] = ...) -> None: ...

class DeleteResponse(_message.Message):
    __slots__ = ("deleted_count", "route")
    DELETED_COUNT_FIELD_NUMBER: _ClassVar[int]
    ROUTE_FIELD_NUMBER: _ClassVar[int]
    deleted_count: int
    route: _route_pb2.Route
    def __init__(self, deleted_count: _Optional[int] = ..., route: _Optional[_Union[_route_pb2.Route, _Mapping]] = ...) -> None: ...

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
