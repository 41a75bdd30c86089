"""The podroute client.

    import podroute

    with podroute.Client("127.0.0.1:50051") as client:
        client.create_collection("docs", dimension=3)
        client.upsert("docs", [("a", [0.1, 0.2, 0.3], {"year": 2012}), ("b", [0.3, 0.2, 0.1], {"year": 2020})])
        client.create_index("docs")
        result = client.query("docs", [0.1, 0.2, 0.3], limit=5, filter={"year": {"$gte": 2012}}, include_metadata=True)
        for match in result.matches:
            print(match.id, match.distance, match.metadata)
        print(result.route.path, result.route.pods)

`AsyncClient` has the same methods to await. `podroute.filters` tells how filters are written, `podroute.errors` what is
raised, `podroute.service_config` how calls are retried.
"""

from podroute.async_client import AsyncClient
from podroute.client import Client
from podroute.errors import (
    Aborted,
    AlreadyExists,
    Cancelled,
    DeadlineExceeded,
    Error,
    FailedPrecondition,
    FieldViolation,
    FilterError,
    Internal,
    InvalidArgument,
    NotFound,
    PermissionDenied,
    ResourceExhausted,
    Unauthenticated,
    Unavailable,
    Unimplemented,
)
from podroute.queries import Count, Delete, Query
from podroute.values import (
    AdoptableTable,
    AdoptedCollection,
    Collection,
    ColumnType,
    CountResult,
    DeleteResult,
    Explanation,
    ExposedColumn,
    Exposure,
    FetchResult,
    Finding,
    Index,
    IndexMethod,
    IndexProgress,
    Match,
    Metric,
    Path,
    Placement,
    Pod,
    PodState,
    QueryResult,
    Record,
    Route,
    ScannedRecord,
    ShardMap,
    UpdateMetadataResult,
    UpdateMode,
    UpsertManyResult,
    UpsertMode,
    UpsertResult,
)

__all__ = [
    "Aborted",
    "AdoptableTable",
    "AdoptedCollection",
    "AlreadyExists",
    "AsyncClient",
    "Cancelled",
    "Client",
    "Collection",
    "ColumnType",
    "Count",
    "CountResult",
    "DeadlineExceeded",
    "Delete",
    "DeleteResult",
    "Error",
    "Explanation",
    "ExposedColumn",
    "Exposure",
    "FailedPrecondition",
    "FetchResult",
    "FieldViolation",
    "FilterError",
    "Finding",
    "Index",
    "IndexMethod",
    "IndexProgress",
    "Internal",
    "InvalidArgument",
    "Match",
    "Metric",
    "NotFound",
    "Path",
    "PermissionDenied",
    "Placement",
    "Pod",
    "PodState",
    "Query",
    "QueryResult",
    "Record",
    "ResourceExhausted",
    "Route",
    "ScannedRecord",
    "ShardMap",
    "Unauthenticated",
    "Unavailable",
    "Unimplemented",
    "UpdateMetadataResult",
    "UpdateMode",
    "UpsertManyResult",
    "UpsertMode",
    "UpsertResult",
]
