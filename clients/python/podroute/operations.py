"""Every operation, once: from arguments to the call to make and the decoder of its answer. No I/O."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Generic, TypeVar

from google.protobuf.message import Message
from google.protobuf.wrappers_pb2 import Int32Value, StringValue

from podroute import messages
from podroute.errors import InvalidArgument
from podroute.filters import FilterDict, to_filter
from podroute.v1 import collection_service_pb2 as collections
from podroute.v1 import filter_pb2, route_pb2
from podroute.v1 import shard_map_service_pb2 as shard_maps
from podroute.v1 import vector_service_pb2 as vectors
from podroute.values import (
    Collection,
    CountResult,
    DeleteResult,
    FetchResult,
    Index,
    IndexProgress,
    Metric,
    Path,
    Pod,
    QueryResult,
    RecordLike,
    ShardMap,
    UpsertResult,
    VectorLike,
)

DEFAULT_TIMEOUT_S = 10.0
"""Deadline of a call, where neither the client nor the call sets one."""

INDEX_TIMEOUT_S = 3600.0
"""Deadline of an index build, where the call sets none."""

_SERVING = 1

A = TypeVar("A", bound=Message)
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Method(Generic[A]):
    """An RPC: its full name and the type of its answer."""

    path: str
    answer: type[A]


UPSERT = Method("/podroute.v1.VectorService/Upsert", vectors.UpsertResponse)
QUERY = Method("/podroute.v1.VectorService/Query", vectors.QueryResponse)
FETCH = Method("/podroute.v1.VectorService/Fetch", vectors.FetchResponse)
DELETE = Method("/podroute.v1.VectorService/Delete", vectors.DeleteResponse)
COUNT = Method("/podroute.v1.VectorService/Count", vectors.CountResponse)
CREATE_COLLECTION = Method("/podroute.v1.CollectionService/CreateCollection", collections.CreateCollectionResponse)
GET_COLLECTION = Method("/podroute.v1.CollectionService/GetCollection", collections.GetCollectionResponse)
LIST_COLLECTIONS = Method("/podroute.v1.CollectionService/ListCollections", collections.ListCollectionsResponse)
DELETE_COLLECTION = Method("/podroute.v1.CollectionService/DeleteCollection", collections.DeleteCollectionResponse)
CREATE_INDEX = Method("/podroute.v1.CollectionService/CreateIndex", collections.CreateIndexResponse)
GET_SHARD_MAP = Method("/podroute.v1.ShardMapService/GetShardMap", shard_maps.GetShardMapResponse)
LIST_PODS = Method("/podroute.v1.ShardMapService/ListPods", shard_maps.ListPodsResponse)
# HealthCheckRequest and HealthCheckResponse have these bytes on the wire, and grpcio-health-checking is not needed.
CHECK_HEALTH = Method("/grpc.health.v1.Health/Check", Int32Value)


@dataclass(frozen=True, slots=True, kw_only=True)
class Call(Generic[A, T]):
    """A call to make; `decode` turns an answer into the result."""

    method: Method[A]
    request: Message
    decode: Callable[[A], T]
    timeout_s: float
    wait_for_ready: bool = False


@dataclass(frozen=True, slots=True)
class Page(Generic[A, T]):
    """Some of many results, and the call for the next page."""

    items: tuple[T, ...]
    next: Call[A, Page[A, T]] | None


@dataclass(frozen=True, slots=True)
class Operations:
    """The operations, with a client's defaults."""

    path: Path
    timeout_s: float

    def upsert(
        self,
        collection: str,
        records: Iterable[RecordLike],
        *,
        path: Path | None = None,
        timeout: float | None = None,
    ) -> Call[vectors.UpsertResponse, UpsertResult]:
        """Writes records, replacing those with the same id, in one transaction.

        Args:
            collection: the collection's name.
            records: 1 to 10000 records or tuples (id, vector, metadata). Where an id stands twice, the last one wins.
            path: the access path; default: the client's.
            timeout: seconds; default: the client's.
        """
        found = messages.record_messages(records)
        with messages.refusing("upsert"):
            request = vectors.UpsertRequest(collection=collection, records=found, path=self._path(path))
        return Call(
            method=UPSERT,
            request=request,
            decode=messages.upsert_result,
            timeout_s=self._timeout_s(timeout),
        )

    def query(
        self,
        collection: str,
        vector: VectorLike | None = None,
        *,
        id: str | None = None,
        limit: int = 10,
        filter: FilterDict | None = None,
        metric: Metric | None = None,
        exact: bool = False,
        ef_search: int | None = None,
        max_distance: float | None = None,
        include_metadata: bool = False,
        include_vector: bool = False,
        path: Path | None = None,
        timeout: float | None = None,
    ) -> Call[vectors.QueryResponse, QueryResult]:
        """Finds the records nearest to a vector, or to the record with an id, nearest first.

        Args:
            collection: the collection's name.
            vector: what to find the neighbours of, shape (dimension,).
            id: in its place: the id of a stored record, whose neighbours are found, without itself.
            limit: how many matches, 1 to 1000.
            filter: only records that match; see `podroute.filters`.
            metric: default: the collection's. An index of another metric does not serve it.
            exact: read every record instead of an index.
            ef_search: size of the HNSW candidate list, 1 to 1000; default: the pod's setting.
            max_distance: leave out matches that are farther, in the metric's unit.
            include_metadata: return each match's metadata.
            include_vector: return each match's vector.
            path: the access path; default: the client's.
            timeout: seconds; default: the client's.
        """
        if (vector is None) == (id is None):
            raise InvalidArgument.at("target", "give either a vector or an id", "TARGET")
        with messages.refusing("query"):
            request = vectors.QueryRequest(
                collection=collection,
                vector=None if vector is None else messages.vector_message(vector),
                id=id,
                limit=limit,
                filter=_filter(filter),
                metric=messages.metric_value(metric),
                params=vectors.SearchParams(exact=exact, ef_search=ef_search),
                max_distance=max_distance,
                include_metadata=include_metadata,
                include_vector=include_vector,
                path=self._path(path),
            )
        return Call(method=QUERY, request=request, decode=messages.query_result, timeout_s=self._timeout_s(timeout))

    def fetch(
        self, collection: str, ids: Iterable[str], *, path: Path | None = None, timeout: float | None = None
    ) -> Call[vectors.FetchResponse, FetchResult]:
        """Reads records by id.

        Args:
            collection: the collection's name.
            ids: 1 to 1000 ids.
            path: the access path; default: the client's.
            timeout: seconds; default: the client's.
        """
        with messages.refusing("fetch"):
            request = vectors.FetchRequest(collection=collection, ids=messages.id_list(ids), path=self._path(path))
        return Call(method=FETCH, request=request, decode=messages.fetch_result, timeout_s=self._timeout_s(timeout))

    def delete(
        self,
        collection: str,
        *,
        ids: Iterable[str] | None = None,
        filter: FilterDict | None = None,
        path: Path | None = None,
        timeout: float | None = None,
    ) -> Call[vectors.DeleteResponse, DeleteResult]:
        """Deletes records by id or by filter, in one transaction.

        Args:
            collection: the collection's name.
            ids: 1 to 10000 ids; an id that no record has is passed over.
            filter: in its place: the records that match; see `podroute.filters`.
            path: the access path; default: the client's.
            timeout: seconds; default: the client's.
        """
        if (ids is None) == (filter is None):
            raise InvalidArgument.at("target", "give either ids or a filter", "TARGET")
        with messages.refusing("delete"):
            request = vectors.DeleteRequest(
                collection=collection,
                ids=None if ids is None else vectors.IdList(ids=messages.id_list(ids)),
                filter=_filter(filter),
                path=self._path(path),
            )
        return Call(method=DELETE, request=request, decode=messages.delete_result, timeout_s=self._timeout_s(timeout))

    def count(
        self,
        collection: str,
        *,
        filter: FilterDict | None = None,
        path: Path | None = None,
        timeout: float | None = None,
    ) -> Call[vectors.CountResponse, CountResult]:
        """Counts records.

        Args:
            collection: the collection's name.
            filter: only records that match; see `podroute.filters`.
            path: the access path; default: the client's.
            timeout: seconds; default: the client's.
        """
        with messages.refusing("count"):
            request = vectors.CountRequest(collection=collection, filter=_filter(filter), path=self._path(path))
        return Call(method=COUNT, request=request, decode=messages.count_result, timeout_s=self._timeout_s(timeout))

    def create_collection(
        self,
        name: str,
        dimension: int,
        *,
        metric: Metric | None = None,
        pod: str | None = None,
        timeout: float | None = None,
    ) -> Call[collections.CreateCollectionResponse, Collection]:
        """Makes an empty collection on a pod.

        Args:
            name: 1 to 48 of `[a-z0-9_]`, starting with a letter.
            dimension: components of each vector, 1 to 16000; HNSW indexes at most 2000.
            metric: the metric of queries that name none; default: cosine.
            pod: the pod's name; default: the router chooses the reachable pod with the fewest records.
            timeout: seconds; default: the client's.
        """
        with messages.refusing("create_collection"):
            request = collections.CreateCollectionRequest(
                name=name, dimension=dimension, metric=messages.metric_value(metric), pod=pod
            )
        return Call(
            method=CREATE_COLLECTION,
            request=request,
            decode=lambda answer: messages.collection(answer.collection),
            timeout_s=self._timeout_s(timeout),
        )

    def get_collection(
        self, name: str, *, timeout: float | None = None
    ) -> Call[collections.GetCollectionResponse, Collection]:
        """Looks a collection up in the shard map."""
        with messages.refusing("name"):
            request = collections.GetCollectionRequest(name=name)
        return Call(
            method=GET_COLLECTION,
            request=request,
            decode=lambda answer: messages.collection(answer.collection),
            timeout_s=self._timeout_s(timeout),
        )

    def list_collections(
        self, *, page_size: int = 0, timeout: float | None = None
    ) -> Call[collections.ListCollectionsResponse, Page[collections.ListCollectionsResponse, Collection]]:
        """Iterates over all collections in code-point order of their names, asking for a page at a time.

        Args:
            page_size: collections a page, up to 1000; 0: the router's default.
            timeout: seconds for each page; default: the client's.
        """
        return self._list_collections(page_size, "", self._timeout_s(timeout))

    def _list_collections(
        self, page_size: int, page_token: str, timeout_s: float
    ) -> Call[collections.ListCollectionsResponse, Page[collections.ListCollectionsResponse, Collection]]:
        def page(
            answer: collections.ListCollectionsResponse,
        ) -> Page[collections.ListCollectionsResponse, Collection]:
            token = answer.next_page_token
            return Page(
                tuple(messages.collection(each) for each in answer.collections),
                self._list_collections(page_size, token, timeout_s) if token else None,
            )

        with messages.refusing("page_size"):
            request = collections.ListCollectionsRequest(page_size=page_size, page_token=page_token)
        return Call(method=LIST_COLLECTIONS, request=request, decode=page, timeout_s=timeout_s)

    def delete_collection(
        self, name: str, *, timeout: float | None = None
    ) -> Call[collections.DeleteCollectionResponse, None]:
        """Deletes a collection with all its records. Where an answer was lost, the call can be made again."""
        with messages.refusing("name"):
            request = collections.DeleteCollectionRequest(name=name)
        return Call(
            method=DELETE_COLLECTION, request=request, decode=lambda _: None, timeout_s=self._timeout_s(timeout)
        )

    def create_index(
        self,
        collection: str,
        *,
        metric: Metric | None = None,
        m: int | None = None,
        ef_construction: int | None = None,
        on_progress: Callable[[IndexProgress], None] | None = None,
        timeout: float | None = None,
    ) -> Call[collections.CreateIndexResponse, Index | None]:
        """Builds an HNSW index while writes go on, and returns it once it serves queries.

        Args:
            collection: the collection's name.
            metric: the metric that the index serves; default: the collection's.
            m: links a node, 2 to 100; default: 16.
            ef_construction: size of the candidate list, 4 to 1000 and at least 2 * m; default: 64.
            on_progress: called about once a second with how far the build is. What it raises ends the build.
            timeout: seconds; default: an hour. A caller that goes away ends the build.
        """

        def event(answer: collections.CreateIndexResponse) -> Index | None:
            found = messages.index_event(answer)
            if isinstance(found, IndexProgress) and on_progress is not None:
                on_progress(found)
            return found if isinstance(found, Index) else None

        with messages.refusing("create_index"):
            request = collections.CreateIndexRequest(
                collection=collection,
                hnsw=collections.Hnsw(m=m, ef_construction=ef_construction),
                metric=messages.metric_value(metric),
            )
        return Call(
            method=CREATE_INDEX,
            request=request,
            decode=event,
            timeout_s=INDEX_TIMEOUT_S if timeout is None else timeout,
        )

    def shard_map(self, *, timeout: float | None = None) -> Call[shard_maps.GetShardMapResponse, ShardMap]:
        """What the router routes by."""
        return Call(
            method=GET_SHARD_MAP,
            request=shard_maps.GetShardMapRequest(),
            decode=lambda answer: messages.shard_map(answer.shard_map),
            timeout_s=self._timeout_s(timeout),
        )

    def pods(self, *, timeout: float | None = None) -> Call[shard_maps.ListPodsResponse, tuple[Pod, ...]]:
        """The pods, in code-point order of their names, with what the router knows of each."""
        return Call(
            method=LIST_PODS,
            request=shard_maps.ListPodsRequest(),
            decode=lambda answer: tuple(messages.pod(each) for each in answer.pods),
            timeout_s=self._timeout_s(timeout),
        )

    def _path(self, path: Path | None) -> route_pb2.AccessPath:
        return messages.path_value(self.path if path is None else path)

    def _timeout_s(self, timeout: float | None) -> float:
        return self.timeout_s if timeout is None else timeout


def check_health(service: str, timeout_s: float) -> Call[Int32Value, bool]:
    """Asks whether a service of the router serves, and waits for the router to be there."""
    return Call(
        method=CHECK_HEALTH,
        request=StringValue(value=service),
        decode=lambda answer: answer.value == _SERVING,
        timeout_s=timeout_s,
        wait_for_ready=True,
    )


def _filter(spec: FilterDict | None) -> filter_pb2.Filter | None:
    return None if spec is None else to_filter(spec)
