"""Every bad input gets the same clear error on both paths, and nothing is written."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, NamedTuple

import grpc
import podroute
import pytest
import pytest_asyncio
from google.protobuf.internal.encoder import _VarintBytes
from google.protobuf.message import Message
from google.rpc import error_details_pb2
from grpc_status import rpc_status
from podroute.v1 import (
    collection_service_pb2,
    filter_pb2,
    record_pb2,
    route_pb2,
    vector_service_pb2,
)
from podroute_router.config import Config
from podroute_router.server import Router

DIMENSION = 3
NAME = "bad_input"
GOOD = [1.0, 2.0, 3.0]
PATHS = {"direct": route_pb2.ACCESS_PATH_DIRECT, "fdw": route_pb2.ACCESS_PATH_FDW}

INVALID = grpc.StatusCode.INVALID_ARGUMENT

Call = Callable[..., Awaitable[Any]]


class Refusal(NamedTuple):
    """What a caller is told."""

    code: grpc.StatusCode
    reason: str
    field: str


@pytest_asyncio.fixture(scope="module")
async def call(router: Router) -> AsyncIterator[Call]:
    """Calls an RPC by name with a request, or with bytes that may be none."""
    options = [("grpc.max_send_message_length", -1)]
    async with grpc.aio.insecure_channel(router.address, options) as channel:

        async def send(method: str, request: Message | bytes) -> Any:
            data = request if isinstance(request, bytes) else request.SerializeToString()
            return await channel.unary_unary(f"/podroute.v1.{method}")(data)

        yield send


@pytest_asyncio.fixture(scope="module", autouse=True)
async def collection(client: podroute.AsyncClient) -> AsyncIterator[None]:
    await client.create_collection(NAME, dimension=DIMENSION, pod="alpha")
    yield
    assert (await client.count(NAME)).count == 0
    await client.delete_collection(NAME)


async def refusal(call: Call, method: str, request: Message | bytes) -> Refusal:
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await call(method, request)
    status = rpc_status.from_call(refused.value)
    assert status is not None
    info, fields = error_details_pb2.ErrorInfo(), error_details_pb2.BadRequest()
    kinds = [detail.Unpack(info) for detail in status.details]
    assert sum(kinds) == 1
    assert info.domain == "podroute"
    for detail in status.details:
        detail.Unpack(fields)
    named = [violation.field for violation in fields.field_violations]
    return Refusal(refused.value.code(), info.reason, named[0] if named else "")


def upsert(*records: tuple[str, list[float], str], **fields: Any) -> vector_service_pb2.UpsertRequest:
    good = record_pb2.Record(id="good", vector=record_pb2.Vector(values=GOOD))
    bad = [
        record_pb2.Record(id=record_id, vector=record_pb2.Vector(values=vector), metadata=metadata)
        for record_id, vector, metadata in records
    ]
    return vector_service_pb2.UpsertRequest(**{"collection": NAME, "records": [good, *bad], **fields})


def query(**fields: Any) -> vector_service_pb2.QueryRequest:
    target = {} if "vector" in fields or "id" in fields else {"vector": record_pb2.Vector(values=GOOD)}
    return vector_service_pb2.QueryRequest(**{"collection": NAME, **target, **fields})


def comparison(operator: int = filter_pb2.OPERATOR_EQ, path: tuple[str, ...] = ("a",), **value: Any) -> Any:
    values = [filter_pb2.Value(**value)] if value else []
    return filter_pb2.Filter(comparison=filter_pb2.Comparison(path=path, operator=operator, values=values))


def vector(*values: float) -> record_pb2.Vector:
    return record_pb2.Vector(values=values)


EMPTY_ALL = filter_pb2.Filter(all_of=filter_pb2.FilterList())
EMPTY_ANY = filter_pb2.Filter(any_of=filter_pb2.FilterList())
DEEP = comparison(int64_value=1)
for _ in range(20):
    DEEP = filter_pb2.Filter(negated=DEEP)
WIDE = filter_pb2.Filter(any_of=filter_pb2.FilterList(filters=[comparison(int64_value=1)] * 300))


class Case(NamedTuple):
    """A request that is refused as INVALID_ARGUMENT."""

    name: str
    method: str
    request: Message
    reason: str
    field: str


def refused_records(reason: str, field: str, **records: tuple[str, list[float], str]) -> list[Case]:
    """Upserts of a good record and a bad one."""
    return [Case(name, "Upsert", upsert(record), reason, f"records[1].{field}") for name, record in records.items()]


def refused_filters(reason: str, **filters: tuple[filter_pb2.Filter, str]) -> list[Case]:
    """Each filter in every RPC that takes one."""
    return [
        Case(f"{name} in {method}", method, make(filter=node), reason, f"filter{field}")
        for name, (node, field) in filters.items()
        for method, make in (("Query", query), ("Count", count), ("Delete", delete))
    ]


def count(**fields: Any) -> vector_service_pb2.CountRequest:
    return vector_service_pb2.CountRequest(collection=NAME, **fields)


def delete(**fields: Any) -> vector_service_pb2.DeleteRequest:
    return vector_service_pb2.DeleteRequest(collection=NAME, **fields)


def fetch(*ids: str) -> vector_service_pb2.FetchRequest:
    return vector_service_pb2.FetchRequest(collection=NAME, ids=ids)


NAN, INFINITY = float("nan"), float("inf")
NESTED = '{"a": ' + "[" * 100 + "]" * 100 + "}"

CASES = [
    *refused_records(
        "DIMENSION_MISMATCH", "vector", none=("a", [], ""), short=("a", [1.0], ""), long=("a", [1.0] * 4, "")
    ),
    Case(
        "no vector",
        "Upsert",
        vector_service_pb2.UpsertRequest(collection=NAME, records=[record_pb2.Record(id="a")]),
        "VECTOR_MISSING",
        "records[0].vector",
    ),
    *refused_records(
        "VECTOR_NOT_FINITE",
        "vector",
        nan=("a", [1, NAN, 1], ""),
        infinity=("a", [1, 1, -INFINITY], ""),
        overflow=("a", [1e39, 1, 1], ""),
    ),
    *refused_records("RECORD_ID", "id", empty=("", GOOD, ""), long_id=("x" * 1025, GOOD, ""), nul=("a\0", GOOD, "")),
    *refused_records(
        "METADATA",
        "metadata",
        array=("a", GOOD, "[]"),
        no_json=("a", GOOD, "{a}"),
        json_nan=("a", GOOD, '{"a": NaN}'),
        nul_escape=("a", GOOD, r'{"a": "\u0000"}'),
        half_pair=("a", GOOD, r'{"a": "\ud800"}'),
        huge_number=("a", GOOD, '{"a": 1e200000}'),
        nested=("a", GOOD, NESTED),
    ),
    Case("no records", "Upsert", vector_service_pb2.UpsertRequest(collection=NAME), "RECORD_COUNT", "records"),
    Case("bad name", "Upsert", upsert(collection="No!"), "COLLECTION_NAME", "collection"),
    Case("no target", "Query", vector_service_pb2.QueryRequest(collection=NAME), "TARGET_MISSING", "target"),
    Case("short target", "Query", query(vector=vector(1)), "DIMENSION_MISMATCH", "vector"),
    Case("target with NaN", "Query", query(vector=vector(1, NAN, 1)), "VECTOR_NOT_FINITE", "vector"),
    Case("empty target id", "Query", query(id=""), "RECORD_ID", "id"),
    *(Case(f"limit {limit}", "Query", query(limit=limit), "LIMIT", "limit") for limit in (0, -1, 1001)),
    Case("greatest distance", "Query", query(max_distance=NAN), "MAX_DISTANCE", "max_distance"),
    Case("metric", "Query", query(metric=99), "METRIC", "metric"),
    *(
        Case(
            f"ef_search {size}",
            "Query",
            query(params=vector_service_pb2.SearchParams(ef_search=size)),
            "EF_SEARCH",
            "params.ef_search",
        )
        for size in (0, 1001)
    ),
    *refused_filters(
        "FILTER_EMPTY", no_kind=(filter_pb2.Filter(), ""), all_of=(EMPTY_ALL, ".all_of"), any_of=(EMPTY_ANY, ".any_of")
    ),
    *refused_filters("FILTER_TOO_DEEP", deep=(DEEP, ".negated" * 16)),
    *refused_filters("FILTER_TOO_LARGE", wide=(WIDE, "")),
    *refused_filters(
        "FILTER_OPERATOR",
        no_operator=(comparison(operator=0, int64_value=1), ".comparison.operator"),
        unknown_operator=(comparison(operator=77, int64_value=1), ".comparison.operator"),
    ),
    *refused_filters(
        "FILTER_PATH",
        no_path=(comparison(path=(), int64_value=1), ".comparison.path"),
        empty_key=(comparison(path=("a", ""), int64_value=1), ".comparison.path[1]"),
    ),
    *refused_filters("FILTER_VALUES", no_value=(comparison(), ".comparison.values")),
    *refused_filters("FILTER_VALUE", value_nan=(comparison(double_value=NAN), ".comparison.values[0]")),
    Case("fetch nothing", "Fetch", fetch(), "ID_COUNT", "ids"),
    Case("fetch too many", "Fetch", fetch(*["a"] * 1001), "ID_COUNT", "ids"),
    Case("fetch an empty id", "Fetch", fetch("a", ""), "RECORD_ID", "ids[1]"),
    Case("delete without a target", "Delete", delete(), "TARGET_MISSING", "target"),
    Case("delete no ids", "Delete", delete(ids=vector_service_pb2.IdList()), "ID_COUNT", "ids.ids"),
]


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
async def test_a_bad_request_is_refused_alike_on_both_paths(call: Call, case: Case, path: str) -> None:
    request = type(case.request)()
    request.CopyFrom(case.request)
    request.path = PATHS[path]
    found = await refusal(call, f"VectorService/{case.method}", request)
    assert found == Refusal(INVALID, case.reason, case.field)


@pytest.mark.parametrize("path", PATHS)
async def test_an_unknown_collection_is_not_found(call: Call, path: str) -> None:
    for method, request in (("Upsert", upsert(collection="nowhere")), ("Query", query(collection="nowhere"))):
        request.path = PATHS[path]
        found = await refusal(call, f"VectorService/{method}", request)
        assert found == Refusal(grpc.StatusCode.NOT_FOUND, "COLLECTION_NOT_FOUND", "")


async def test_an_unknown_path_is_refused(call: Call) -> None:
    assert await refusal(call, "VectorService/Query", query(path=9)) == Refusal(INVALID, "ACCESS_PATH", "path")


def _field(number: int, content: bytes) -> bytes:
    """A message field on the wire."""
    return _VarintBytes(number << 3 | 2) + _VarintBytes(len(content)) + content


async def test_bytes_that_are_no_message_are_refused(call: Call) -> None:
    nested = b""
    for _ in range(150):
        nested = _field(filter_pb2.Filter.NEGATED_FIELD_NUMBER, nested)
    too_deep = query().SerializeToString() + _field(vector_service_pb2.QueryRequest.FILTER_FIELD_NUMBER, nested)
    for data in (b"\xff\xff", b"\x0a\xff", too_deep):
        found = await refusal(call, "VectorService/Query", data)
        assert found == Refusal(INVALID, "UNDECODABLE", "request")


async def test_a_message_beyond_the_limit_is_refused(call: Call, cluster_config: Config) -> None:
    text = json.dumps({"a": "x" * 1_000_000})
    records = [record_pb2.Record(id=str(i), vector=vector(*GOOD), metadata=text) for i in range(70)]
    request = vector_service_pb2.UpsertRequest(collection=NAME, records=records)
    assert cluster_config.limits.max_message_bytes < request.ByteSize() < 2 * cluster_config.limits.max_message_bytes
    found = await refusal(call, "VectorService/Upsert", request)
    assert found == Refusal(grpc.StatusCode.RESOURCE_EXHAUSTED, "MESSAGE_TOO_LARGE", "")


def create(name: str = "fresh", dimension: int = 3, **fields: Any) -> Message:
    return collection_service_pb2.CreateCollectionRequest(name=name, dimension=dimension, **fields)


@pytest.mark.parametrize(
    ("request_", "found"),
    [
        (create(name=""), Refusal(INVALID, "COLLECTION_NAME", "name")),
        (create(name="Bad"), Refusal(INVALID, "COLLECTION_NAME", "name")),
        (create(dimension=0), Refusal(INVALID, "DIMENSION", "dimension")),
        (create(dimension=16001), Refusal(INVALID, "DIMENSION", "dimension")),
        (create(metric=9), Refusal(INVALID, "METRIC", "metric")),
        (create(pod="No!"), Refusal(INVALID, "POD_NAME", "pod")),
        (create(pod="nowhere"), Refusal(grpc.StatusCode.NOT_FOUND, "POD_NOT_FOUND", "")),
        (create(name=NAME), Refusal(grpc.StatusCode.ALREADY_EXISTS, "COLLECTION_EXISTS", "")),
    ],
    ids=lambda value: value.reason if isinstance(value, Refusal) else "",
)
async def test_a_collection_that_cannot_be_is_refused(call: Call, request_: Message, found: Refusal) -> None:
    assert await refusal(call, "CollectionService/CreateCollection", request_) == found


async def test_an_index_that_cannot_be_is_refused(client: podroute.AsyncClient) -> None:
    for arguments, reason in (
        ({"m": 1}, "HNSW_M"),
        ({"m": 101}, "HNSW_M"),
        ({"ef_construction": 3}, "HNSW_EF_CONSTRUCTION"),
        ({"m": 50, "ef_construction": 64}, "HNSW_EF_CONSTRUCTION"),
    ):
        with pytest.raises(podroute.InvalidArgument) as refused:
            await client.create_index(NAME, **arguments)
        assert refused.value.reason == reason


async def test_vectors_too_long_for_an_index_are_told(client: podroute.AsyncClient) -> None:
    await client.create_collection("too_long", dimension=2001, pod="beta")
    try:
        with pytest.raises(podroute.InvalidArgument) as refused:
            await client.create_index("too_long")
        assert refused.value.reason == "DIMENSION_NOT_INDEXABLE"
    finally:
        await client.delete_collection("too_long")
