"""The operations on records, each once: from arguments to the call to make. No I/O."""

from __future__ import annotations

from collections.abc import AsyncIterable, Callable, Iterable, Mapping
from dataclasses import fields
from typing import Any, cast

from podroute import answers, messages
from podroute.calls import Call, Defaults, Method
from podroute.errors import Error, InvalidArgument
from podroute.filters import FilterDict, to_filter
from podroute.queries import Query
from podroute.scans import DEFAULT_PAGE, Scan
from podroute.upserts import DEFAULT_BATCH, DEFAULT_PATIENCE_S, MAX_BATCH_RECORDS, Upserts
from podroute.v1 import filter_pb2
from podroute.v1 import vector_service_pb2 as vectors
from podroute.values import (
    CountResult,
    DeleteResult,
    FetchResult,
    IterativeScan,
    Metric,
    Path,
    QueryResult,
    RecordLike,
    UpdateMetadataResult,
    UpdateMode,
    UpsertMode,
    UpsertResult,
    VectorLike,
)

UPSERT = Method("/podroute.v1.VectorService/Upsert", vectors.UpsertResponse)
UPSERT_STREAM = Method("/podroute.v1.VectorService/UpsertStream", vectors.UpsertStreamResponse)
QUERY = Method("/podroute.v1.VectorService/Query", vectors.QueryResponse)
BATCH_QUERY = Method("/podroute.v1.VectorService/BatchQuery", vectors.BatchQueryResponse)
FETCH = Method("/podroute.v1.VectorService/Fetch", vectors.FetchResponse)
DELETE = Method("/podroute.v1.VectorService/Delete", vectors.DeleteResponse)
COUNT = Method("/podroute.v1.VectorService/Count", vectors.CountResponse)
UPDATE_METADATA = Method("/podroute.v1.VectorService/UpdateMetadata", vectors.UpdateMetadataResponse)
SCAN = Method("/podroute.v1.VectorService/Scan", vectors.ScanResponse)


class DataPlane(Defaults):
    """Writes and finds records."""

    __slots__ = ()

    def upsert(
        self,
        collection: str,
        records: Iterable[RecordLike],
        *,
        mode: UpsertMode = "replace",
        path: Path | None = None,
        timeout: float | None = None,
    ) -> Call[vectors.UpsertResponse, UpsertResult]:
        """Writes records, replacing those with the same id, in one transaction.

        Args:
            collection: the collection's name.
            records: 1 to 10000 records or tuples (id, vector, metadata). Where an id stands twice, the last one wins.
            mode: insert_only leaves records that exist as they are, update_only leaves out ids that no record has.
            path: the access path; default: the client's.
            timeout: seconds; default: the client's.
        """
        found = messages.record_messages(records)
        with messages.refusing("upsert"):
            request = vectors.UpsertRequest(
                collection=collection, records=found, path=self._path(path), mode=messages.upsert_mode_value(mode)
            )
        return Call(
            method=UPSERT,
            request=request,
            decode=answers.upsert_result,
            timeout_s=self._timeout_s(timeout),
        )

    def upsert_many(
        self,
        collection: str,
        records: Iterable[RecordLike] | AsyncIterable[RecordLike],
        *,
        batch: int = DEFAULT_BATCH,
        mode: UpsertMode = "replace",
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
            mode: insert_only leaves records that exist as they are, update_only leaves out ids that no record has.
            path: the access path; default: the client's.
            timeout: seconds for all of it; default: no bound.
            patience: seconds without an acknowledgement after which an unavailable router or pod is an error.
            on_progress: called with the number of records acknowledged so far. What it raises ends the upsert.
        """
        if not isinstance(batch, int) or not 1 <= batch <= MAX_BATCH_RECORDS:
            raise InvalidArgument.at("batch", f"must be 1 to {MAX_BATCH_RECORDS}", "RECORD_COUNT")
        with messages.refusing("upsert_many"):
            first = vectors.UpsertStreamRequest(
                collection=collection, path=self._path(path), mode=messages.upsert_mode_value(mode)
            )
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
        probes: int | None = None,
        iterative_scan: IterativeScan | None = None,
        max_scan_tuples: int | None = None,
        max_distance: float | None = None,
        include_metadata: bool = False,
        metadata_keys: Iterable[str] | None = None,
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
            probes: lists of an IVFFlat index searched at first, 1 to 32768; default: the pod's setting.
            iterative_scan: how an index scan goes on where its first candidates hold too few matches: ``off`` (it does
                not), ``strict`` or ``relaxed`` (in exact or in about the order of the distance). Default: relaxed.
            max_scan_tuples: about how many records an HNSW scan looks at before it ends, whether or not matches are
                missing.
            max_distance: leave out matches that are farther, in the metric's unit.
            include_metadata: return each match's metadata.
            metadata_keys: return only these top-level keys of it, 1 to 64, as far as it has them.
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
                params=vectors.SearchParams(
                    exact=exact,
                    ef_search=ef_search,
                    probes=probes,
                    iterative_scan=messages.iterative_scan_value(iterative_scan),
                    max_scan_tuples=max_scan_tuples,
                ),
                max_distance=max_distance,
                include_metadata=include_metadata,
                metadata_keys=None if metadata_keys is None else messages.key_list(metadata_keys),
                include_vector=include_vector,
                path=self._path(path),
            )
        return Call(method=QUERY, request=request, decode=answers.query_result, timeout_s=self._timeout_s(timeout))

    def batch_query(
        self, queries: Iterable[Query], *, timeout: float | None = None
    ) -> Call[vectors.BatchQueryResponse, tuple[QueryResult | Error, ...]]:
        """Runs many queries in one call, a few at a time; what became of each comes in their order.

        A query that fails does not touch the others: its `podroute.Error` stands in place of its result, and is not
        raised. Those that are not done shortly before the deadline end as DeadlineExceeded.

        Args:
            queries: 1 to 100 queries, of any collections.
            timeout: seconds for all of them; default: the client's.
        """
        with messages.refusing("queries"):
            requests = [self._request(f"queries[{i}]", query) for i, query in enumerate(queries)]
        return Call(
            method=BATCH_QUERY,
            request=vectors.BatchQueryRequest(queries=requests),
            decode=answers.batch_query_result,
            timeout_s=self._timeout_s(timeout),
        )

    def _request(self, field: str, query: Query) -> vectors.QueryRequest:
        if not isinstance(query, Query):
            raise InvalidArgument.at(field, "must be a podroute.Query", "ARGUMENT_TYPE")
        arguments = {each.name: getattr(query, each.name) for each in fields(Query)}
        try:
            return cast("vectors.QueryRequest", self.query(**arguments).request)
        except InvalidArgument as error:
            [violation] = error.violations
            raise type(error).at(f"{field}.{violation.field}", violation.description, error.reason) from error

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
        return Call(method=FETCH, request=request, decode=answers.fetch_result, timeout_s=self._timeout_s(timeout))

    def delete(
        self,
        collection: str,
        *,
        ids: Iterable[str] | None = None,
        filter: FilterDict | None = None,
        include_ids: bool = False,
        path: Path | None = None,
        timeout: float | None = None,
    ) -> Call[vectors.DeleteResponse, DeleteResult]:
        """Deletes records by id or by filter, in one transaction.

        Args:
            collection: the collection's name.
            ids: 1 to 10000 ids; an id that no record has is passed over.
            filter: in its place: the records that match; see `podroute.filters`.
            include_ids: return the ids of the records deleted, not only their number. Where an answer was lost and the
                call was made again, they are those of the last attempt.
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
                include_ids=include_ids,
            )
        return Call(method=DELETE, request=request, decode=answers.delete_result, timeout_s=self._timeout_s(timeout))

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
        return Call(method=COUNT, request=request, decode=answers.count_result, timeout_s=self._timeout_s(timeout))

    def update_metadata(
        self,
        collection: str,
        metadata: Mapping[str, Any],
        *,
        ids: Iterable[str] | None = None,
        filter: FilterDict | None = None,
        mode: UpdateMode = "merge",
        path: Path | None = None,
        timeout: float | None = None,
    ) -> Call[vectors.UpdateMetadataResponse, UpdateMetadataResult]:
        """Changes the metadata of records, and not their vectors, in one transaction.

        Args:
            collection: the collection's name.
            metadata: a JSON object.
            ids: 1 to 10000 ids; an id that no record has is passed over.
            filter: in its place: the records that match before the change; see `podroute.filters`.
            mode: merge sets the top-level keys and leaves the others, replace replaces all of the metadata.
            path: the access path; default: the client's.
            timeout: seconds; default: the client's.
        """
        if (ids is None) == (filter is None):
            raise InvalidArgument.at("target", "give either ids or a filter", "TARGET")
        text = messages.metadata_text(metadata, "metadata") or "{}"
        with messages.refusing("update_metadata"):
            request = vectors.UpdateMetadataRequest(
                collection=collection,
                ids=None if ids is None else vectors.IdList(ids=messages.id_list(ids)),
                filter=_filter(filter),
                metadata=text,
                mode=messages.update_mode_value(mode),
                path=self._path(path),
            )
        return Call(
            method=UPDATE_METADATA,
            request=request,
            decode=answers.update_metadata_result,
            timeout_s=self._timeout_s(timeout),
        )

    def scan(
        self,
        collection: str,
        *,
        filter: FilterDict | None = None,
        include_metadata: bool = False,
        include_vector: bool = False,
        page_size: int = DEFAULT_PAGE,
        path: Path | None = None,
        timeout: float | None = None,
        patience: float = DEFAULT_PATIENCE_S,
    ) -> Scan:
        """Reads all records, or those that match, in code-point order of their ids.

        They are read as they are taken, about a page ahead, and a record that is there all the time comes exactly once.
        Where the router or the pod goes away, the scan goes on after the last record that came.

        Args:
            collection: the collection's name.
            filter: only records that match; see `podroute.filters`.
            include_metadata: return each record's metadata.
            include_vector: return each record's vector.
            page_size: most records that are sent together, 1 to 1000.
            path: the access path; default: the client's.
            timeout: seconds for all of it, which the caller's own work counts in; default: no bound.
            patience: seconds without a record after which an unavailable router or pod is an error.
        """
        with messages.refusing("scan"):
            request = vectors.ScanRequest(
                collection=collection,
                filter=_filter(filter),
                page_size=page_size,
                include_metadata=include_metadata,
                include_vector=include_vector,
                path=self._path(path),
            )
        return Scan(method=SCAN, request=request, timeout_s=timeout, patience_s=patience)


def _filter(spec: FilterDict | None) -> filter_pb2.Filter | None:
    return None if spec is None else to_filter(spec)
