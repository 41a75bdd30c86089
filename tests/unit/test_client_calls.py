"""Both clients against a gRPC server: what reaches it, what comes back, and when a call is made again."""

from __future__ import annotations

import asyncio
import inspect
import socket
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any

import grpc
import grpc.aio
import podroute
import pytest
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_health.v1.health import aio as health_aio
from podroute.v1 import collection_service_pb2 as collections
from podroute.v1 import collection_service_pb2_grpc, shard_map_service_pb2_grpc, vector_service_pb2_grpc
from podroute.v1 import shard_map_service_pb2 as shard_maps
from podroute.v1 import vector_service_pb2 as vectors

ROUTE = {"path": "ACCESS_PATH_DIRECT", "pods": ["docs"], "map_revision": 4}
VIA_DOCS = podroute.Route(path="direct", pods=("docs",), map_revision=4, on_primary=False)
DOCS_L2 = {
    "name": "docs_l2",
    "metric": "METRIC_L2",
    "hnsw": {"m": 8, "ef_construction": 64},
    "size_bytes": 8192,
    "valid": True,
}
ODD = {"reason": "TRIGGERS", "message": "told", "blocking": True}


def a_collection(name: str) -> collections.Collection:
    placement = {"pod": "docs", "table_schema": "vecs", "table_name": name, "generation": 1}
    return collections.Collection(name=name, dimension=2, metric="METRIC_L2", placement=placement)


@dataclass
class Router(
    vector_service_pb2_grpc.VectorServiceServicer,
    collection_service_pb2_grpc.CollectionServiceServicer,
    shard_map_service_pb2_grpc.ShardMapServiceServicer,
):
    """Answers every RPC, and keeps what was asked. It fails as often as `failures` says, and takes `delay_s` a call."""

    requests: list[Message] = field(default_factory=list)
    seconds_left: list[float] = field(default_factory=list)
    failures: list[status_pb2.Status] = field(default_factory=list)
    delay_s: float = 0.0
    build_ended: asyncio.Event = field(default_factory=asyncio.Event)
    address: str = ""

    async def take(self, request: Message, context: grpc.aio.ServicerContext) -> None:
        self.requests.append(request)
        self.seconds_left.append(context.time_remaining())
        await asyncio.sleep(self.delay_s)
        if self.failures:
            status = self.failures.pop(0)
            code = next(code for code in grpc.StatusCode if code.value[0] == status.code)
            await context.abort(code, status.message, (("grpc-status-details-bin", status.SerializeToString()),))

    async def Upsert(self, request, context):  # noqa: N802
        await self.take(request, context)
        return vectors.UpsertResponse(upserted_count=len(request.records), route=ROUTE)

    async def Query(self, request, context):  # noqa: N802
        await self.take(request, context)
        match = {"id": "a", "distance": 0.25, "metadata": '{"k":1}', "vector": {"values": [1.0, 2.0]}}
        return vectors.QueryResponse(matches=[match], route=ROUTE, complete=True)

    async def BatchQuery(self, request, context):  # noqa: N802
        await self.take(request, context)
        response = vectors.QueryResponse(route=ROUTE, incomplete_reason="INCOMPLETE_REASON_SCAN_LIMITED")
        unreadable = {"id": "a", "metadata": '{"n":' + "9" * 5000 + "}"}
        failed = vectors.Status.FromString(failure(grpc.StatusCode.NOT_FOUND).SerializeToString())
        results = [{"error": failed}, {"response": response}, {}]
        results += [{"response": {"matches": [unreadable]}}, {"error": vectors.Status(code=99, message="new")}]
        return vectors.BatchQueryResponse(results=results)

    async def Fetch(self, request, context):  # noqa: N802
        await self.take(request, context)
        record = {"id": "a", "vector": {"values": [1.0, 2.0]}, "metadata": '{"k":1}'}
        return vectors.FetchResponse(records=[record], missing_ids=["b"], route=ROUTE)

    async def Delete(self, request, context):  # noqa: N802
        await self.take(request, context)
        return vectors.DeleteResponse(
            deleted_count=2, deleted_ids=["a", "b"] if request.include_ids else [], route=ROUTE
        )

    async def Count(self, request, context):  # noqa: N802
        await self.take(request, context)
        return vectors.CountResponse(count=3, route=ROUTE)

    async def UpdateMetadata(self, request, context):  # noqa: N802
        await self.take(request, context)
        return vectors.UpdateMetadataResponse(updated_count=4, route=ROUTE)

    async def CreateCollection(self, request, context):  # noqa: N802
        await self.take(request, context)
        return collections.CreateCollectionResponse(collection=a_collection(request.name))

    async def GetCollection(self, request, context):  # noqa: N802
        await self.take(request, context)
        return collections.GetCollectionResponse(collection=a_collection(request.name))

    async def ListCollections(self, request, context):  # noqa: N802
        await self.take(request, context)
        if request.page_token == "next":
            return collections.ListCollectionsResponse(collections=[a_collection("c")])
        return collections.ListCollectionsResponse(
            collections=[a_collection("a"), a_collection("b")], next_page_token="next"
        )

    async def DeleteCollection(self, request, context):  # noqa: N802
        await self.take(request, context)
        return collections.DeleteCollectionResponse()

    async def CreateIndex(self, request, context):  # noqa: N802
        await self.take(request, context)
        context.add_done_callback(lambda _: self.build_ended.set())
        for done in (1, 2):
            progress = {"phase": "building index", "blocks_done": done, "blocks_total": 2}
            yield collections.CreateIndexResponse(progress=progress)
        if request.collection == "endless":
            await asyncio.sleep(60)
        if request.collection != "cut_short":
            yield collections.CreateIndexResponse(index=DOCS_L2)

    async def ListIndexes(self, request, context):  # noqa: N802
        await self.take(request, context)
        return collections.ListIndexesResponse(indexes=[DOCS_L2, {"name": "by_year"}])

    async def ExposeCollection(self, request, context):  # noqa: N802
        await self.take(request, context)
        return collections.ExposeCollectionResponse(exposure=EXPOSED)

    async def UnexposeCollection(self, request, context):  # noqa: N802
        await self.take(request, context)
        return collections.UnexposeCollectionResponse()

    async def ListExposures(self, request, context):  # noqa: N802
        await self.take(request, context)
        return collections.ListExposuresResponse(exposures=[EXPOSED])

    async def DropIndex(self, request, context):  # noqa: N802
        await self.take(request, context)
        return collections.DropIndexResponse()

    async def ListAdoptableTables(self, request, context):  # noqa: N802
        await self.take(request, context)
        return collections.ListAdoptableTablesResponse(
            tables=[{"table_name": "Old Docs", "dimension": 3, "record_estimate": 7, "findings": [ODD]}]
        )

    async def AdoptCollection(self, request, context):  # noqa: N802
        await self.take(request, context)
        return collections.AdoptCollectionResponse(
            collection=a_collection(request.name), record_estimate=7, indexes=[DOCS_L2], findings=[ODD]
        )

    async def GetShardMap(self, request, context):  # noqa: N802
        await self.take(request, context)
        shard_map = {"revision": 4, "pods": ["docs"], "collections": [a_collection("a")]}
        return shard_maps.GetShardMapResponse(shard_map=shard_map)

    async def ListPods(self, request, context):  # noqa: N802
        await self.take(request, context)
        pod = {"name": "docs", "state": "POD_STATE_SERVING", "collection_count": 1, "on_primary": True}
        return shard_maps.ListPodsResponse(pods=[pod])

    async def Explain(self, request, context):  # noqa: N802
        await self.take(request, context)
        return shard_maps.ExplainResponse(
            sql="select", settings={"a": "b"}, remote_sql=["SELECT"], plan="Scan", findings=[ODD], route=ROUTE
        )


@pytest.fixture
async def router() -> AsyncIterator[Router]:
    router = Router()
    server = grpc.aio.server(options=[("grpc.so_reuseport", 0), ("grpc.max_receive_message_length", 64 * 1024 * 1024)])
    vector_service_pb2_grpc.add_VectorServiceServicer_to_server(router, server)
    collection_service_pb2_grpc.add_CollectionServiceServicer_to_server(router, server)
    shard_map_service_pb2_grpc.add_ShardMapServiceServicer_to_server(router, server)
    router.address = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    await server.start()
    yield router
    await server.stop(None)


class Either:
    """Calls one of the clients from asyncio: the blocking one in a thread."""

    def __init__(self, client: podroute.Client | podroute.AsyncClient) -> None:
        self.client = client

    async def ask(self, name: str, /, *args: Any, **kwargs: Any) -> Any:
        method = getattr(self.client, name)
        if isinstance(self.client, podroute.Client):
            return await asyncio.to_thread(lambda: self._read(method(*args, **kwargs)))
        found = method(*args, **kwargs)
        return [each async for each in found] if inspect.isasyncgen(found) else await found

    @staticmethod
    def _read(found: Any) -> Any:
        return list(found) if inspect.isgenerator(found) else found


Opener = Callable[..., Either]


@pytest.fixture(params=[podroute.Client, podroute.AsyncClient], ids=["blocking", "asyncio"])
async def opener(request: pytest.FixtureRequest) -> AsyncIterator[Opener]:
    opened: list[Either] = []

    def open_client(address: str, **settings: Any) -> Either:
        opened.append(Either(request.param(address, **settings)))
        return opened[-1]

    yield open_client
    for each in opened:
        await each.ask("close")


@pytest.fixture
def client(opener: Opener, router: Router) -> Either:
    return opener(router.address)


def failure(code: grpc.StatusCode, reason: str = "POD_DOWN") -> status_pb2.Status:
    detail = AnyMessage()
    detail.Pack(error_details_pb2.ErrorInfo(reason=reason, domain="podroute", metadata={"pod": "docs"}))
    return status_pb2.Status(code=code.value[0], message="pod docs is down", details=[detail])


UNAVAILABLE = failure(grpc.StatusCode.UNAVAILABLE)


def public(client: type) -> dict[str, list[inspect.Parameter]]:
    return {
        name: list(inspect.signature(method).parameters.values())
        for name, method in inspect.getmembers(client, callable)
        if not name.startswith("_")
    }


def test_both_clients_have_the_same_methods_with_the_same_parameters() -> None:
    assert public(podroute.Client) == public(podroute.AsyncClient)
    assert inspect.signature(podroute.Client) == inspect.signature(podroute.AsyncClient)
    assert set(public(podroute.Client)) == {
        "upsert",
        "upsert_many",
        "query",
        "batch_query",
        "fetch",
        "delete",
        "count",
        "update_metadata",
        "scan",
        "create_collection",
        "get_collection",
        "list_collections",
        "delete_collection",
        "create_index",
        "list_indexes",
        "drop_index",
        "list_adoptable_tables",
        "adopt_collection",
        "expose_collection",
        "unexpose_collection",
        "list_exposures",
        "shard_map",
        "pods",
        "explain",
        "wait_until_serving",
        "close",
    }
    assert list(inspect.signature(podroute.Client.query).parameters) == [
        "self",
        "collection",
        "vector",
        "id",
        "limit",
        "filter",
        "metric",
        "exact",
        "ef_search",
        "probes",
        "iterative_scan",
        "max_scan_tuples",
        "max_distance",
        "include_metadata",
        "metadata_keys",
        "include_vector",
        "path",
        "timeout",
    ]


def test_a_method_tells_what_it_returns() -> None:
    assert inspect.signature(podroute.Client.query).return_annotation is podroute.QueryResult
    assert inspect.iscoroutinefunction(podroute.AsyncClient.query)
    assert inspect.isasyncgenfunction(podroute.AsyncClient.list_collections)
    assert inspect.signature(podroute.Client.create_index).return_annotation is podroute.Index
    assert all(method.__doc__ for name, method in inspect.getmembers(podroute.Client, callable) if name[0] != "_")


async def test_the_operations_on_records_reach_the_router_and_come_back(client: Either, router: Router) -> None:
    written = await client.ask("upsert", "docs", [("a", [1.0, 2.0], {"k": 1})])
    assert written == podroute.UpsertResult(upserted_count=1, route=VIA_DOCS)
    found = await client.ask("query", "docs", [1.0, 2.0], filter={"k": 1})
    match = podroute.Match(id="a", distance=0.25, metadata={"k": 1}, vector=[1.0, 2.0])
    assert found == podroute.QueryResult(matches=(match,), route=VIA_DOCS, complete=True)
    read = await client.ask("fetch", "docs", ["a", "b"])
    record = podroute.Record("a", [1.0, 2.0], {"k": 1})
    assert read == podroute.FetchResult(records=(record,), missing_ids=("b",), route=VIA_DOCS)
    deleted = await client.ask("delete", "docs", ids=["a"])
    assert deleted == podroute.DeleteResult(deleted_count=2, route=VIA_DOCS)
    deleted = await client.ask("delete", "docs", ids=["a"], include_ids=True)
    assert deleted == podroute.DeleteResult(deleted_count=2, deleted_ids=("a", "b"), route=VIA_DOCS)
    counted = await client.ask("count", "docs")
    assert counted == podroute.CountResult(count=3, route=VIA_DOCS)
    updated = await client.ask("update_metadata", "docs", {"k": 1}, ids=["a"])
    assert updated == podroute.UpdateMetadataResult(updated_count=4, route=VIA_DOCS)
    assert [type(request).__name__ for request in router.requests] == [
        "UpsertRequest",
        "QueryRequest",
        "FetchRequest",
        "DeleteRequest",
        "DeleteRequest",
        "CountRequest",
        "UpdateMetadataRequest",
    ]


async def test_a_batch_has_a_result_or_an_error_for_each_query(client: Either, router: Router) -> None:
    queries = [
        podroute.Query("docs", [1.0, 2.0], probes=3, iterative_scan="relaxed", metadata_keys=["k"]),
        podroute.Query("docs", id="a", max_scan_tuples=5, path="fdw"),
    ]
    missing, found, nothing, unreadable, new = await client.ask("batch_query", queries, timeout=5.0)
    assert router.requests == [
        vectors.BatchQueryRequest(
            queries=[
                {
                    "collection": "docs",
                    "vector": {"values": [1.0, 2.0]},
                    "limit": 10,
                    "params": {"probes": 3, "iterative_scan": "ITERATIVE_SCAN_RELAXED"},
                    "metadata_keys": ["k"],
                },
                {
                    "collection": "docs",
                    "id": "a",
                    "limit": 10,
                    "params": {"max_scan_tuples": 5},
                    "path": "ACCESS_PATH_FDW",
                },
            ]
        )
    ]
    assert isinstance(missing, podroute.NotFound)
    assert (missing.reason, missing.metadata, missing.message) == ("POD_DOWN", {"pod": "docs"}, "pod docs is down")
    assert found == podroute.QueryResult(matches=(), route=VIA_DOCS, complete=False, incomplete_reason="scan_limited")
    assert [each.reason for each in (nothing, unreadable)] == ["OUTCOME_MISSING", "METADATA_UNREADABLE"]
    assert (type(new), new.code) == (podroute.Error, grpc.StatusCode.UNKNOWN)


@pytest.mark.parametrize(
    ("arguments", "field"),
    [
        ({"iterative_scan": "on"}, "iterative_scan"),
        ({"metadata_keys": "k"}, "metadata_keys"),
        ({"metadata_keys": []}, "metadata_keys"),
        ({"metadata_keys": [1]}, "metadata_keys"),
        ({"probes": "many"}, "query"),
    ],
    ids=str,
)
async def test_a_query_that_cannot_be_sent_is_refused_before(
    client: Either, router: Router, arguments: dict[str, Any], field: str
) -> None:
    with pytest.raises(podroute.InvalidArgument) as caught:
        await client.ask("query", "docs", [1.0, 2.0], **arguments)
    assert [violation.field for violation in caught.value.violations] == [field]
    with pytest.raises(podroute.InvalidArgument) as caught:
        await client.ask("batch_query", [podroute.Query("docs", [1.0, 2.0], **arguments)])
    assert [violation.field for violation in caught.value.violations] == [f"queries[0].{field}"]
    assert router.requests == []


async def test_the_operations_on_collections_reach_the_router_and_come_back(client: Either, router: Router) -> None:
    made = await client.ask("create_collection", "docs", 2, metric="l2", pod="docs")
    placement = podroute.Placement(pod="docs", table_schema="vecs", table_name="docs", generation=1)
    assert made == podroute.Collection(name="docs", dimension=2, metric="l2", placement=placement)
    assert router.requests[-1] == collections.CreateCollectionRequest(
        name="docs", dimension=2, metric="METRIC_L2", pod="docs"
    )
    assert await client.ask("get_collection", "docs") == made
    assert await client.ask("delete_collection", "docs") is None
    assert router.requests[-1] == collections.DeleteCollectionRequest(name="docs")
    shard_map = await client.ask("shard_map")
    assert (shard_map.revision, shard_map.pods) == (4, ("docs",))
    assert [each.name for each in shard_map.collections] == ["a"]
    pod = podroute.Pod(name="docs", state="serving", collection_count=1, on_primary=True)
    assert await client.ask("pods") == (pod,)


async def test_what_is_to_be_explained_is_sent_as_the_call_itself_would_be(client: Either, router: Router) -> None:
    query = podroute.Query("docs", [1.0, 2.0], limit=3, path="fdw")
    explained = await client.ask("explain", query, analyze=True)
    assert explained == podroute.Explanation(
        sql="select",
        settings={"a": "b"},
        remote_sql=("SELECT",),
        plan="Scan",
        findings=(podroute.Finding(reason="TRIGGERS", message="told", blocking=True),),
        route=VIA_DOCS,
    )
    await client.ask("explain", podroute.Count("docs", filter={"k": 1}))
    await client.ask("explain", podroute.Delete("docs", ids=["a"]))
    await client.ask("query", "docs", [1.0, 2.0], limit=3, path="fdw")
    await client.ask("count", "docs", filter={"k": 1})
    await client.ask("delete", "docs", ids=["a"])
    *explanations, query_request, count_request, delete_request = router.requests
    assert explanations == [
        shard_maps.ExplainRequest(query=query_request, analyze=True),
        shard_maps.ExplainRequest(count=count_request),
        shard_maps.ExplainRequest(delete=delete_request),
    ]
    with pytest.raises(podroute.InvalidArgument):
        await client.ask("explain", podroute.Delete("docs"))


async def test_listing_collections_asks_for_page_after_page(client: Either, router: Router) -> None:
    assert [each.name for each in await client.ask("list_collections", page_size=2)] == ["a", "b", "c"]
    assert router.requests == [
        collections.ListCollectionsRequest(page_size=2),
        collections.ListCollectionsRequest(page_size=2, page_token="next"),
    ]


async def test_indexes_are_listed_and_dropped(client: Either, router: Router) -> None:
    indexes = await client.ask("list_indexes", "docs")
    assert [(each.name, each.metric, each.method, each.m) for each in indexes] == [
        ("docs_l2", "l2", "hnsw", 8),
        ("by_year", "unknown", "unknown", None),
    ]
    assert await client.ask("drop_index", "docs", "by_year") is None
    assert router.requests == [
        collections.ListIndexesRequest(collection="docs"),
        collections.DropIndexRequest(collection="docs", name="by_year"),
    ]
    assert router.seconds_left[1] == pytest.approx(3600.0, rel=0.1)


async def test_tables_are_listed_and_adopted_with_what_is_odd_about_them(client: Either, router: Router) -> None:
    odd = podroute.Finding(reason="TRIGGERS", message="told", blocking=True)
    (table,) = await client.ask("list_adoptable_tables", "alpha")
    assert table == podroute.AdoptableTable(table_name="Old Docs", dimension=3, record_estimate=7, findings=(odd,))
    adopted = await client.ask("adopt_collection", "alpha", "Old Docs", name="docs", metric="l2", dry_run=True)
    assert (adopted.collection.name, adopted.record_estimate, adopted.findings) == ("docs", 7, (odd,))
    assert [each.name for each in adopted.indexes] == ["docs_l2"]
    assert router.requests == [
        collections.ListAdoptableTablesRequest(pod="alpha"),
        collections.AdoptCollectionRequest(
            pod="alpha", table_name="Old Docs", name="docs", metric="METRIC_L2", dry_run=True
        ),
    ]


EXPOSED = {
    "collection": "docs",
    "view_schema": "public",
    "view_name": "docs",
    "columns": [
        {"name": "url", "type": "COLUMN_TYPE_TEXT", "path": ["url"], "indexed": True},
        {"name": "new", "type": 99, "path": ["new"]},
    ],
    "roles": ["web"],
}


async def test_collections_are_exposed_shown_and_unexposed(client: Either, router: Router) -> None:
    made = await client.ask("expose_collection", "docs", columns={"url": "text", "n": "bigint"}, roles=["web"])
    assert [(each.name, each.type, each.path, each.indexed) for each in made.columns] == [
        ("url", "text", ("url",), True),
        ("new", "unknown", ("new",), False),
    ]
    assert (made.collection, made.view_schema, made.view_name, made.roles) == ("docs", "public", "docs", ("web",))
    columns = [podroute.ExposedColumn(name="at", type="timestamptz", path=("a", "b"), indexed=True)]
    await client.ask("expose_collection", "docs", schema="s", view="v", columns=columns)
    assert await client.ask("list_exposures") == (made,)
    assert await client.ask("unexpose_collection", "docs", schema="s", view="v") is None
    assert router.requests == [
        collections.ExposeCollectionRequest(
            collection="docs",
            columns=[{"name": "url", "type": "COLUMN_TYPE_TEXT"}, {"name": "n", "type": "COLUMN_TYPE_BIGINT"}],
            roles=["web"],
        ),
        collections.ExposeCollectionRequest(
            collection="docs",
            view_schema="s",
            view_name="v",
            columns=[{"name": "at", "type": "COLUMN_TYPE_TIMESTAMPTZ", "path": ["a", "b"], "indexed": True}],
        ),
        collections.ListExposuresRequest(),
        collections.UnexposeCollectionRequest(collection="docs", view_schema="s", view_name="v"),
    ]
    assert router.seconds_left[0] == pytest.approx(3600.0, rel=0.1)
    with pytest.raises(podroute.InvalidArgument) as refused:
        await client.ask("expose_collection", "docs", columns={"n": "number"})
    assert refused.value.violations[0].field == "columns[0].type"


@pytest.mark.parametrize(
    ("arguments", "field"),
    [({"method": "flat"}, "method"), ({"lists": 3}, "lists"), ({"method": "ivfflat", "m": 3}, "m")],
)
async def test_parameters_of_another_kind_of_index_are_refused(
    client: Either, arguments: dict[str, object], field: str
) -> None:
    with pytest.raises(podroute.InvalidArgument) as refused:
        await client.ask("create_index", "docs", **arguments)
    assert refused.value.violations[0].field == field


async def test_an_index_build_tells_its_progress_and_returns_the_index(client: Either, router: Router) -> None:
    seen: list[podroute.IndexProgress] = []
    index = await client.ask("create_index", "docs", metric="l2", m=8, on_progress=seen.append)
    assert index == podroute.Index(
        name="docs_l2", metric="l2", method="hnsw", m=8, ef_construction=64, size_bytes=8192, valid=True
    )
    assert [(each.blocks_done, each.blocks_total) for each in seen] == [(1, 2), (2, 2)]
    assert router.requests == [
        collections.CreateIndexRequest(collection="docs", hnsw={"m": 8}, metric="METRIC_L2"),
    ]
    assert router.seconds_left[0] == pytest.approx(3600.0, rel=0.1)
    assert await client.ask("create_index", "docs") == index


async def test_an_index_build_that_ends_without_an_index_is_an_error(client: Either) -> None:
    with pytest.raises(podroute.Internal, match="ended early"):
        await client.ask("create_index", "cut_short")


async def test_an_index_build_ends_with_what_its_watcher_raises(client: Either, router: Router) -> None:
    def watch(progress: podroute.IndexProgress) -> None:
        raise LookupError("enough")

    with pytest.raises(LookupError, match="enough"):
        await client.ask("create_index", "endless", on_progress=watch)
    await asyncio.wait_for(router.build_ended.wait(), 5.0)  # the router would go on for a minute


async def test_a_build_that_fails_is_told_by_its_reason(client: Either, router: Router) -> None:
    router.failures = [failure(grpc.StatusCode.FAILED_PRECONDITION, "DIMENSION_TOO_LARGE")]
    with pytest.raises(podroute.FailedPrecondition) as failed:
        await client.ask("create_index", "docs")
    assert failed.value.reason == "DIMENSION_TOO_LARGE"


async def test_an_error_carries_reason_and_facts(client: Either, router: Router) -> None:
    router.failures = [failure(grpc.StatusCode.NOT_FOUND, "COLLECTION_NOT_FOUND")]
    with pytest.raises(podroute.NotFound, match="pod docs is down") as failed:
        await client.ask("count", "docs")
    assert (failed.value.reason, failed.value.metadata) == ("COLLECTION_NOT_FOUND", {"pod": "docs"})
    assert isinstance(failed.value.__cause__, grpc.RpcError)
    assert len(router.requests) == 1


@pytest.mark.parametrize(
    ("name", "args"),
    [
        ("upsert", ("docs", [("a", [1.0], {})])),
        ("query", ("docs", [1.0])),
        ("fetch", ("docs", ["a"])),
        ("count", ("docs",)),
        ("get_collection", ("docs",)),
        ("shard_map", ()),
        ("pods", ()),
    ],
)
async def test_a_call_that_can_be_made_again_is_made_again(
    client: Either, router: Router, name: str, args: tuple[Any, ...]
) -> None:
    router.failures = [UNAVAILABLE, UNAVAILABLE]
    await client.ask(name, *args)
    assert len(router.requests) == 3
    assert router.requests[0] == router.requests[2]


@pytest.mark.parametrize(
    ("name", "args"),
    [("create_collection", ("docs", 2)), ("delete_collection", ("docs",)), ("create_index", ("docs",))],
)
async def test_a_call_that_changes_the_shard_map_is_made_once(
    client: Either, router: Router, name: str, args: tuple[Any, ...]
) -> None:
    router.failures = [UNAVAILABLE]
    with pytest.raises(podroute.Unavailable):
        await client.ask(name, *args)
    assert len(router.requests) == 1


async def test_a_large_upsert_is_made_again_as_well(client: Either, router: Router) -> None:
    router.failures = [UNAVAILABLE]
    vector = [0.5] * 1000
    await client.ask("upsert", "docs", [(str(i), vector, {}) for i in range(2000)])
    sizes = [request.ByteSize() for request in router.requests]
    assert len(sizes) == 2
    assert sizes[0] == sizes[1] > 8_000_000


async def test_five_attempts_are_all(client: Either, router: Router) -> None:
    router.failures = [UNAVAILABLE] * 6
    with pytest.raises(podroute.Unavailable) as failed:
        await client.ask("count", "docs")
    assert len(router.requests) == 5
    assert failed.value.reason == "POD_DOWN"


async def test_the_deadline_of_the_client_and_of_the_call_are_sent(opener: Opener, router: Router) -> None:
    client = opener(router.address, timeout_s=5.0)
    await client.ask("count", "docs")
    await client.ask("count", "docs", timeout=60)
    await opener(router.address).ask("count", "docs")
    # gRPC rounds a deadline by up to one percent on the wire.
    assert router.seconds_left == pytest.approx([5.0, 60.0, 10.0], rel=0.1)


async def test_a_call_ends_at_its_deadline(client: Either, router: Router) -> None:
    router.delay_s = 5.0
    began = time.monotonic()
    with pytest.raises(podroute.DeadlineExceeded):
        await client.ask("count", "docs", timeout=0.2)
    assert 0.15 < time.monotonic() - began < 1.0


async def test_the_access_path_of_the_client_is_sent(opener: Opener, router: Router) -> None:
    await opener(router.address, path="fdw").ask("count", "docs")
    assert router.requests == [vectors.CountRequest(collection="docs", path="ACCESS_PATH_FDW")]


async def test_a_channel_option_of_the_caller_takes_the_place_of_ours(opener: Opener, router: Router) -> None:
    client = opener(router.address, options=[("grpc.max_send_message_length", 100)])
    with pytest.raises(podroute.ResourceExhausted):
        await client.ask("upsert", "docs", [("a", [0.5] * 100, {})])
    assert router.requests == []


@pytest.fixture
def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


async def test_a_router_that_is_not_there_is_unavailable_at_once(opener: Opener, free_port: int) -> None:
    began = time.monotonic()
    with pytest.raises(podroute.Unavailable) as failed:
        await opener(f"127.0.0.1:{free_port}").ask("count", "docs")
    assert failed.value.reason == ""
    assert time.monotonic() - began < 5.0


async def test_a_client_waits_for_a_router_that_comes_up_later(opener: Opener, free_port: int) -> None:
    client = opener(f"127.0.0.1:{free_port}")
    with pytest.raises(podroute.DeadlineExceeded, match=r"did not serve within 0\.2 s"):
        await client.ask("wait_until_serving", 0.2)
    waiting = asyncio.create_task(client.ask("wait_until_serving", 10.0, service="pod:docs"))
    health = health_aio.HealthServicer()
    await health.set("pod:docs", health_pb2.HealthCheckResponse.NOT_SERVING)
    server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
    health_pb2_grpc.add_HealthServicer_to_server(health, server)
    server.add_insecure_port(f"127.0.0.1:{free_port}")
    await server.start()
    try:
        await asyncio.sleep(0.5)
        assert not waiting.done()
        await health.set("pod:docs", health_pb2.HealthCheckResponse.SERVING)
        await asyncio.wait_for(waiting, 5.0)
        with pytest.raises(podroute.NotFound):
            await client.ask("wait_until_serving", 5.0, service="pod:other")
    finally:
        await server.stop(None)


async def test_a_closed_client_says_so(client: Either, router: Router) -> None:
    await client.ask("count", "docs")
    await client.ask("close")
    await client.ask("close")
    with pytest.raises(RuntimeError, match="is closed"):
        await client.ask("count", "docs")
    with pytest.raises(RuntimeError, match="is closed"):
        await client.ask("create_index", "docs")


async def test_clients_are_context_managers(router: Router) -> None:
    async with podroute.AsyncClient(router.address) as asynchronous:
        assert (await asynchronous.count("docs")).count == 3

    def block() -> podroute.Client:
        with podroute.Client(router.address) as blocking:
            assert blocking.count("docs").count == 3
        return blocking

    for closed in (asynchronous, Either(await asyncio.to_thread(block)).client):
        with pytest.raises(RuntimeError, match="is closed"):
            await Either(closed).ask("count", "docs")


async def test_a_cancelled_task_stays_cancelled(router: Router) -> None:
    router.delay_s = 5.0
    async with podroute.AsyncClient(router.address) as client:
        task = asyncio.create_task(client.count("docs"))
        await asyncio.sleep(0.1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task


def test_an_async_client_can_be_made_before_the_loop_runs() -> None:
    assert repr(podroute.AsyncClient("127.0.0.1:1")) == "AsyncClient('127.0.0.1:1')"
