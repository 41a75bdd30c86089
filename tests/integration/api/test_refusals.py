"""Calls that cannot be served are refused with code, reason and field, at the least cost."""

from __future__ import annotations

import json
import math
from typing import Any

import grpc
import pytest
from google.rpc import error_details_pb2
from podroute.v1 import collection_service_pb2 as collections_pb
from podroute.v1 import vector_service_pb2 as vectors_pb
from podroute_router.api.server import TRANSPORT_LEAST_BYTES

from .face import CALL_TIMEOUT_S, LIMIT_BYTES, Face, failure


@pytest.mark.parametrize(
    ("method", "request_", "expected"),
    [
        ("Query", {"collection": "docs"}, ("INVALID_ARGUMENT", "TARGET_MISSING", "target")),
        ("Query", {"collection": "Docs", "id": "a"}, ("INVALID_ARGUMENT", "COLLECTION_NAME", "collection")),
        ("Query", {"collection": "other", "id": "a"}, ("NOT_FOUND", "COLLECTION_NOT_FOUND", None)),
        ("Query", {"collection": "docs", "id": "zz"}, ("NOT_FOUND", "RECORD_NOT_FOUND", None)),
        (
            "Query",
            {"collection": "docs", "vector": {"values": [1, 2, 3]}},
            ("INVALID_ARGUMENT", "DIMENSION_MISMATCH", "vector"),
        ),
        ("Query", {"collection": "docs", "vector": {}}, ("INVALID_ARGUMENT", "DIMENSION_MISMATCH", "vector")),
        ("Query", {"collection": "docs", "id": "a", "limit": 51}, ("INVALID_ARGUMENT", "LIMIT", "limit")),
        ("Query", {"collection": "docs", "id": "a", "path": 9}, ("INVALID_ARGUMENT", "ACCESS_PATH", "path")),
        ("Query", {"collection": "docs", "id": "a", "path": 2}, ("UNIMPLEMENTED", "PATH_NOT_SERVED", None)),
        ("Upsert", {"collection": "docs"}, ("INVALID_ARGUMENT", "RECORD_COUNT", "records")),
        (
            "Upsert",
            {"collection": "docs", "records": [{"id": "x", "vector": {"values": [1, math.inf]}}]},
            ("INVALID_ARGUMENT", "VECTOR_NOT_FINITE", "records[0].vector"),
        ),
        ("Delete", {"collection": "docs"}, ("INVALID_ARGUMENT", "TARGET_MISSING", "target")),
        ("Fetch", {"collection": "docs"}, ("INVALID_ARGUMENT", "ID_COUNT", "ids")),
        ("Count", {"collection": "docs", "filter": {}}, ("INVALID_ARGUMENT", "FILTER_EMPTY", "filter")),
    ],
)
async def test_a_bad_call_is_refused_with_its_code_reason_and_field(
    face: Face, method: str, request_: dict[str, Any], expected: tuple[str, str, str | None]
) -> None:
    message = getattr(vectors_pb, f"{method}Request")(**request_)
    got, info, status = await failure(getattr(face.vectors, method)(message, timeout=CALL_TIMEOUT_S))
    bad = error_details_pb2.BadRequest()
    fields = [one.field for packed in status.details if packed.Unpack(bad) for one in bad.field_violations]
    assert (got.name, info.reason, *(fields or [None])) == expected
    counted = await face.vectors.Count(vectors_pb.CountRequest(collection="docs"))
    assert counted.count == 3


@pytest.mark.parametrize(
    ("request_", "code", "reason"),
    [
        ({"name": "docs", "dimension": 2}, "ALREADY_EXISTS", "COLLECTION_EXISTS"),
        ({"name": "Docs", "dimension": 2}, "INVALID_ARGUMENT", "COLLECTION_NAME"),
        ({"name": "x", "dimension": 0}, "INVALID_ARGUMENT", "DIMENSION"),
        ({"name": "x", "dimension": 2, "pod": "nowhere"}, "NOT_FOUND", "POD_NOT_FOUND"),
        ({"name": "x", "dimension": 2, "metric": 77}, "INVALID_ARGUMENT", "METRIC"),
    ],
)
async def test_a_collection_that_cannot_be_is_refused(
    face: Face, request_: dict[str, Any], code: str, reason: str
) -> None:
    call = face.collections.CreateCollection(collections_pb.CreateCollectionRequest(**request_))
    got, info, _ = await failure(call)
    assert (got.name, info.reason) == (code, reason)


async def test_a_stream_is_refused_in_the_same_way(face: Face) -> None:
    async def build(**request: Any) -> list[collections_pb.CreateIndexResponse]:
        return [event async for event in face.collections.CreateIndex(collections_pb.CreateIndexRequest(**request))]

    code, info, _ = await failure(build(collection="docs"))
    assert (code, info.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "METHOD_MISSING")
    code, info, _ = await failure(build(collection="other", hnsw={}))
    assert (code, info.reason) == (grpc.StatusCode.NOT_FOUND, "COLLECTION_NOT_FOUND")


@pytest.mark.parametrize("algorithm", [grpc.Compression.Gzip, grpc.Compression.Deflate], ids=lambda a: a.name)
async def test_a_compressed_request_is_refused_unread(face: Face, algorithm: grpc.Compression) -> None:
    """Of a few kilobytes it could make gigabytes."""
    request = vectors_pb.FetchRequest(collection="docs", ids=["x" * 1000] * 40)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await face.vectors.Fetch(request, timeout=CALL_TIMEOUT_S, compression=algorithm)
    assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED


@pytest.mark.parametrize("payload", [b"\xff\xff\xff", b"\x0a\x02\xff\xfe"], ids=["no_tag", "no_utf8"])
@pytest.mark.parametrize(
    "method", ["VectorService/Query", "VectorService/Upsert", "CollectionService/CreateCollection"]
)
async def test_bytes_that_do_not_decode_are_an_invalid_argument(face: Face, method: str, payload: bytes) -> None:
    call = face.channel.unary_unary(f"/podroute.v1.{method}")
    code, info, _ = await failure(call(payload, timeout=CALL_TIMEOUT_S))
    assert (code, info.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "UNDECODABLE")


async def test_a_filter_nested_beyond_protobufs_bound_is_an_invalid_argument(face: Face) -> None:
    nested = b""
    for _ in range(200):
        nested = b"\x1a" + _varint(len(nested)) + nested  # Filter.negated
    payload = b"\x0a\x04docs" + b"\x12" + _varint(len(nested)) + nested  # CountRequest.filter
    call = face.channel.unary_unary("/podroute.v1.VectorService/Count")
    code, info, _ = await failure(call(payload, timeout=CALL_TIMEOUT_S))
    assert (code, info.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "UNDECODABLE")


def _varint(number: int) -> bytes:
    return bytes([number & 0x7F | 0x80, number >> 7]) if number > 0x7F else bytes([number])


async def test_a_request_over_the_limit_is_refused_with_both_sizes(face: Face) -> None:
    request = vectors_pb.FetchRequest(collection="docs", ids=["x" * 1000] * 70)
    code, info, _ = await failure(face.vectors.Fetch(request, timeout=CALL_TIMEOUT_S))
    assert (code, info.reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "MESSAGE_TOO_LARGE")
    assert info.metadata["limit_bytes"] == str(LIMIT_BYTES)
    assert info.metadata["size_bytes"] == str(request.ByteSize())


async def test_a_request_far_over_the_limit_is_refused_unread(face: Face) -> None:
    call = face.channel.unary_unary("/podroute.v1.VectorService/Fetch")
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call(bytes(TRANSPORT_LEAST_BYTES + 1), timeout=CALL_TIMEOUT_S)
    assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED


async def test_a_response_over_the_limit_is_refused_with_what_to_lower(face: Face) -> None:
    metadata = json.dumps({"x": "y" * 20_000})
    for n in range(4):
        record = {"id": f"big{n}", "vector": {"values": [0, 1]}, "metadata": metadata}
        await face.vectors.Upsert(vectors_pb.UpsertRequest(collection="docs", records=[record]))
    ids = [f"big{n}" for n in range(4)]
    try:
        code, info, status = await failure(face.vectors.Fetch(vectors_pb.FetchRequest(collection="docs", ids=ids)))
        assert (code, info.reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "RESPONSE_TOO_LARGE")
        assert "`ids`" in status.message
        fewer = await face.vectors.Fetch(vectors_pb.FetchRequest(collection="docs", ids=ids[:3]))
        assert len(fewer.records) == 3
    finally:
        await face.vectors.Delete(vectors_pb.DeleteRequest(collection="docs", ids={"ids": ids}))


async def test_a_backend_that_makes_no_views_exposes_no_collections(face: Face) -> None:
    request = collections_pb.ExposeCollectionRequest(collection="docs")
    code, info, _ = await failure(face.collections.ExposeCollection(request))
    assert (code, info.reason) == (grpc.StatusCode.UNIMPLEMENTED, "EXPOSURE_UNSUPPORTED")
    assert not (await face.collections.ListExposures(collections_pb.ListExposuresRequest())).exposures
