"""Each field of each request has a bound, seen here, or needs none; a new field has to be put into the table."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator, Iterator
from typing import Any, NamedTuple

import grpc
import podroute
import pytest
import pytest_asyncio
from google.protobuf import json_format
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message_factory import GetMessageClass
from podroute.errors import from_rpc_error
from podroute.v1 import collection_service_pb2, shard_map_service_pb2, vector_service_pb2
from podroute_router.server import Router

SERVICES = [
    service
    for file in (vector_service_pb2, collection_service_pb2, shard_map_service_pb2)
    for service in file.DESCRIPTOR.services_by_name.values()
]
METHODS = {method.name: method for service in SERVICES for method in service.methods}

NAME = "bounds"
LONG_NAME, LONG_ID = "a" * 49, "x" * 1025
LONG_IDENTIFIER = "x" * 64
GOOD = {"id": "a", "vector": {"values": [1, 2, 3]}}
VECTOR = {"vector": GOOD["vector"]}


def comparison(**fields: Any) -> dict[str, Any]:
    return {"comparison": {"path": ["a"], "operator": "OPERATOR_EQ", "values": [{"int64Value": 1}], **fields}}


def value(**fields: Any) -> dict[str, Any]:
    return comparison(values=[fields])


class Beyond(NamedTuple):
    """A request in which a field is out of bounds, and the reason it is refused with."""

    method: str
    request: dict[str, Any]
    reason: str


def filtered(node: dict[str, Any], reason: str) -> Beyond:
    return Beyond("Count", {"collection": NAME, "filter": node}, reason)


def query(reason: str, **fields: Any) -> Beyond:
    return Beyond("Query", {"collection": NAME, **VECTOR, **fields}, reason)


def upserts(reason: str, record: dict[str, Any]) -> Beyond:
    return Beyond("Upsert", {"collection": NAME, "records": [{**GOOD, **record}]}, reason)


def created(reason: str, **fields: Any) -> Beyond:
    return Beyond("CreateCollection", {"name": "made", "dimension": 3, **fields}, reason)


def indexed(reason: str, **fields: Any) -> Beyond:
    return Beyond("CreateIndex", {"collection": NAME, **fields}, reason)


def exposed(reason: str, **fields: Any) -> Beyond:
    return Beyond("ExposeCollection", {"collection": NAME, **fields}, reason)


def column(reason: str, **fields: Any) -> Beyond:
    return exposed(reason, columns=[{"name": "a", **fields}])


def adopted(reason: str, **fields: Any) -> Beyond:
    return Beyond("AdoptCollection", {"pod": "alpha", "tableName": "a", **fields}, reason)


BOUNDS: dict[str, Beyond] = {
    "Record.id": upserts("RECORD_ID", {"id": LONG_ID}),
    "Record.metadata": upserts("METADATA", {"metadata": '{"a": "' + "x" * 1024 * 1024 + '"}'}),
    "Vector.values": upserts("DIMENSION_MISMATCH", {"vector": {"values": [1] * 16_001}}),
    "UpsertRequest.records": Beyond("Upsert", {"collection": NAME, "records": [GOOD] * 10_001}, "RECORD_COUNT"),
    "UpsertRequest.mode": Beyond("Upsert", {"collection": NAME, "records": [GOOD], "mode": 9}, "UPSERT_MODE"),
    "UpsertStreamRequest.records": Beyond(
        "UpsertStream", {"collection": NAME, "records": [GOOD] * 10_001}, "RECORD_COUNT"
    ),
    "UpsertStreamRequest.mode": Beyond(
        "UpsertStream", {"collection": NAME, "records": [GOOD], "mode": 9}, "UPSERT_MODE"
    ),
    "QueryRequest.id": Beyond("Query", {"collection": NAME, "id": LONG_ID}, "RECORD_ID"),
    "QueryRequest.limit": query("LIMIT", limit=1001),
    "QueryRequest.metric": query("METRIC", metric=9),
    "QueryRequest.max_distance": query("MAX_DISTANCE", maxDistance="NaN"),
    "QueryRequest.metadata_keys": query("METADATA_KEYS", metadataKeys=["a"] * 65),
    "SearchParams.ef_search": query("EF_SEARCH", params={"efSearch": 1001}),
    "SearchParams.probes": query("PROBES", params={"probes": 32_769}),
    "SearchParams.iterative_scan": query("ITERATIVE_SCAN", params={"iterativeScan": 9}),
    "SearchParams.max_scan_tuples": query("MAX_SCAN_TUPLES", params={"maxScanTuples": 0}),
    "FilterList.filters": filtered({"anyOf": {"filters": [comparison()] * 257}}, "FILTER_TOO_LARGE"),
    "Comparison.path": filtered(comparison(path=["a"] * 17), "FILTER_PATH"),
    "Comparison.operator": filtered(comparison(operator=99), "FILTER_OPERATOR"),
    "Comparison.values": filtered(
        comparison(operator="OPERATOR_IN", values=[{"int64Value": 1}] * 1001), "FILTER_VALUES"
    ),
    "Value.double_value": filtered(value(doubleValue="Infinity"), "FILTER_VALUE"),
    "Value.string_value": filtered(value(stringValue="x" * (64 * 1024 + 1)), "FILTER_VALUE"),
    "Value.null_value": filtered(comparison(operator="OPERATOR_LT", values=[{"nullValue": None}]), "FILTER_VALUE"),
    "BatchQueryRequest.queries": Beyond(
        "BatchQuery", {"queries": [{"collection": NAME, **VECTOR}] * 101}, "QUERY_COUNT"
    ),
    "FetchRequest.ids": Beyond("Fetch", {"collection": NAME, "ids": ["a"] * 1001}, "ID_COUNT"),
    "IdList.ids": Beyond("Delete", {"collection": NAME, "ids": {"ids": ["a"] * 10_001}}, "ID_COUNT"),
    "UpdateMetadataRequest.metadata": Beyond(
        "UpdateMetadata", {"collection": NAME, "ids": {"ids": ["a"]}, "metadata": "[]"}, "METADATA"
    ),
    "UpdateMetadataRequest.mode": Beyond(
        "UpdateMetadata", {"collection": NAME, "ids": {"ids": ["a"]}, "metadata": "{}", "mode": 9}, "UPDATE_MODE"
    ),
    "ScanRequest.resume_token": Beyond("Scan", {"collection": NAME, "resumeToken": "é"}, "RESUME_TOKEN"),
    "ScanRequest.page_size": Beyond("Scan", {"collection": NAME, "pageSize": 1001}, "PAGE_SIZE"),
    "CreateCollectionRequest.name": created("COLLECTION_NAME", name=LONG_NAME),
    "CreateCollectionRequest.dimension": created("DIMENSION", dimension=16_001),
    "CreateCollectionRequest.metric": created("METRIC", metric=9),
    "CreateCollectionRequest.pod": created("POD_NAME", pod="x" * 33),
    "GetCollectionRequest.name": Beyond("GetCollection", {"name": LONG_NAME}, "COLLECTION_NAME"),
    "ListCollectionsRequest.page_size": Beyond("ListCollections", {"pageSize": 1001}, "PAGE_SIZE"),
    "ListCollectionsRequest.page_token": Beyond("ListCollections", {"pageToken": "é"}, "PAGE_TOKEN"),
    "DeleteCollectionRequest.name": Beyond("DeleteCollection", {"name": LONG_NAME}, "COLLECTION_NAME"),
    "Hnsw.m": indexed("HNSW_M", hnsw={"m": 101}),
    "Hnsw.ef_construction": indexed("HNSW_EF_CONSTRUCTION", hnsw={"efConstruction": 1001}),
    "IvfFlat.lists": indexed("IVFFLAT_LISTS", ivfflat={"lists": 32_769}),
    "CreateIndexRequest.metric": indexed("METRIC", hnsw={}, metric=9),
    "DropIndexRequest.name": Beyond("DropIndex", {"collection": NAME, "name": LONG_IDENTIFIER}, "INDEX_NAME"),
    "ListAdoptableTablesRequest.pod": Beyond("ListAdoptableTables", {"pod": "x" * 33}, "POD_NAME"),
    "AdoptCollectionRequest.pod": adopted("POD_NAME", pod="x" * 33),
    "AdoptCollectionRequest.table_name": adopted("TABLE_NAME", tableName=LONG_IDENTIFIER),
    "AdoptCollectionRequest.name": adopted("COLLECTION_NAME", name=LONG_NAME),
    "AdoptCollectionRequest.metric": adopted("METRIC", metric=9),
    "ExposeCollectionRequest.view_schema": exposed("SCHEMA_NAME", viewSchema=LONG_IDENTIFIER),
    "ExposeCollectionRequest.view_name": exposed("VIEW_NAME", viewName=LONG_IDENTIFIER),
    "ExposeCollectionRequest.columns": exposed("COLUMN_COUNT", columns=[{"name": f"a{i}"} for i in range(101)]),
    "ExposeCollectionRequest.roles": exposed("ROLE_COUNT", roles=[f"a{i}" for i in range(101)]),
    "ExposedColumn.name": column("COLUMN_NAME", name=LONG_IDENTIFIER),
    "ExposedColumn.type": column("COLUMN_TYPE", type=99),
    "ExposedColumn.path": column("COLUMN_PATH", path=["a"] * 17),
    "UnexposeCollectionRequest.view_schema": Beyond(  # it is looked up among those there are, and goes nowhere else
        "UnexposeCollection", {"collection": NAME, "viewSchema": LONG_IDENTIFIER}, "EXPOSURE_NOT_FOUND"
    ),
    "UnexposeCollectionRequest.view_name": Beyond(
        "UnexposeCollection", {"collection": NAME, "viewName": LONG_IDENTIFIER}, "EXPOSURE_NOT_FOUND"
    ),
}
"""A request beyond the bound of each field."""

EVERY_WHERE = {"collection": ("COLLECTION_NAME", LONG_NAME), "path": ("ACCESS_PATH", 9)}
"""Fields that are checked alike in every request that has them."""

BOUNDLESS = {
    "Value.int64_value": "any number of 64 bits will do",
    "UpsertStreamRequest.sequence": "the caller's own mark, which is given back",
}
"""Fields whose type is their bound. So it is with every bool; a message has the bounds of its fields."""


def fields_of(descriptor: Descriptor, seen: set[str]) -> Iterator[FieldDescriptor]:
    """The fields of a request and of what is in it, each once."""
    if descriptor.full_name in seen:
        return
    seen.add(descriptor.full_name)
    for field in descriptor.fields:
        yield field
        if field.message_type is not None:
            yield from fields_of(field.message_type, seen)


def name_of(field: FieldDescriptor) -> str:
    return f"{field.containing_type.name}.{field.name}"


ALL_FIELDS = {name_of(field): field for method in METHODS.values() for field in fields_of(method.input_type, set())}


def is_checked_everywhere(field: FieldDescriptor) -> bool:
    is_path = field.enum_type is not None and field.enum_type.name == "AccessPath"
    return field.name == "collection" or (field.name == "path" and is_path)


def needs_bound(field: FieldDescriptor) -> bool:
    if is_checked_everywhere(field) or name_of(field) in BOUNDLESS or field.type == FieldDescriptor.TYPE_BOOL:
        return False
    return field.message_type is None or field.is_repeated


def test_every_field_has_a_bound_or_is_one_that_needs_none() -> None:
    assert {name for name, field in ALL_FIELDS.items() if needs_bound(field)} == BOUNDS.keys()
    assert ALL_FIELDS.keys() >= BOUNDLESS.keys()


@pytest_asyncio.fixture(scope="module")
async def channel(router: Router, client: podroute.AsyncClient) -> AsyncIterator[grpc.aio.Channel]:
    async with asyncio.timeout(30):
        while "alpha" not in (await client.shard_map()).pods:
            await asyncio.sleep(0.02)
    await client.create_collection(NAME, dimension=3, pod="alpha")
    async with grpc.aio.insecure_channel(router.address, [("grpc.max_send_message_length", -1)]) as opened:
        yield opened
    await client.delete_collection(NAME)


async def reason_of(channel: grpc.aio.Channel, method: str, request: dict[str, Any]) -> str:
    """What the request is refused with."""
    called = METHODS[method]
    payload = json_format.ParseDict(request, GetMessageClass(called.input_type)()).SerializeToString()
    name = f"/{called.containing_service.full_name}/{method}"
    try:
        if called.client_streaming:
            [_ async for _ in channel.stream_stream(name)(iter([payload]))]
        elif called.server_streaming:
            [_ async for _ in channel.unary_stream(name)(payload)]
        else:
            await channel.unary_unary(name)(payload)
    except grpc.aio.AioRpcError as error:
        return from_rpc_error(error).reason
    return "none"


@pytest.mark.parametrize("field", BOUNDS)
async def test_what_is_beyond_the_bound_is_refused(channel: grpc.aio.Channel, field: str) -> None:
    beyond = BOUNDS[field]
    assert await reason_of(channel, beyond.method, beyond.request) == beyond.reason


@pytest.mark.parametrize("method", METHODS)
async def test_a_collection_and_a_path_are_checked_wherever_they_stand(channel: grpc.aio.Channel, method: str) -> None:
    for field in METHODS[method].input_type.fields:
        if is_checked_everywhere(field):
            reason, wrong = EVERY_WHERE[field.name]
            assert await reason_of(channel, method, {"collection": NAME, field.name: wrong}) == reason


async def test_a_token_is_no_longer_than_its_bound(channel: grpc.aio.Channel) -> None:
    """Control: without the bound the scan goes on after an id of 10 MiB."""
    token = podroute_token("x" * 10 * 1024 * 1024)
    assert await reason_of(channel, "Scan", {"collection": NAME, "resumeToken": token}) == "RESUME_TOKEN"


def podroute_token(record_id: str) -> str:
    """As a scan gives it out."""
    return base64.urlsafe_b64encode(f"{NAME}:{record_id}".encode()).decode()
