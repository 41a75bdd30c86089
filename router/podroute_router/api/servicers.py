"""The services of the contract: each RPC converts, asks the engine or the control plane, and converts back."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing

from podroute.v1 import collection_service_pb2, shard_map_service_pb2, vector_service_pb2

from podroute_router.api import explain_requests, requests, responses
from podroute_router.api.batch_query import run_batch
from podroute_router.api.exposure_messages import from_exposure, to_exposure, to_exposure_name
from podroute_router.api.filter_requests import to_filter
from podroute_router.api.plain_queries import PlainQueries
from podroute_router.api.scan_stream import ScanStream
from podroute_router.api.slices import in_slices
from podroute_router.api.upsert_stream import Take, UpsertStream
from podroute_router.collections import Collections
from podroute_router.config import Limits
from podroute_router.domain import Deadline
from podroute_router.engine import Engine
from podroute_router.metrics.calls import Ended
from podroute_router.names import check_collection_name, check_pod_name


class VectorService:
    """The data plane.

    Args:
        engine: what serves it.
        limits: bounds on a request.
        request_s: how long the write of one request of a stream may take.
        page_s: how long the reading of one page of a scan may take.
        stopping: set when the router stops.
        query_ended: counts the queries of batches.
    """

    def __init__(
        self,
        engine: Engine,
        limits: Limits,
        *,
        request_s: float,
        page_s: float,
        stopping: asyncio.Event,
        query_ended: Ended,
    ) -> None:
        self._engine = engine
        self._plain_queries = PlainQueries(engine)
        self._limits = limits
        self._request_s = request_s
        self._page_s = page_s
        self._stopping = stopping
        self._query_ended = query_ended

    async def upsert(
        self, request: vector_service_pb2.UpsertRequest, deadline: Deadline
    ) -> vector_service_pb2.UpsertResponse:
        """Writes records."""
        collection, path = check_collection_name(request.collection, "collection"), requests.to_path(request.path)
        mode = requests.to_upsert_mode(request.mode)
        records = await in_slices(requests.to_records(request, self._limits))
        count, route = await self._engine.upsert(collection, records, path, deadline, mode)
        return vector_service_pb2.UpsertResponse(upserted_count=count, route=responses.from_route(route))

    def upsert_stream(self, take: Take, deadline: Deadline) -> AsyncGenerator[vector_service_pb2.UpsertStreamResponse]:
        """Writes records as they come."""
        stream = UpsertStream(
            upsert=self._engine.upsert,
            limits=self._limits,
            deadline=deadline,
            request_s=self._request_s,
            stopping=self._stopping,
        )
        return stream.answer(take)

    async def query(
        self, request: vector_service_pb2.QueryRequest, deadline: Deadline
    ) -> vector_service_pb2.QueryResponse:
        """Finds the nearest records."""
        response = await self._plain_queries.answer(request, deadline)
        if response is not None:
            return response
        collection, path = check_collection_name(request.collection, "collection"), requests.to_path(request.path)
        search = requests.to_search(request, self._limits)
        result, route = await self._engine.query(collection, search, path, deadline)
        self._plain_queries.learn(request, search, path)
        return responses.from_query(result, route)

    async def batch_query(
        self, request: vector_service_pb2.BatchQueryRequest, deadline: Deadline
    ) -> vector_service_pb2.BatchQueryResponse:
        """Runs many queries."""
        queries = requests.to_queries(request, self._limits)
        return await run_batch(queries, self.query, deadline, self._limits, self._query_ended)

    async def fetch(
        self, request: vector_service_pb2.FetchRequest, deadline: Deadline
    ) -> vector_service_pb2.FetchResponse:
        """Reads records by id."""
        collection, path = check_collection_name(request.collection, "collection"), requests.to_path(request.path)
        ids = requests.to_ids(request.ids, "ids", self._limits.max_fetch_ids)
        found, missing, route = await self._engine.fetch(collection, ids, path, deadline)
        return responses.from_fetch(found, missing, route)

    async def delete(
        self, request: vector_service_pb2.DeleteRequest, deadline: Deadline
    ) -> vector_service_pb2.DeleteResponse:
        """Deletes records."""
        collection, path = check_collection_name(request.collection, "collection"), requests.to_path(request.path)
        selection = requests.to_selection(request, self._limits)
        if request.include_ids:
            most_bytes = self._limits.max_message_bytes // 2
            ids, route = await self._engine.delete_returning(collection, selection, most_bytes, path, deadline)
            return await responses.from_deleted(ids, route)
        count, route = await self._engine.delete(collection, selection, path, deadline)
        return vector_service_pb2.DeleteResponse(deleted_count=count, route=responses.from_route(route))

    async def count(
        self, request: vector_service_pb2.CountRequest, deadline: Deadline
    ) -> vector_service_pb2.CountResponse:
        """Counts records."""
        collection, path = check_collection_name(request.collection, "collection"), requests.to_path(request.path)
        condition = to_filter(request.filter) if request.HasField("filter") else None
        count, route = await self._engine.count(collection, condition, path, deadline)
        return vector_service_pb2.CountResponse(count=count, route=responses.from_route(route))

    async def update_metadata(
        self, request: vector_service_pb2.UpdateMetadataRequest, deadline: Deadline
    ) -> vector_service_pb2.UpdateMetadataResponse:
        """Changes the metadata of records."""
        collection, path = check_collection_name(request.collection, "collection"), requests.to_path(request.path)
        update = requests.to_metadata_update(request, self._limits)
        count, route = await self._engine.update_metadata(collection, update, path, deadline)
        return vector_service_pb2.UpdateMetadataResponse(updated_count=count, route=responses.from_route(route))

    def scan(
        self, request: vector_service_pb2.ScanRequest, deadline: Deadline
    ) -> AsyncGenerator[vector_service_pb2.ScanResponse]:
        """Reads all records, or those that match."""
        scan = ScanStream(
            request,
            read=self._engine.scan,
            deadline=deadline,
            page_s=self._page_s,
            max_message_bytes=self._limits.max_message_bytes,
            stopping=self._stopping,
        )
        return scan.answer()


class CollectionService:
    """The control plane of collections."""

    def __init__(self, collections: Collections) -> None:
        self._collections = collections

    async def create_collection(
        self, request: collection_service_pb2.CreateCollectionRequest, deadline: Deadline
    ) -> collection_service_pb2.CreateCollectionResponse:
        """Makes an empty collection."""
        name, dimension = check_collection_name(request.name, "name"), requests.to_dimension(request)
        metric, pod = requests.to_metric(request.metric), requests.to_pod(request)
        collection = await self._collections.create(name, dimension, metric, pod, deadline)
        return collection_service_pb2.CreateCollectionResponse(collection=responses.from_collection(collection))

    async def get_collection(
        self, request: collection_service_pb2.GetCollectionRequest, deadline: Deadline
    ) -> collection_service_pb2.GetCollectionResponse:
        """Looks a collection up."""
        collection = await self._collections.get(check_collection_name(request.name, "name"), deadline)
        return collection_service_pb2.GetCollectionResponse(collection=responses.from_collection(collection))

    async def list_collections(
        self, request: collection_service_pb2.ListCollectionsRequest, deadline: Deadline
    ) -> collection_service_pb2.ListCollectionsResponse:
        """A page of collections."""
        size = requests.to_page_size(request.page_size)
        page, next_token = await self._collections.page(size, request.page_token, deadline)
        collections = [responses.from_collection(collection) for collection in page]
        return collection_service_pb2.ListCollectionsResponse(collections=collections, next_page_token=next_token)

    async def delete_collection(
        self, request: collection_service_pb2.DeleteCollectionRequest, deadline: Deadline
    ) -> collection_service_pb2.DeleteCollectionResponse:
        """Deletes a collection with its records."""
        await self._collections.delete(check_collection_name(request.name, "name"), deadline)
        return collection_service_pb2.DeleteCollectionResponse()

    async def create_index(
        self, request: collection_service_pb2.CreateIndexRequest, deadline: Deadline
    ) -> AsyncGenerator[collection_service_pb2.CreateIndexResponse, None]:
        """Builds an index: progress, then the index."""
        name, metric = check_collection_name(request.collection, "collection"), requests.to_metric(request.metric)
        method, replace = requests.to_index_method(request), request.replace
        built = self._collections.indexing.create(name, metric, method, deadline, replace=replace)
        async with aclosing(built) as events:
            async for event in events:
                yield responses.from_index_event(event)

    async def list_indexes(
        self, request: collection_service_pb2.ListIndexesRequest, deadline: Deadline
    ) -> collection_service_pb2.ListIndexesResponse:
        """The indexes of a collection."""
        name = check_collection_name(request.collection, "collection")
        found = await self._collections.indexing.list(name, deadline)
        return collection_service_pb2.ListIndexesResponse(indexes=map(responses.from_index, found))

    async def drop_index(
        self, request: collection_service_pb2.DropIndexRequest, deadline: Deadline
    ) -> collection_service_pb2.DropIndexResponse:
        """Drops an index."""
        name, index = check_collection_name(request.collection, "collection"), requests.to_index_name(request)
        await self._collections.indexing.drop(name, index, deadline)
        return collection_service_pb2.DropIndexResponse()

    async def list_adoptable_tables(
        self, request: collection_service_pb2.ListAdoptableTablesRequest, deadline: Deadline
    ) -> collection_service_pb2.ListAdoptableTablesResponse:
        """A pod's tables that are no collections."""
        found = await self._collections.adopting.tables(check_pod_name(request.pod, "pod"), deadline)
        return collection_service_pb2.ListAdoptableTablesResponse(tables=map(responses.from_found_table, found))

    async def adopt_collection(
        self, request: collection_service_pb2.AdoptCollectionRequest, deadline: Deadline
    ) -> collection_service_pb2.AdoptCollectionResponse:
        """Makes a table a collection."""
        pod, table = check_pod_name(request.pod, "pod"), requests.to_table_name(request)
        name, metric = request.name or None, requests.to_metric(request.metric)
        adopted = await self._collections.adopting.adopt(pod, table, name, metric, deadline, dry_run=request.dry_run)
        return responses.from_adopted(adopted)

    async def expose_collection(
        self, request: collection_service_pb2.ExposeCollectionRequest, deadline: Deadline
    ) -> collection_service_pb2.ExposeCollectionResponse:
        """Makes a view of a collection."""
        exposed = await self._collections.exposing.expose(to_exposure(request), deadline)
        return collection_service_pb2.ExposeCollectionResponse(exposure=from_exposure(exposed))

    async def unexpose_collection(
        self, request: collection_service_pb2.UnexposeCollectionRequest, deadline: Deadline
    ) -> collection_service_pb2.UnexposeCollectionResponse:
        """Drops a view of a collection."""
        await self._collections.exposing.unexpose(*to_exposure_name(request), deadline)
        return collection_service_pb2.UnexposeCollectionResponse()

    async def list_exposures(
        self, request: collection_service_pb2.ListExposuresRequest, deadline: Deadline
    ) -> collection_service_pb2.ListExposuresResponse:
        """The views of a collection, or all."""
        name = check_collection_name(request.collection, "collection") if request.collection else None
        found = await self._collections.exposing.exposures(name, deadline)
        return collection_service_pb2.ListExposuresResponse(exposures=map(from_exposure, found))


class ShardMapService:
    """What the router routes by, and how it runs a call."""

    def __init__(self, collections: Collections, engine: Engine, limits: Limits) -> None:
        self._collections = collections
        self._engine = engine
        self._limits = limits

    async def get_shard_map(
        self, _request: shard_map_service_pb2.GetShardMapRequest, _deadline: Deadline
    ) -> shard_map_service_pb2.GetShardMapResponse:
        """The whole map."""
        shard_map = await responses.from_shard_map(self._collections.shard_map())
        return shard_map_service_pb2.GetShardMapResponse(shard_map=shard_map)

    async def list_pods(
        self, _request: shard_map_service_pb2.ListPodsRequest, _deadline: Deadline
    ) -> shard_map_service_pb2.ListPodsResponse:
        """The pods, with what this router knows of each."""
        return responses.from_pods(self._collections.pods())

    async def explain(
        self, request: shard_map_service_pb2.ExplainRequest, deadline: Deadline
    ) -> shard_map_service_pb2.ExplainResponse:
        """How a call would be run."""
        collection, asked, path = explain_requests.to_explained(request, self._limits)
        explanation, route = await self._engine.explain(collection, asked, path, deadline, analyze=request.analyze)
        return explain_requests.from_explanation(explanation, route)
