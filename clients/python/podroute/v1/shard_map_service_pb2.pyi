from podroute.v1 import collection_service_pb2 as _collection_service_pb2
from podroute.v1 import route_pb2 as _route_pb2
from podroute.v1 import vector_service_pb2 as _vector_service_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class PodState(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    POD_STATE_UNSPECIFIED: _ClassVar[PodState]
    POD_STATE_SERVING: _ClassVar[PodState]
    POD_STATE_UNREACHABLE: _ClassVar[PodState]
    POD_STATE_UNCONFIGURED: _ClassVar[PodState]
POD_STATE_UNSPECIFIED: PodState
POD_STATE_SERVING: PodState
POD_STATE_UNREACHABLE: PodState
POD_STATE_UNCONFIGURED: PodState

class GetShardMapRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class GetShardMapResponse(_message.Message):
    __slots__ = ("shard_map",)
    SHARD_MAP_FIELD_NUMBER: _ClassVar[int]
    shard_map: ShardMap
    def __init__(self, shard_map: _Optional[_Union[ShardMap, _Mapping]] = ...) -> None: ...

class ShardMap(_message.Message):
    __slots__ = ("revision", "pods", "collections")
    REVISION_FIELD_NUMBER: _ClassVar[int]
    PODS_FIELD_NUMBER: _ClassVar[int]
    COLLECTIONS_FIELD_NUMBER: _ClassVar[int]
    revision: int
    pods: _containers.RepeatedScalarFieldContainer[str]
    collections: _containers.RepeatedCompositeFieldContainer[_collection_service_pb2.Collection]
    def __init__(self, revision: _Optional[int] = ..., pods: _Optional[_Iterable[str]] = ..., collections: _Optional[_Iterable[_Union[_collection_service_pb2.Collection, _Mapping]]] = ...) -> None: ...

class ListPodsRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ListPodsResponse(_message.Message):
    __slots__ = ("pods",)
    PODS_FIELD_NUMBER: _ClassVar[int]
    pods: _containers.RepeatedCompositeFieldContainer[Pod]
    def __init__(self, pods: _Optional[_Iterable[_Union[Pod, _Mapping]]] = ...) -> None: ...

class Pod(_message.Message):
    __slots__ = ("name", "state", "collection_count", "on_primary")
    NAME_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    COLLECTION_COUNT_FIELD_NUMBER: _ClassVar[int]
    ON_PRIMARY_FIELD_NUMBER: _ClassVar[int]
    name: str
    state: PodState
    collection_count: int
    on_primary: bool
    def __init__(self, name: _Optional[str] = ..., state: _Optional[_Union[PodState, str]] = ..., collection_count: _Optional[int] = ..., on_primary: _Optional[bool] = ...) -> None: ...

class ExplainRequest(_message.Message):
    __slots__ = ("query", "count", "delete", "analyze")
    QUERY_FIELD_NUMBER: _ClassVar[int]
    COUNT_FIELD_NUMBER: _ClassVar[int]
    DELETE_FIELD_NUMBER: _ClassVar[int]
    ANALYZE_FIELD_NUMBER: _ClassVar[int]
    query: _vector_service_pb2.QueryRequest
    count: _vector_service_pb2.CountRequest
    delete: _vector_service_pb2.DeleteRequest
    analyze: bool
    def __init__(self, query: _Optional[_Union[_vector_service_pb2.QueryRequest, _Mapping]] = ..., count: _Optional[_Union[_vector_service_pb2.CountRequest, _Mapping]] = ..., delete: _Optional[_Union[_vector_service_pb2.DeleteRequest, _Mapping]] = ..., analyze: _Optional[bool] = ...) -> None: ...

class ExplainResponse(_message.Message):
    __slots__ = ("sql", "settings", "remote_sql", "plan", "findings", "route")
    class SettingsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    SQL_FIELD_NUMBER: _ClassVar[int]
    SETTINGS_FIELD_NUMBER: _ClassVar[int]
    REMOTE_SQL_FIELD_NUMBER: _ClassVar[int]
    PLAN_FIELD_NUMBER: _ClassVar[int]
    FINDINGS_FIELD_NUMBER: _ClassVar[int]
    ROUTE_FIELD_NUMBER: _ClassVar[int]
    sql: str
    settings: _containers.ScalarMap[str, str]
    remote_sql: _containers.RepeatedScalarFieldContainer[str]
    plan: str
    findings: _containers.RepeatedCompositeFieldContainer[_collection_service_pb2.Finding]
    route: _route_pb2.Route
    def __init__(self, sql: _Optional[str] = ..., settings: _Optional[_Mapping[str, str]] = ..., remote_sql: _Optional[_Iterable[str]] = ..., plan: _Optional[str] = ..., findings: _Optional[_Iterable[_Union[_collection_service_pb2.Finding, _Mapping]]] = ..., route: _Optional[_Union[_route_pb2.Route, _Mapping]] = ...) -> None: ...
