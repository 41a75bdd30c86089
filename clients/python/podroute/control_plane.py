"""The operations on collections and the shard map, each once: from arguments to the call to make. No I/O."""

from __future__ import annotations

from collections.abc import Callable

from google.protobuf.wrappers_pb2 import Int32Value, StringValue

from podroute import answers, index_messages, messages
from podroute.calls import Call, Defaults, Method, Page
from podroute.v1 import collection_service_pb2 as collections
from podroute.v1 import shard_map_service_pb2 as shard_maps
from podroute.values import (
    AdoptableTable,
    AdoptedCollection,
    Collection,
    Index,
    IndexMethod,
    IndexProgress,
    Metric,
    Pod,
    ShardMap,
)

INDEX_TIMEOUT_S = 3600.0
"""Deadline of building or dropping an index, where the call sets none."""

_SERVING = 1

CREATE_COLLECTION = Method("/podroute.v1.CollectionService/CreateCollection", collections.CreateCollectionResponse)
GET_COLLECTION = Method("/podroute.v1.CollectionService/GetCollection", collections.GetCollectionResponse)
LIST_COLLECTIONS = Method("/podroute.v1.CollectionService/ListCollections", collections.ListCollectionsResponse)
DELETE_COLLECTION = Method("/podroute.v1.CollectionService/DeleteCollection", collections.DeleteCollectionResponse)
CREATE_INDEX = Method("/podroute.v1.CollectionService/CreateIndex", collections.CreateIndexResponse)
LIST_INDEXES = Method("/podroute.v1.CollectionService/ListIndexes", collections.ListIndexesResponse)
DROP_INDEX = Method("/podroute.v1.CollectionService/DropIndex", collections.DropIndexResponse)
LIST_ADOPTABLE_TABLES = Method(
    "/podroute.v1.CollectionService/ListAdoptableTables", collections.ListAdoptableTablesResponse
)
ADOPT_COLLECTION = Method("/podroute.v1.CollectionService/AdoptCollection", collections.AdoptCollectionResponse)
GET_SHARD_MAP = Method("/podroute.v1.ShardMapService/GetShardMap", shard_maps.GetShardMapResponse)
LIST_PODS = Method("/podroute.v1.ShardMapService/ListPods", shard_maps.ListPodsResponse)
# HealthCheckRequest and HealthCheckResponse have these bytes on the wire, and grpcio-health-checking is not needed.
CHECK_HEALTH = Method("/grpc.health.v1.Health/Check", Int32Value)


class ControlPlane(Defaults):
    """Makes, adopts, lists, indexes and deletes collections, and shows what the router routes by."""

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
            decode=lambda answer: answers.collection(answer.collection),
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
            decode=lambda answer: answers.collection(answer.collection),
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
                tuple(answers.collection(each) for each in answer.collections),
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
        method: IndexMethod = "hnsw",
        metric: Metric | None = None,
        m: int | None = None,
        ef_construction: int | None = None,
        lists: int | None = None,
        replace: bool = False,
        on_progress: Callable[[IndexProgress], None] | None = None,
        timeout: float | None = None,
    ) -> Call[collections.CreateIndexResponse, Index | None]:
        """Builds an index while writes go on, and returns it once it serves queries.

        Args:
            collection: the collection's name.
            method: `hnsw`; `ivfflat`, which builds faster and finds less; or `metadata_gin`, an index of the metadata
                for counting, deleting, updating and exact queries by a filter on equality, which costs writes.
            metric: the metric that an index of vectors serves; default: the collection's.
            m: HNSW: links a node, 2 to 100; default: 16.
            ef_construction: HNSW: size of the candidate list, 4 to 1000 and at least 2 * m; default: 64.
            lists: IVFFlat: lists that vectors are divided into, 1 to 32768; default: by the number of records.
            replace: build anew, and then take the place of the indexes of this metric, or of the metadata, which
                serve until then.
            on_progress: called about once a second with how far the build is. What it raises ends the build.
            timeout: seconds; default: an hour. A caller that goes away ends the build.
        """

        def event(answer: collections.CreateIndexResponse) -> Index | None:
            found = index_messages.index_event(answer)
            if isinstance(found, IndexProgress) and on_progress is not None:
                on_progress(found)
            return found if isinstance(found, Index) else None

        with messages.refusing("create_index"):
            request = collections.CreateIndexRequest(
                collection=collection, metric=messages.metric_value(metric), replace=replace
            )
            index_messages.set_index_method(request, method, m, ef_construction, lists)
        return Call(
            method=CREATE_INDEX,
            request=request,
            decode=event,
            timeout_s=INDEX_TIMEOUT_S if timeout is None else timeout,
        )

    def list_indexes(
        self, collection: str, *, timeout: float | None = None
    ) -> Call[collections.ListIndexesResponse, tuple[Index, ...]]:
        """The collection's indexes by name, without those of constraints, such as the primary key."""
        with messages.refusing("collection"):
            request = collections.ListIndexesRequest(collection=collection)
        return Call(
            method=LIST_INDEXES,
            request=request,
            decode=lambda answer: tuple(index_messages.index(each) for each in answer.indexes),
            timeout_s=self._timeout_s(timeout),
        )

    def drop_index(
        self, collection: str, name: str, *, timeout: float | None = None
    ) -> Call[collections.DropIndexResponse, None]:
        """Drops an index while reads and writes go on.

        Args:
            collection: the collection's name.
            name: the index's, as `list_indexes` gives it.
            timeout: seconds; default: an hour, as transactions that are open have to end first.
        """
        with messages.refusing("drop_index"):
            request = collections.DropIndexRequest(collection=collection, name=name)
        return Call(
            method=DROP_INDEX,
            request=request,
            decode=lambda _: None,
            timeout_s=INDEX_TIMEOUT_S if timeout is None else timeout,
        )

    def list_adoptable_tables(
        self, pod: str, *, timeout: float | None = None
    ) -> Call[collections.ListAdoptableTablesResponse, tuple[AdoptableTable, ...]]:
        """The pod's tables that are no collections yet, by name, with what keeps each from being adopted."""
        with messages.refusing("pod"):
            request = collections.ListAdoptableTablesRequest(pod=pod)
        return Call(
            method=LIST_ADOPTABLE_TABLES,
            request=request,
            decode=lambda answer: tuple(index_messages.adoptable_table(each) for each in answer.tables),
            timeout_s=self._timeout_s(timeout),
        )

    def adopt_collection(
        self,
        pod: str,
        table_name: str,
        *,
        name: str | None = None,
        metric: Metric | None = None,
        dry_run: bool = False,
        timeout: float | None = None,
    ) -> Call[collections.AdoptCollectionResponse, AdoptedCollection]:
        """Makes a table of the vecs layout a collection. Nothing is copied, and vecs can go on using the table.

        Args:
            pod: the pod's name.
            table_name: the table's, in the schema `vecs`.
            name: the collection's; default: the table's.
            metric: the metric of queries that name none; default: that of the table's indexes, where they agree on
                one, else cosine.
            dry_run: only find out; findings that block are then no error.
            timeout: seconds; default: the client's.
        """
        with messages.refusing("adopt_collection"):
            request = collections.AdoptCollectionRequest(
                pod=pod, table_name=table_name, name=name, metric=messages.metric_value(metric), dry_run=dry_run
            )
        return Call(
            method=ADOPT_COLLECTION,
            request=request,
            decode=index_messages.adopted_collection,
            timeout_s=self._timeout_s(timeout),
        )

    def shard_map(self, *, timeout: float | None = None) -> Call[shard_maps.GetShardMapResponse, ShardMap]:
        """What the router routes by."""
        return Call(
            method=GET_SHARD_MAP,
            request=shard_maps.GetShardMapRequest(),
            decode=lambda answer: answers.shard_map(answer.shard_map),
            timeout_s=self._timeout_s(timeout),
        )

    def pods(self, *, timeout: float | None = None) -> Call[shard_maps.ListPodsResponse, tuple[Pod, ...]]:
        """The pods, in code-point order of their names, with what the router knows of each."""
        return Call(
            method=LIST_PODS,
            request=shard_maps.ListPodsRequest(),
            decode=lambda answer: tuple(answers.pod(each) for each in answer.pods),
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
