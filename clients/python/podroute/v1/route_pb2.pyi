from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class AccessPath(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    ACCESS_PATH_UNSPECIFIED: _ClassVar[AccessPath]
    ACCESS_PATH_DIRECT: _ClassVar[AccessPath]
    ACCESS_PATH_FDW: _ClassVar[AccessPath]
ACCESS_PATH_UNSPECIFIED: AccessPath
ACCESS_PATH_DIRECT: AccessPath
ACCESS_PATH_FDW: AccessPath

class Route(_message.Message):
    __slots__ = ("path", "pods", "map_revision", "on_primary")
    PATH_FIELD_NUMBER: _ClassVar[int]
    PODS_FIELD_NUMBER: _ClassVar[int]
    MAP_REVISION_FIELD_NUMBER: _ClassVar[int]
    ON_PRIMARY_FIELD_NUMBER: _ClassVar[int]
    path: AccessPath
    pods: _containers.RepeatedScalarFieldContainer[str]
    map_revision: int
    on_primary: bool
    def __init__(self, path: _Optional[_Union[AccessPath, str]] = ..., pods: _Optional[_Iterable[str]] = ..., map_revision: _Optional[int] = ..., on_primary: _Optional[bool] = ...) -> None: ...
