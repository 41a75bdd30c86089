"""The operations on records, each once: from arguments to the call to make. No I/O."""

from __future__ import annotations

from collections.abc import AsyncIterable, Callable, Iterable

from podroute import messages
from podroute.calls import Call, Defaults, Method
from podroute.errors import InvalidArgument
from podroute.filters import FilterDict, to_filter
from podroute.upserts import DEFAULT_BATCH, DEFAULT_PATIENCE_S, MAX_BATCH_RECORDS, Upserts
from podroute.v1 import filter_pb2
from podroute.v1 import vector_service_pb2 as vectors
from podroute.values import (
    CountResult,
    DeleteResult,
    FetchResult,
    Metric,
    Path,
    QueryResult,
    RecordLike,
    UpsertResult,
    VectorLike,
)

UPSERT = Method("/podroute.v1.VectorService/Upsert", vectors.UpsertResponse)
UPSERT_STREAM = Method("/podroute.v1.VectorService/UpsertStream", vectors.UpsertStreamResponse)
QUERY = Method("/podroute.v1.VectorService/Query", vectors.QueryResponse)
FETCH = Method("/podroute.v1.VectorService/Fetch", vectors.FetchResponse)
DELETE = Method("/podroute.v1.VectorService/Delete", vectors.DeleteResponse)
COUNT = Method("/podroute.v1.VectorService/Count", vectors.CountResponse)


class DataPlane(Defaults):
    """Writes and finds records."""

    __slots__ = ()

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

    def upsert_many(
        self,
        collection: str,
        records: Iterable[RecordLike] | AsyncIterable[RecordLike],
        *,
        batch: int = DEFAULT_BATCH,
        path: Path | None = None,
        timeout: float | None = None,
        patience: float = DEFAULT_PATIENCE_S,
        on_progress: Callable[[int], object] | None = None,
    ) -> Upserts:
        """Writes records, any number of them, over one stream: batch by batch, each in one transaction.

        A few batches are under way at a time, and as many are kept in memory. Where the router or the pod goes away,
        those that were not acknowledged are sent again on a new stream. Of two records with one id the later one wins.

        An error ends it; `metadata["acknowledged"]` says how many of the records, the first so many, are stored for
        certain, and fields such as ``records[3].id`` count from there. Batches after them may or may not be stored.

        Args:
            collection: the collection's name.
            records: records or tuples (id, vector, metadata). The AsyncClient takes asynchronous iterables as well.
            batch: most records in a batch, 1 to 10000; one of 512 KiB is sent however few its records.
            path: the access path; default: the client's.
            timeout: seconds for all of it; default: no bound.
            patience: seconds without an acknowledgement after which an unavailable router or pod is an error.
            on_progress: called with the number of records acknowledged so far. What it raises ends the upsert.
        """
        if not isinstance(batch, int) or not 1 <= batch <= MAX_BATCH_RECORDS:
            raise InvalidArgument.at("batch", f"must be 1 to {MAX_BATCH_RECORDS}", "RECORD_COUNT")
        with messages.refusing("upsert_many"):
            first = vectors.UpsertStreamRequest(collection=collection, path=self._path(path))
        return Upserts(
            method=UPSERT_STREAM,
            request=first,
            records=records,
            batch=batch,
            timeout_s=timeout,
            patience_s=patience,
            on_progress=on_progress,
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


def _filter(spec: FilterDict | None) -> filter_pb2.Filter | None:
    return None if spec is None else to_filter(spec)
