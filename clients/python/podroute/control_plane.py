"""The operations on collections and the shard map, each once: from arguments to the call to make. No I/O."""

from __future__ import annotations

from collections.abc import Callable

from google.protobuf.wrappers_pb2 import Int32Value, StringValue

from podroute import messages
from podroute.calls import Call, Defaults, Method, Page
from podroute.v1 import collection_service_pb2 as collections
from podroute.v1 import shard_map_service_pb2 as shard_maps
from podroute.values import Collection, Index, IndexProgress, Metric, Pod, ShardMap

INDEX_TIMEOUT_S = 3600.0
"""Deadline of an index build, where the call sets none."""

_SERVING = 1

CREATE_COLLECTION = Method("/podroute.v1.CollectionService/CreateCollection", collections.CreateCollectionResponse)
GET_COLLECTION = Method("/podroute.v1.CollectionService/GetCollection", collections.GetCollectionResponse)
LIST_COLLECTIONS = Method("/podroute.v1.CollectionService/ListCollections", collections.ListCollectionsResponse)
DELETE_COLLECTION = Method("/podroute.v1.CollectionService/DeleteCollection", collections.DeleteCollectionResponse)
CREATE_INDEX = Method("/podroute.v1.CollectionService/CreateIndex", collections.CreateIndexResponse)
GET_SHARD_MAP = Method("/podroute.v1.ShardMapService/GetShardMap", shard_maps.GetShardMapResponse)
LIST_PODS = Method("/podroute.v1.ShardMapService/ListPods", shard_maps.ListPodsResponse)
# HealthCheckRequest and HealthCheckResponse have these bytes on the wire, and grpcio-health-checking is not needed.
CHECK_HEALTH = Method("/grpc.health.v1.Health/Check", Int32Value)


class ControlPlane(Defaults):
    """Makes, lists, indexes and deletes collections, and shows what the router routes by."""

    __slots__ = ()

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


def check_health(service: str, timeout_s: float) -> Call[Int32Value, bool]:
    """Asks whether a service of the router serves, and waits for the router to be there."""
    return Call(
        method=CHECK_HEALTH,
        request=StringValue(value=service),
        decode=lambda answer: answer.value == _SERVING,
        timeout_s=timeout_s,
        wait_for_ready=True,
    )
