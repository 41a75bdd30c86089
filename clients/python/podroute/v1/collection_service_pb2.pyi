from podroute.v1 import exposure_pb2 as _exposure_pb2
from podroute.v1 import record_pb2 as _record_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Collection(_message.Message):
    __slots__ = ("name", "dimension", "metric", "placement")
    NAME_FIELD_NUMBER: _ClassVar[int]
    DIMENSION_FIELD_NUMBER: _ClassVar[int]
    METRIC_FIELD_NUMBER: _ClassVar[int]
    PLACEMENT_FIELD_NUMBER: _ClassVar[int]
    name: str
    dimension: int
    metric: _record_pb2.Metric
    placement: Placement
    def __init__(self, name: _Optional[str] = ..., dimension: _Optional[int] = ..., metric: _Optional[_Union[_record_pb2.Metric, str]] = ..., placement: _Optional[_Union[Placement, _Mapping]] = ...) -> None: ...

class Placement(_message.Message):
    __slots__ = ("pod", "table_schema", "table_name", "generation")
    POD_FIELD_NUMBER: _ClassVar[int]
    TABLE_SCHEMA_FIELD_NUMBER: _ClassVar[int]
    TABLE_NAME_FIELD_NUMBER: _ClassVar[int]
    GENERATION_FIELD_NUMBER: _ClassVar[int]
    pod: str
    table_schema: str
    table_name: str
    generation: int
    def __init__(self, pod: _Optional[str] = ..., table_schema: _Optional[str] = ..., table_name: _Optional[str] = ..., generation: _Optional[int] = ...) -> None: ...

class CreateCollectionRequest(_message.Message):
    __slots__ = ("name", "dimension", "metric", "pod")
    NAME_FIELD_NUMBER: _ClassVar[int]
    DIMENSION_FIELD_NUMBER: _ClassVar[int]
    METRIC_FIELD_NUMBER: _ClassVar[int]
    POD_FIELD_NUMBER: _ClassVar[int]
    name: str
    dimension: int
    metric: _record_pb2.Metric
    pod: str
    def __init__(self, name: _Optional[str] = ..., dimension: _Optional[int] = ..., metric: _Optional[_Union[_record_pb2.Metric, str]] = ..., pod: _Optional[str] = ...) -> None: ...

class CreateCollectionResponse(_message.Message):
    __slots__ = ("collection",)
    COLLECTION_FIELD_NUMBER: _ClassVar[int]
    collection: Collection
    def __init__(self, collection: _Optional[_Union[Collection, _Mapping]] = ...) -> None: ...

class GetCollectionRequest(_message.Message):
    __slots__ = ("name",)
    NAME_FIELD_NUMBER: _ClassVar[int]
    name: str
    def __init__(self, name: _Optional[str] = ...) -> None: ...

class GetCollectionResponse(_message.Message):
    __slots__ = ("collection",)
    COLLECTION_FIELD_NUMBER: _ClassVar[int]
    collection: Collection
    def __init__(self, collection: _Optional[_Union[Collection, _Mapping]] = ...) -> None: ...

class ListCollectionsRequest(_message.Message):
    __slots__ = ("page_size", "page_token")
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    page_size: int
    page_token: str
    def __init__(self, page_size: _Optional[int] = ..., page_token: _Optional[str] = ...) -> None: ...

class ListCollectionsResponse(_message.Message):
    __slots__ = ("collections", "next_page_token")
    COLLECTIONS_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    collections: _containers.RepeatedCompositeFieldContainer[Collection]
    next_page_token: str
    def __init__(self, collections: _Optional[_Iterable[_Union[Collection, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...

class DeleteCollectionRequest(_message.Message):
    __slots__ = ("name",)
    NAME_FIELD_NUMBER: _ClassVar[int]
    name: str
    def __init__(self, name: _Optional[str] = ...) -> None: ...

class DeleteCollectionResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class Hnsw(_message.Message):
    __slots__ = ("m", "ef_construction")
    M_FIELD_NUMBER: _ClassVar[int]
    EF_CONSTRUCTION_FIELD_NUMBER: _ClassVar[int]
    m: int
    ef_construction: int
    def __init__(self, m: _Optional[int] = ..., ef_construction: _Optional[int] = ...) -> None: ...

class IvfFlat(_message.Message):
    __slots__ = ("lists",)
    LISTS_FIELD_NUMBER: _ClassVar[int]
    lists: int
    def __init__(self, lists: _Optional[int] = ...) -> None: ...

class MetadataGin(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class CreateIndexRequest(_message.Message):
    __slots__ = ("collection", "hnsw", "ivfflat", "metadata_gin", "metric", "replace")
    COLLECTION_FIELD_NUMBER: _ClassVar[int]
    HNSW_FIELD_NUMBER: _ClassVar[int]
    IVFFLAT_FIELD_NUMBER: _ClassVar[int]
    METADATA_GIN_FIELD_NUMBER: _ClassVar[int]
    METRIC_FIELD_NUMBER: _ClassVar[int]
    REPLACE_FIELD_NUMBER: _ClassVar[int]
    collection: str
    hnsw: Hnsw
    ivfflat: IvfFlat
    metadata_gin: MetadataGin
    metric: _record_pb2.Metric
    replace: bool
    def __init__(self, collection: _Optional[str] = ..., hnsw: _Optional[_Union[Hnsw, _Mapping]] = ..., ivfflat: _Optional[_Union[IvfFlat, _Mapping]] = ..., metadata_gin: _Optional[_Union[MetadataGin, _Mapping]] = ..., metric: _Optional[_Union[_record_pb2.Metric, str]] = ..., replace: _Optional[bool] = ...) -> None: ...

class Index(_message.Message):
    __slots__ = ("name", "metric", "hnsw", "ivfflat", "metadata_gin", "size_bytes", "valid")
    NAME_FIELD_NUMBER: _ClassVar[int]
    METRIC_FIELD_NUMBER: _ClassVar[int]
    HNSW_FIELD_NUMBER: _ClassVar[int]
    IVFFLAT_FIELD_NUMBER: _ClassVar[int]
    METADATA_GIN_FIELD_NUMBER: _ClassVar[int]
    SIZE_BYTES_FIELD_NUMBER: _ClassVar[int]
    VALID_FIELD_NUMBER: _ClassVar[int]
    name: str
    metric: _record_pb2.Metric
    hnsw: Hnsw
    ivfflat: IvfFlat
    metadata_gin: MetadataGin
    size_bytes: int
    valid: bool
    def __init__(self, name: _Optional[str] = ..., metric: _Optional[_Union[_record_pb2.Metric, str]] = ..., hnsw: _Optional[_Union[Hnsw, _Mapping]] = ..., ivfflat: _Optional[_Union[IvfFlat, _Mapping]] = ..., metadata_gin: _Optional[_Union[MetadataGin, _Mapping]] = ..., size_bytes: _Optional[int] = ..., valid: _Optional[bool] = ...) -> None: ...

class IndexProgress(_message.Message):
    __slots__ = ("phase", "blocks_done", "blocks_total")
    PHASE_FIELD_NUMBER: _ClassVar[int]
    BLOCKS_DONE_FIELD_NUMBER: _ClassVar[int]
    BLOCKS_TOTAL_FIELD_NUMBER: _ClassVar[int]
    phase: str
    blocks_done: int
    blocks_total: int
    def __init__(self, phase: _Optional[str] = ..., blocks_done: _Optional[int] = ..., blocks_total: _Optional[int] = ...) -> None: ...

class CreateIndexResponse(_message.Message):
    __slots__ = ("progress", "index")
    PROGRESS_FIELD_NUMBER: _ClassVar[int]
    INDEX_FIELD_NUMBER: _ClassVar[int]
    progress: IndexProgress
    index: Index
    def __init__(self, progress: _Optional[_Union[IndexProgress, _Mapping]] = ..., index: _Optional[_Union[Index, _Mapping]] = ...) -> None: ...

class ListIndexesRequest(_message.Message):
    __slots__ = ("collection",)
    COLLECTION_FIELD_NUMBER: _ClassVar[int]
    collection: str
    def __init__(self, collection: _Optional[str] = ...) -> None: ...

class ListIndexesResponse(_message.Message):
    __slots__ = ("indexes",)
    INDEXES_FIELD_NUMBER: _ClassVar[int]
    indexes: _containers.RepeatedCompositeFieldContainer[Index]
    def __init__(self, indexes: _Optional[_Iterable[_Union[Index, _Mapping]]] = ...) -> None: ...

class DropIndexRequest(_message.Message):
    __slots__ = ("collection", "name")
    COLLECTION_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    collection: str
    name: str
    def __init__(self, collection: _Optional[str] = ..., name: _Optional[str] = ...) -> None: ...

class DropIndexResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class Finding(_message.Message):
    __slots__ = ("reason", "message", "blocking")
    REASON_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    BLOCKING_FIELD_NUMBER: _ClassVar[int]
    reason: str
    message: str
    blocking: bool
    def __init__(self, reason: _Optional[str] = ..., message: _Optional[str] = ..., blocking: _Optional[bool] = ...) -> None: ...

class ListAdoptableTablesRequest(_message.Message):
    __slots__ = ("pod",)
    POD_FIELD_NUMBER: _ClassVar[int]
    pod: str
    def __init__(self, pod: _Optional[str] = ...) -> None: ...

class AdoptableTable(_message.Message):
    __slots__ = ("table_name", "dimension", "record_estimate", "findings")
    TABLE_NAME_FIELD_NUMBER: _ClassVar[int]
    DIMENSION_FIELD_NUMBER: _ClassVar[int]
    RECORD_ESTIMATE_FIELD_NUMBER: _ClassVar[int]
    FINDINGS_FIELD_NUMBER: _ClassVar[int]
    table_name: str
    dimension: int
    record_estimate: int
    findings: _containers.RepeatedCompositeFieldContainer[Finding]
    def __init__(self, table_name: _Optional[str] = ..., dimension: _Optional[int] = ..., record_estimate: _Optional[int] = ..., findings: _Optional[_Iterable[_Union[Finding, _Mapping]]] = ...) -> None: ...

class ListAdoptableTablesResponse(_message.Message):
    __slots__ = ("tables",)
    TABLES_FIELD_NUMBER: _ClassVar[int]
    tables: _containers.RepeatedCompositeFieldContainer[AdoptableTable]
    def __init__(self, tables: _Optional[_Iterable[_Union[AdoptableTable, _Mapping]]] = ...) -> None: ...

class AdoptCollectionRequest(_message.Message):
    __slots__ = ("pod", "table_name", "name", "metric", "dry_run")
    POD_FIELD_NUMBER: _ClassVar[int]
    TABLE_NAME_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    METRIC_FIELD_NUMBER: _ClassVar[int]
    DRY_RUN_FIELD_NUMBER: _ClassVar[int]
    pod: str
    table_name: str
    name: str
    metric: _record_pb2.Metric
    dry_run: bool
    def __init__(self, pod: _Optional[str] = ..., table_name: _Optional[str] = ..., name: _Optional[str] = ..., metric: _Optional[_Union[_record_pb2.Metric, str]] = ..., dry_run: _Optional[bool] = ...) -> None: ...

class AdoptCollectionResponse(_message.Message):
    __slots__ = ("collection", "record_estimate", "indexes", "findings")
    COLLECTION_FIELD_NUMBER: _ClassVar[int]
    RECORD_ESTIMATE_FIELD_NUMBER: _ClassVar[int]
    INDEXES_FIELD_NUMBER: _ClassVar[int]
    FINDINGS_FIELD_NUMBER: _ClassVar[int]
    collection: Collection
    record_estimate: int
    indexes: _containers.RepeatedCompositeFieldContainer[Index]
    findings: _containers.RepeatedCompositeFieldContainer[Finding]
    def __init__(self, collection: _Optional[_Union[Collection, _Mapping]] = ..., record_estimate: _Optional[int] = ..., indexes: _Optional[_Iterable[_Union[Index, _Mapping]]] = ..., findings: _Optional[_Iterable[_Union[Finding, _Mapping]]] = ...) -> None: ...

class ExposeCollectionRequest(_message.Message):
    __slots__ = ("collection", "view_schema", "view_name", "columns", "roles")
    COLLECTION_FIELD_NUMBER: _ClassVar[int]
    VIEW_SCHEMA_FIELD_NUMBER: _ClassVar[int]
    VIEW_NAME_FIELD_NUMBER: _ClassVar[int]
    COLUMNS_FIELD_NUMBER: _ClassVar[int]
    ROLES_FIELD_NUMBER: _ClassVar[int]
    collection: str
    view_schema: str
    view_name: str
    columns: _containers.RepeatedCompositeFieldContainer[_exposure_pb2.ExposedColumn]
    roles: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, collection: _Optional[str] = ..., view_schema: _Optional[str] = ..., view_name: _Optional[str] = ..., columns: _Optional[_Iterable[_Union[_exposure_pb2.ExposedColumn, _Mapping]]] = ..., roles: _Optional[_Iterable[str]] = ...) -> None: ...

class ExposeCollectionResponse(_message.Message):
    __slots__ = ("exposure",)
    EXPOSURE_FIELD_NUMBER: _ClassVar[int]
    exposure: _exposure_pb2.Exposure
    def __init__(self, exposure: _Optional[_Union[_exposure_pb2.Exposure, _Mapping]] = ...) -> None: ...

class UnexposeCollectionRequest(_message.Message):
    __slots__ = ("collection", "view_schema", "view_name")
    COLLECTION_FIELD_NUMBER: _ClassVar[int]
    VIEW_SCHEMA_FIELD_NUMBER: _ClassVar[int]
    VIEW_NAME_FIELD_NUMBER: _ClassVar[int]
    collection: str
    view_schema: str
    view_name: str
    def __init__(self, collection: _Optional[str] = ..., view_schema: _Optional[str] = ..., view_name: _Optional[str] = ...) -> None: ...

class UnexposeCollectionResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ListExposuresRequest(_message.Message):
    __slots__ = ("collection",)
    COLLECTION_FIELD_NUMBER: _ClassVar[int]
    collection: str
    def __init__(self, collection: _Optional[str] = ...) -> None: ...

class ListExposuresResponse(_message.Message):
    __slots__ = ("exposures",)
    EXPOSURES_FIELD_NUMBER: _ClassVar[int]
    exposures: _containers.RepeatedCompositeFieldContainer[_exposure_pb2.Exposure]
    def __init__(self, exposures: _Optional[_Iterable[_Union[_exposure_pb2.Exposure, _Mapping]]] = ...) -> None: ...
