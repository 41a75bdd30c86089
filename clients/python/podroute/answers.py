"""The messages of responses to Python values. Pure: no channel, no clock."""

from __future__ import annotations

import json
from typing import Any

from podroute.errors import Error, Internal, from_result_status
from podroute.messages import METRICS, PATHS
from podroute.v1 import collection_service_pb2 as collections
from podroute.v1 import record_pb2, route_pb2
from podroute.v1 import shard_map_service_pb2 as shard_maps
from podroute.v1 import vector_service_pb2 as vectors
from podroute.values import (
    Collection,
    CountResult,
    DeleteResult,
    FetchResult,
    IncompleteReason,
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
    Unknown,
    UpdateMetadataResult,
    UpsertResult,
)

_METRIC_NAMES: dict[int, Metric] = {value: name for name, value in METRICS.items()}
_PATH_NAMES: dict[int, Path] = {value: name for name, value in PATHS.items() if name != "auto"}
_POD_STATES: dict[int, PodState] = {
    shard_maps.POD_STATE_SERVING: "serving",
    shard_maps.POD_STATE_UNREACHABLE: "unreachable",
    shard_maps.POD_STATE_UNCONFIGURED: "unconfigured",
}
_INCOMPLETE_REASONS: dict[int, IncompleteReason] = {
    vectors.INCOMPLETE_REASON_TIMED_OUT: "timed_out",
    vectors.INCOMPLETE_REASON_SCAN_LIMITED: "scan_limited",
}


def route(message: route_pb2.Route) -> Route:
    """The way a call was served."""
    return Route(
        path=_PATH_NAMES.get(message.path, "unknown"),
        pods=tuple(message.pods),
        map_revision=message.map_revision,
        on_primary=message.on_primary,
    )


def upsert_result(message: vectors.UpsertResponse) -> UpsertResult:
    """How many records were written."""
    return UpsertResult(upserted_count=message.upserted_count, route=route(message.route))


def fetch_result(message: vectors.FetchResponse) -> FetchResult:
    """Records found, and ids that were not."""
    return FetchResult(
        records=tuple(record(each) for each in message.records),
        missing_ids=tuple(message.missing_ids),
        route=route(message.route),
    )


def delete_result(message: vectors.DeleteResponse) -> DeleteResult:
    """How many records were deleted, and which, where that was asked for."""
    return DeleteResult(
        deleted_count=message.deleted_count, deleted_ids=tuple(message.deleted_ids), route=route(message.route)
    )


def update_metadata_result(message: vectors.UpdateMetadataResponse) -> UpdateMetadataResult:
    """How many records were updated."""
    return UpdateMetadataResult(updated_count=message.updated_count, route=route(message.route))


def scanned_record(message: record_pb2.Record) -> ScannedRecord:
    """One record of a scan."""
    return ScannedRecord(
        id=message.id,
        metadata=_metadata(message.metadata, message.id) if message.metadata else None,
        vector=message.vector.values[:] if message.HasField("vector") else None,
    )


def count_result(message: vectors.CountResponse) -> CountResult:
    """How many records there are."""
    return CountResult(count=message.count, route=route(message.route))


def query_result(message: vectors.QueryResponse) -> QueryResult:
    """Matches, in the router's order."""
    return QueryResult(
        matches=tuple(_match(each) for each in message.matches),
        route=route(message.route),
        complete=message.complete,
        incomplete_reason=_incomplete_reason(message.incomplete_reason),
    )


def _incomplete_reason(value: int) -> IncompleteReason | Unknown | None:
    return _INCOMPLETE_REASONS.get(value, "unknown") if value else None


def batch_query_result(message: vectors.BatchQueryResponse) -> tuple[QueryResult | Error, ...]:
    """What became of each query, in their order."""
    return tuple(_outcome(each) for each in message.results)


def _outcome(message: vectors.BatchQueryResult) -> QueryResult | Error:
    match message.WhichOneof("outcome"):
        case "response":
            try:
                return query_result(message.response)
            except Internal as error:  # metadata that Python cannot read
                return error
        case "error":
            return from_result_status(message.error)
    return Internal("the router says nothing of this query", reason="OUTCOME_MISSING")


def _match(message: record_pb2.Match) -> Match:
    return Match(
        id=message.id,
        distance=message.distance,
        metadata=_metadata(message.metadata, message.id) if message.metadata else None,
        vector=message.vector.values[:] if message.HasField("vector") else None,
    )


def record(message: record_pb2.Record) -> Record:
    """A stored record."""
    metadata = _metadata(message.metadata, message.id) if message.metadata else {}
    return Record(message.id, message.vector.values[:], metadata)


def _metadata(text: str, record_id: str) -> dict[str, Any]:
    try:
        metadata: dict[str, Any] = json.loads(text)
    except ValueError as error:  # Python reads no integer beyond 4300 digits; jsonb stores such
        raise Internal(
            "the metadata of a record cannot be read", reason="METADATA_UNREADABLE", metadata={"id": record_id}
        ) from error
    return metadata


def metric_name(value: int) -> Metric | Unknown:
    """The name of a metric."""
    return _METRIC_NAMES.get(value, "unknown")


def collection(message: collections.Collection) -> Collection:
    """A collection and its placement."""
    placement = message.placement
    return Collection(
        name=message.name,
        dimension=message.dimension,
        metric=metric_name(message.metric),
        placement=Placement(
            pod=placement.pod,
            table_schema=placement.table_schema,
            table_name=placement.table_name,
            generation=placement.generation,
        ),
    )


def shard_map(message: shard_maps.ShardMap) -> ShardMap:
    """The shard map as the router holds it."""
    return ShardMap(
        revision=message.revision,
        pods=tuple(message.pods),
        collections=tuple(collection(each) for each in message.collections),
    )


def pod(message: shard_maps.Pod) -> Pod:
    """A pod, with what the router knows of it."""
    return Pod(
        name=message.name,
        state=_POD_STATES.get(message.state, "unknown"),
        collection_count=message.collection_count,
        on_primary=message.on_primary,
    )
