"""A gRPC server that answers every call and keeps what was asked, and either client to ask it."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import grpc
import grpc.aio
import podroute
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2
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


def failure(code: grpc.StatusCode, reason: str = "POD_DOWN") -> status_pb2.Status:
    detail = AnyMessage()
    detail.Pack(error_details_pb2.ErrorInfo(reason=reason, domain="podroute", metadata={"pod": "docs"}))
    return status_pb2.Status(code=code.value[0], message="pod docs is down", details=[detail])


UNAVAILABLE = failure(grpc.StatusCode.UNAVAILABLE)


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
