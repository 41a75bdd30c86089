from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class ColumnType(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    COLUMN_TYPE_UNSPECIFIED: _ClassVar[ColumnType]
    COLUMN_TYPE_TEXT: _ClassVar[ColumnType]
    COLUMN_TYPE_BIGINT: _ClassVar[ColumnType]
    COLUMN_TYPE_DOUBLE_PRECISION: _ClassVar[ColumnType]
    COLUMN_TYPE_BOOLEAN: _ClassVar[ColumnType]
    COLUMN_TYPE_TIMESTAMPTZ: _ClassVar[ColumnType]
    COLUMN_TYPE_JSONB: _ClassVar[ColumnType]
COLUMN_TYPE_UNSPECIFIED: ColumnType
COLUMN_TYPE_TEXT: ColumnType
COLUMN_TYPE_BIGINT: ColumnType
COLUMN_TYPE_DOUBLE_PRECISION: ColumnType
COLUMN_TYPE_BOOLEAN: ColumnType
COLUMN_TYPE_TIMESTAMPTZ: ColumnType
COLUMN_TYPE_JSONB: ColumnType

class ExposedColumn(_message.Message):
    __slots__ = ("name", "type", "path", "indexed")
    NAME_FIELD_NUMBER: _ClassVar[int]
    TYPE_FIELD_NUMBER: _ClassVar[int]
    PATH_FIELD_NUMBER: _ClassVar[int]
    INDEXED_FIELD_NUMBER: _ClassVar[int]
    name: str
    type: ColumnType
    path: _containers.RepeatedScalarFieldContainer[str]
    indexed: bool
    def __init__(self, name: _Optional[str] = ..., type: _Optional[_Union[ColumnType, str]] = ..., path: _Optional[_Iterable[str]] = ..., indexed: _Optional[bool] = ...) -> None: ...

class Exposure(_message.Message):
    __slots__ = ("collection", "view_schema", "view_name", "columns", "roles")
    COLLECTION_FIELD_NUMBER: _ClassVar[int]
    VIEW_SCHEMA_FIELD_NUMBER: _ClassVar[int]
    VIEW_NAME_FIELD_NUMBER: _ClassVar[int]
    COLUMNS_FIELD_NUMBER: _ClassVar[int]
    ROLES_FIELD_NUMBER: _ClassVar[int]
    collection: str
    view_schema: str
    view_name: str
    columns: _containers.RepeatedCompositeFieldContainer[ExposedColumn]
    roles: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, collection: _Optional[str] = ..., view_schema: _Optional[str] = ..., view_name: _Optional[str] = ..., columns: _Optional[_Iterable[_Union[ExposedColumn, _Mapping]]] = ..., roles: _Optional[_Iterable[str]] = ...) -> None: ...
