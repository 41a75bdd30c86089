"""The gRPC face on a real channel, over the in-memory backend: what comes in, what goes out, and how errors travel."""

from __future__ import annotations

import asyncio
import json
import math
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from itertools import count
from typing import Any

import grpc
import pytest
import pytest_asyncio
from google.rpc import error_details_pb2, status_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_health.v1.health import aio as grpc_health
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from no_exposures import NoExposures
from podroute.v1 import collection_service_pb2 as collections_pb
from podroute.v1 import (
    collection_service_pb2_grpc,
    route_pb2,
    shard_map_service_pb2,
    shard_map_service_pb2_grpc,
    vector_service_pb2_grpc,
)
from podroute.v1 import vector_service_pb2 as vectors_pb
from podroute_memory.backend import MemoryBackend
from podroute_router.api.calls import MAX_DEADLINE_S
from podroute_router.api.server import TRANSPORT_LEAST_BYTES, bind, build_grpc_server
from podroute_router.collections import Collections, PodState
from podroute_router.config import Config, ConfigError, make_config
from podroute_router.domain import AccessPath, Collection, Deadline, Index, IndexProgress
from podroute_router.engine import Engine
from podroute_router.errors import AlreadyExists, Unavailable
from podroute_router.shard_map import Change, ShardMap

LIMIT_BYTES = 64 * 1024
POD = "memory"
CALL_TIMEOUT_S = 10.0


class OwnCatalog(NoExposures):
    """The shard map of one process: a catalog that no other router shares."""

    def __init__(self) -> None:
        self.current = ShardMap(1, frozenset({POD}))

    async def refresh(self, deadline: Deadline) -> ShardMap:
        return self.current

    async def add_collection(self, collection: Collection, deadline: Deadline) -> Collection:
        if collection.name in self.current.collections:
            raise AlreadyExists("COLLECTION_EXISTS", "there is one")
        self._apply(Change(collection.name, collection))
        return collection

    async def remove_collection(self, name: str, deadline: Deadline, *, generation: int | None = None) -> bool:
        self._apply(Change(name, None))
        return True

    def _apply(self, change: Change) -> None:
        self.current = self.current.changed(self.current.revision + 1, self.current.pods, [change])


class BrokenBackend(MemoryBackend):
    """A backend with a bug in it, and one that waits for a pod that does not answer."""

    async def count(self, *_: Any) -> int:
        raise KeyError("select secret from detail")

    async def delete(self, *_: Any) -> int:
        try:
            raise OSError("dsn of the pod")
        except OSError as error:
            raise Unavailable("CONNECTION_LOST", "the connection was lost", retry_after_s=0.25) from error

    async def fetch(self, collection: Collection, ids: Any, deadline: Deadline) -> Any:
        raise Unavailable("SEEN", "seconds left", facts={"remaining_s": deadline.remaining_s()})


class SlowCount(MemoryBackend):
    """A backend that counts when it is told to."""

    def __init__(self) -> None:
        super().__init__()
        self.counting = asyncio.Event()
        self.go_on = asyncio.Event()

    async def count(self, *_: Any) -> int:
        self.counting.set()
        await self.go_on.wait()
        return 42


class EndlessBuild(MemoryBackend):
    """A backend whose index builds end only when nobody wants them any more."""

    def __init__(self) -> None:
        super().__init__()
        self.ended = asyncio.Event()

    async def create_index(self, *_: Any) -> AsyncGenerator[IndexProgress | Index]:
        try:
            for done in count(1):
                yield IndexProgress(phase="loading tuples", blocks_done=done, blocks_total=0)
                await asyncio.sleep(0.01)
        finally:
            self.ended.set()


class Face:
    """A client of a server."""

    def __init__(
        self, address: str, channel: grpc.aio.Channel, server: grpc.aio.Server, health: grpc_health.HealthServicer
    ) -> None:
        self.address = address
        self.channel = channel
        self.server = server
        self.health = health
        self.vectors: Any = vector_service_pb2_grpc.VectorServiceStub(channel)
        self.collections: Any = collection_service_pb2_grpc.CollectionServiceStub(channel)
        self.maps: Any = shard_map_service_pb2_grpc.ShardMapServiceStub(channel)


def a_config(**router: Any) -> Config:
    return make_config(
        {
            "router": {"listen": "127.0.0.1:0", **router},
            "primary": {"dsn": "host=127.0.0.1"},
            "pods": {POD: {"dsn": "host=127.0.0.1"}},
            "limits": {"max_message_bytes": LIMIT_BYTES, "max_limit": 50, "max_records": 5000},
            "timeouts": {"default_s": 7.0},
        }
    )


@asynccontextmanager
async def serving(config: Config, backend: MemoryBackend | None = None) -> AsyncIterator[Face]:
    store, catalog, health = backend or MemoryBackend(), OwnCatalog(), grpc_health.HealthServicer()
    engine = Engine(maps=catalog, backends={AccessPath.DIRECT: store}, is_on_primary=config.is_on_primary)
    collections = Collections(
        config=config, maps=catalog, catalog=catalog, store=store, followers=[], pod_states={POD: PodState.SERVING}
    )
    server = build_grpc_server(config, engine, collections, health)
    address = f"127.0.0.1:{bind(server, config.router.listen)}"
    await server.start()
    try:
        async with grpc.aio.insecure_channel(address) as channel:
            yield Face(address, channel, server, health)
    finally:
        await server.stop(None)


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def face() -> AsyncIterator[Face]:
    """A server with a collection `docs` of dimension 2."""
    async with serving(a_config()) as opened:
        await opened.collections.CreateCollection(
            collections_pb.CreateCollectionRequest(name="docs", dimension=2), timeout=CALL_TIMEOUT_S
        )
        records = [
            {"id": name, "vector": {"values": [1, n]}, "metadata": json.dumps({"n": n})} for n, name in enumerate("abc")
        ]
        await opened.vectors.Upsert(
            vectors_pb.UpsertRequest(collection="docs", records=records), timeout=CALL_TIMEOUT_S
        )
        yield opened


async def failure(call: Any) -> tuple[grpc.StatusCode, error_details_pb2.ErrorInfo, status_pb2.Status]:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    packed = dict(caught.value.trailing_metadata() or ()).get("grpc-status-details-bin")
    assert packed is not None, f"no google.rpc.Status: {caught.value}"
    status = status_pb2.Status.FromString(packed)
    assert status.code == caught.value.code().value[0]
    assert status.message == caught.value.details()
    info = error_details_pb2.ErrorInfo()
    assert status.details[0].Unpack(info)
    assert info.domain == "podroute"
    return caught.value.code(), info, status


async def test_a_query_finds_what_was_written(face: Face) -> None:
    request = vectors_pb.QueryRequest(
        collection="docs", vector={"values": [1, 0]}, limit=2, include_metadata=True, include_vector=True
    )
    response = await face.vectors.Query(request, timeout=CALL_TIMEOUT_S)
    assert [match.id for match in response.matches] == ["a", "b"]
    assert [list(match.vector.values) for match in response.matches] == [[1, 0], [1, 1]]
    assert json.loads(response.matches[1].metadata) == {"n": 1}
    assert response.route == route_pb2.Route(path="ACCESS_PATH_DIRECT", pods=[POD], map_revision=2)
    assert response.complete


async def test_neighbours_of_a_record_come_without_itself(face: Face) -> None:
    response = await face.vectors.Query(vectors_pb.QueryRequest(collection="docs", id="c"), timeout=CALL_TIMEOUT_S)
    assert [match.id for match in response.matches] == ["b", "a"]
    assert response.matches[0].metadata == ""


async def test_records_are_fetched_counted_and_deleted(face: Face) -> None:
    record = {"id": "gone", "vector": {"values": [5, 5]}}
    written = await face.vectors.Upsert(vectors_pb.UpsertRequest(collection="docs", records=[record, record]))
    assert written.upserted_count == 1
    fetched = await face.vectors.Fetch(vectors_pb.FetchRequest(collection="docs", ids=["gone", "no", "gone"]))
    assert [one.id for one in fetched.records] == ["gone"]
    assert fetched.records[0].metadata == "{}"
    assert list(fetched.missing_ids) == ["no"]
    deleted = await face.vectors.Delete(vectors_pb.DeleteRequest(collection="docs", ids={"ids": ["gone", "no"]}))
    assert deleted.deleted_count == 1
    assert list(deleted.deleted_ids) == []
    counted = await face.vectors.Count(vectors_pb.CountRequest(collection="docs"))
    assert counted.count == 3
    assert counted.route.pods == [POD]


async def test_a_deletion_returns_ids_where_it_is_asked_to(face: Face) -> None:
    records = [{"id": record_id, "vector": {"values": [5, 5]}} for record_id in ("z", "Z")]
    await face.vectors.Upsert(vectors_pb.UpsertRequest(collection="docs", records=records))
    request = vectors_pb.DeleteRequest(collection="docs", ids={"ids": ["z", "no", "Z", "z"]}, include_ids=True)
    deleted = await face.vectors.Delete(request)
    assert (deleted.deleted_count, list(deleted.deleted_ids)) == (2, ["Z", "z"])
    assert deleted.route.pods == [POD]
    assert not (await face.vectors.Delete(request)).deleted_ids


async def test_nothing_is_deleted_where_its_ids_are_more_than_half_a_message(face: Face) -> None:
    ids = [f"{number:03}" + "x" * 997 for number in range(33)]
    records = [{"id": record_id, "vector": {"values": [5, 5]}} for record_id in ids]
    await face.vectors.Upsert(vectors_pb.UpsertRequest(collection="docs", records=records))
    request = vectors_pb.DeleteRequest(collection="docs", ids={"ids": ids}, include_ids=True)
    code, info, _ = await failure(face.vectors.Delete(request))
    assert (code, info.reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "RESPONSE_TOO_LARGE")
    deleted = await face.vectors.Delete(vectors_pb.DeleteRequest(collection="docs", ids={"ids": ids}))
    assert deleted.deleted_count == len(ids)


async def test_collections_are_made_listed_and_deleted(face: Face) -> None:
    request = collections_pb.CreateCollectionRequest(name="images", dimension=3, metric="METRIC_L2", pod=POD)
    made = (await face.collections.CreateCollection(request)).collection
    assert (made.name, made.dimension, made.metric, made.placement.pod) == ("images", 3, 2, POD)
    assert (await face.collections.GetCollection(collections_pb.GetCollectionRequest(name="images"))).collection == made
    first = await face.collections.ListCollections(collections_pb.ListCollectionsRequest(page_size=1))
    assert [one.name for one in first.collections] == ["docs"]
    rest = await face.collections.ListCollections(
        collections_pb.ListCollectionsRequest(page_token=first.next_page_token)
    )
    assert [one.name for one in rest.collections] == ["images"]
    assert rest.next_page_token == ""
    shown = (await face.maps.GetShardMap(shard_map_service_pb2.GetShardMapRequest())).shard_map
    assert list(shown.pods) == [POD]
    assert [one.name for one in shown.collections] == ["docs", "images"]
    (pod,) = (await face.maps.ListPods(shard_map_service_pb2.ListPodsRequest())).pods
    assert (pod.name, pod.state, pod.collection_count) == (POD, shard_map_service_pb2.POD_STATE_SERVING, 2)
    await face.collections.DeleteCollection(collections_pb.DeleteCollectionRequest(name="images"))
    code, info, _ = await failure(face.collections.GetCollection(collections_pb.GetCollectionRequest(name="images")))
    assert (code, info.reason) == (grpc.StatusCode.NOT_FOUND, "COLLECTION_NOT_FOUND")


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


async def test_a_caller_that_goes_away_ends_the_build() -> None:
    backend = EndlessBuild()
    async with serving(a_config(), backend) as face:
        await face.collections.CreateCollection(collections_pb.CreateCollectionRequest(name="docs", dimension=2))
        call = face.collections.CreateIndex(collections_pb.CreateIndexRequest(collection="docs", hnsw={}))
        told = [(await call.read()).progress.blocks_done for _ in range(3)]
        assert told == [1, 2, 3]
        assert not backend.ended.is_set()
        call.cancel()
        await asyncio.wait_for(backend.ended.wait(), CALL_TIMEOUT_S)


async def test_a_call_that_ended_at_its_callers_deadline_is_told_of_as_such(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Whether the router's own timer was first or gRPC's."""
    async with serving(a_config(), SlowCount()) as face:
        await face.collections.CreateCollection(collections_pb.CreateCollectionRequest(name="docs", dimension=2))
        for _ in range(5):
            with pytest.raises(grpc.aio.AioRpcError) as ended:
                await face.vectors.Count(vectors_pb.CountRequest(collection="docs"), timeout=0.05)
            assert ended.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        call = face.vectors.Count(vectors_pb.CountRequest(collection="docs"), timeout=CALL_TIMEOUT_S)
        await asyncio.sleep(0.05)
        call.cancel()
        await asyncio.sleep(0.05)
    told = [line for line in capsys.readouterr().out.splitlines() if "Count" in line]
    assert len([line for line in told if "call failed" in line and "DEADLINE_EXCEEDED" in line]) == 5, told


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


async def test_an_unknown_method_is_unimplemented(face: Face) -> None:
    for method in ("/podroute.v1.VectorService/Sing", "/podroute.v1.NoService/Query"):
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await face.channel.unary_unary(method)(b"", timeout=CALL_TIMEOUT_S)
        assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED


async def test_health_is_told_as_it_is_set(face: Face) -> None:
    stub: Any = health_pb2_grpc.HealthStub(face.channel)
    whole = await stub.Check(health_pb2.HealthCheckRequest(), timeout=CALL_TIMEOUT_S)
    assert whole.status == health_pb2.HealthCheckResponse.SERVING
    await face.health.set(f"pod:{POD}", health_pb2.HealthCheckResponse.NOT_SERVING)
    pod = await stub.Check(health_pb2.HealthCheckRequest(service=f"pod:{POD}"), timeout=CALL_TIMEOUT_S)
    assert pod.status == health_pb2.HealthCheckResponse.NOT_SERVING


async def reflected_services(face: Face) -> set[str]:
    stub: Any = reflection_pb2_grpc.ServerReflectionStub(face.channel)
    call = stub.ServerReflectionInfo(
        iter([reflection_pb2.ServerReflectionRequest(list_services="")]), timeout=CALL_TIMEOUT_S
    )
    return {service.name async for answer in call for service in answer.list_services_response.service}


async def test_reflection_tells_of_every_service(face: Face) -> None:
    assert await reflected_services(face) == {
        "podroute.v1.VectorService",
        "podroute.v1.CollectionService",
        "podroute.v1.ShardMapService",
        "grpc.health.v1.Health",
        "grpc.reflection.v1alpha.ServerReflection",
    }


async def test_a_stop_waits_for_the_calls_in_flight_and_not_for_a_health_watch() -> None:
    backend = SlowCount()
    async with serving(a_config(), backend) as face:
        await face.collections.CreateCollection(collections_pb.CreateCollectionRequest(name="docs", dimension=2))
        stub: Any = health_pb2_grpc.HealthStub(face.channel)
        watch = stub.Watch(health_pb2.HealthCheckRequest())
        assert (await watch.read()).status == health_pb2.HealthCheckResponse.SERVING
        call = face.vectors.Count(vectors_pb.CountRequest(collection="docs"), timeout=CALL_TIMEOUT_S)
        counting = asyncio.ensure_future(call)
        await backend.counting.wait()
        stopping = asyncio.create_task(face.server.stop(CALL_TIMEOUT_S))
        await asyncio.sleep(0.1)
        assert not stopping.done()
        backend.go_on.set()
        assert (await counting).count == 42
        await asyncio.wait_for(stopping, 2)


async def test_a_stop_cancels_what_has_not_ended_within_the_grace() -> None:
    backend = SlowCount()
    async with serving(a_config(), backend) as face:
        await face.collections.CreateCollection(collections_pb.CreateCollectionRequest(name="docs", dimension=2))
        counting = asyncio.ensure_future(face.vectors.Count(vectors_pb.CountRequest(collection="docs")))
        await backend.counting.wait()
        await asyncio.wait_for(face.server.stop(0.2), 2)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await counting
        assert caught.value.code() in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED)


async def test_reflection_can_be_switched_off() -> None:
    async with serving(a_config(reflection=False)) as face:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await reflected_services(face)
        assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED


async def test_a_port_that_is_taken_is_a_clear_error() -> None:
    async def build(config: Config) -> grpc.aio.Server:
        maps, store = OwnCatalog(), MemoryBackend()
        engine = Engine(maps=maps, backends={}, is_on_primary=config.is_on_primary)
        collections = Collections(config=config, maps=maps, catalog=maps, store=store, followers=[], pod_states={})
        return build_grpc_server(config, engine, collections, grpc_health.HealthServicer())

    config = a_config()
    first, second = await build(config), await build(config)
    try:
        port = bind(first, "127.0.0.1:0")
        assert port > 0
        with pytest.raises(ConfigError, match=f"router.listen: cannot listen on 127.0.0.1:{port}"):
            bind(second, f"127.0.0.1:{port}")
    finally:
        await first.stop(None)
        await second.stop(None)


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def broken() -> AsyncIterator[Face]:
    """A server whose backend fails."""
    async with serving(a_config(), BrokenBackend()) as opened:
        await opened.collections.CreateCollection(collections_pb.CreateCollectionRequest(name="docs", dimension=2))
        yield opened


async def test_an_exception_that_nobody_foresaw_is_internal_and_keeps_its_text_to_the_log(
    broken: Face, capsys: pytest.CaptureFixture[str]
) -> None:
    code, info, status = await failure(broken.vectors.Count(vectors_pb.CountRequest(collection="docs")))
    assert (code, info.reason) == (grpc.StatusCode.INTERNAL, "INTERNAL")
    assert b"secret" not in status.SerializeToString()
    assert "select secret from detail" in capsys.readouterr().out


async def test_an_error_carries_when_to_retry_and_not_its_cause(broken: Face) -> None:
    request = vectors_pb.DeleteRequest(collection="docs", ids={"ids": ["a"]})
    code, info, status = await failure(broken.vectors.Delete(request))
    assert (code, info.reason) == (grpc.StatusCode.UNAVAILABLE, "CONNECTION_LOST")
    retry = error_details_pb2.RetryInfo()
    assert any(packed.Unpack(retry) for packed in status.details)
    assert retry.retry_delay.ToMilliseconds() == 250
    assert b"dsn" not in status.SerializeToString()


@pytest.mark.parametrize(("asked_s", "kept_s"), [(None, 7.0), (30.0, 30.0), (30 * 24 * 3600.0, MAX_DEADLINE_S)])
async def test_the_deadline_is_the_callers_or_else_the_default(
    broken: Face, asked_s: float | None, kept_s: float
) -> None:
    request = vectors_pb.FetchRequest(collection="docs", ids=["a"])
    _, info, _ = await failure(broken.vectors.Fetch(request, timeout=asked_s))
    assert info.reason == "SEEN"
    assert float(info.metadata["remaining_s"]) == pytest.approx(kept_s, rel=0.02)  # gRPC rounds it on the wire


async def test_a_backend_that_makes_no_views_exposes_no_collections(face: Face) -> None:
    request = collections_pb.ExposeCollectionRequest(collection="docs")
    code, info, _ = await failure(face.collections.ExposeCollection(request))
    assert (code, info.reason) == (grpc.StatusCode.UNIMPLEMENTED, "EXPOSURE_UNSUPPORTED")
    assert not (await face.collections.ListExposures(collections_pb.ListExposuresRequest())).exposures


async def test_a_client_may_ping_once_a_second_while_it_is_idle(face: Face) -> None:
    options = [
        ("grpc.keepalive_time_ms", 1000),
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.http2.max_pings_without_data", 0),
    ]
    async with grpc.aio.insecure_channel(face.address, options=options) as channel:
        await channel.channel_ready()
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(channel.wait_for_state_change(grpc.ChannelConnectivity.READY), timeout=4.5)
