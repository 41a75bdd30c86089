"""A collection as vecs has it, over a podroute.Client."""

from __future__ import annotations

import time
import warnings
from collections.abc import Iterable
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Self

import podroute
from podroute.values import Index, Metric
from podroute.vecs import naming
from podroute.vecs.adapter import Adapter, AdapterContext, NoOp
from podroute.vecs.exc import ArgError, CollectionAlreadyExists, MismatchedDimension
from podroute.vecs.filters import build_filter
from podroute.vecs.indexes import (
    METRICS,
    IndexArgs,
    IndexArgsHNSW,
    IndexArgsIVFFlat,
    IndexMeasure,
    IndexMethod,
    build_method,
    covering,
    serving,
)
from podroute.vecs.rows import Match, RecordRow, match_row, record_row, to_record
from podroute.vecs.transfers import delete_by_ids, fetch, upsert
from podroute.vecs.translation import translated

if TYPE_CHECKING:
    from podroute.vecs.client import Client

MAX_LIMIT = 1000
DEFAULT_PROBES = 10
"""Lists of an IVFFlat index that a query searches at first, as in vecs."""
INDEX_FACTS_S = 5.0
"""For so long a query believes what it was told of the collection's indexes."""
INDEX_FACTS_TIMEOUT_S = 1.0
"""A query waits for that no longer."""


class Collection:
    """A collection of one client. `Client.get_or_create_collection` makes it.

    Args:
        name: the collection's; see `podroute.vecs.naming`.
        dimension: components of each vector.
        client: whose it is.
        adapter: makes vectors of what is written and asked for; default: they are vectors.

    Raises:
        ArgError: there is no dimension.
        MismatchedDimension: dimension and adapter do not agree.
    """

    def __init__(self, name: str, dimension: int | None, client: Client, adapter: Adapter | None = None) -> None:
        exported = adapter.exported_dimension if adapter else None
        reported = {each for each in (dimension, exported) if each is not None}
        if not reported:
            raise ArgError("One of dimension or adapter must provide a dimension")
        if len(reported) > 1:
            raise MismatchedDimension("Dimensions reported by adapter, dimension, and collection do not match")
        [self.dimension] = reported
        self.name = name
        self.client = client
        self.adapter = adapter or Adapter(steps=[NoOp(dimension=self.dimension)])
        self._routed_name: str | None = None
        self._indexes: list[Index] | None = None
        self._indexes_until = 0.0

    def __repr__(self) -> str:
        return f'vecs.Collection(name="{self.name}", dimension={self.dimension})'

    def __len__(self) -> int:
        with translated():
            return self._router.count(self._routed).count

    def __getitem__(self, items: str) -> RecordRow:
        """The record with an id; raises KeyError where there is none."""
        if not isinstance(items, str):
            raise ArgError("items must be a string id")
        rows = self.fetch([items])
        if not rows:
            raise KeyError("no item found with requested id")
        return rows[0]

    def upsert(self, records: Iterable[tuple[str, Any, Any]], skip_adapter: bool = False) -> None:
        """Writes records, replacing those with the same id; of two with one id the later one wins.

        Up to 5000 records, or 32 MiB of vectors, are one transaction. More are written as they come, in several: where
        one fails, earlier ones are stored.

        Args:
            records: tuples of id, vector (or what the adapter takes) and metadata.
            skip_adapter: these are vectors.
        """
        rows = records if skip_adapter else self.adapter(records, AdapterContext("upsert"))
        with translated():
            upsert(self._router, self._routed, map(to_record, rows), self.dimension)

    def fetch(self, ids: Iterable[str]) -> list[RecordRow]:
        """Records by id, in the order of the ids and each once; ids that no record has are left out."""
        if isinstance(ids, str):
            raise ArgError("ids must be a list of strings")
        with translated():
            return [record_row(each) for each in fetch(self._router, self._routed, ids, self.dimension)]

    def delete(self, ids: Iterable[str] | None = None, filters: dict[str, Any] | None = None) -> list[str]:
        """Deletes records by id or by filter, and returns the ids of those that were there.

        Up to 10000 ids, or a filter, are one transaction. No ids, or an empty filter, delete nothing.
        """
        if ids is None and filters is None:
            raise ArgError("Either ids or filters must be provided.")
        if ids is not None and filters is not None:
            raise ArgError("Either ids or filters must be provided, not both.")
        if isinstance(ids, str):
            raise ArgError("ids must be a list of strings")
        with translated():
            if ids:
                return delete_by_ids(self._router, self._routed, ids)
            if filters:
                condition = build_filter(filters)
                return list(self._router.delete(self._routed, filter=condition, include_ids=True).deleted_ids)
        return []

    def query(  # noqa: PLR0917 (as vecs has them)
        self,
        data: Any,
        limit: int = 10,
        filters: dict[str, Any] | None = None,
        measure: IndexMeasure | str = IndexMeasure.cosine_distance,
        include_value: bool = False,
        include_metadata: bool = False,
        *,
        probes: int | None = None,
        ef_search: int | None = None,
        skip_adapter: bool = False,
    ) -> list[Match]:
        """The nearest records, nearest first and ties by id: ids, or tuples of id, distance and metadata.

        Args:
            data: the vector, or what the adapter takes.
            limit: how many at most, up to 1000; with a filter, too, so many come where that many match.
            filters: only records that match; see `podroute.vecs.filters`.
            measure: the distance. Without an index for it, a warning says so.
            include_value: with the distance.
            include_metadata: with the metadata.
            probes: lists of an IVFFlat index searched at first; default: 10.
            ef_search: size of the HNSW candidate list; default: the pod's setting, which is 40 unless configured.
            skip_adapter: `data` is a vector.

        Raises:
            ArgError, FilterError: as vecs does.
            podroute.Error: what vecs leaves to the database.
        """
        probes_given = DEFAULT_PROBES if probes is None else probes
        if not isinstance(probes_given, int):
            raise ArgError("probes must be an integer")
        if probes_given < 1:
            raise ArgError("probes must be >= 1")
        if limit > MAX_LIMIT:
            raise ArgError("limit must be <= 1000")
        try:
            measure = IndexMeasure(measure)
        except ValueError:
            raise ArgError("Invalid index measure") from None
        metric = METRICS[measure]
        index = self._index_for(measure, metric)
        vector = data if skip_adapter else self._adapted(data)
        with translated():
            result = self._router.query(
                self._routed,
                vector,
                limit=int(limit) or 1,
                filter=build_filter(filters) if filters else None,
                metric=metric,
                probes=probes_given if probes is not None or (index and index.method == "ivfflat") else None,
                ef_search=ef_search,
                include_metadata=include_metadata,
            )
        return [
            match_row(each, include_value=include_value, include_metadata=include_metadata)
            for each in result.matches[: int(limit)]
        ]

    @property
    def index(self) -> str | None:
        """The name of the collection's vector index; None where it has none."""
        indexes = self._look_at_indexes()
        return indexes[0].name if indexes else None

    def is_indexed_for_measure(self, measure: IndexMeasure | str) -> bool:
        """Whether an index serves queries of the measure, by what the pod's system catalogs say."""
        metric = METRICS.get(measure)
        return metric is not None and covering(self._look_at_indexes(), metric) is not None

    def create_index(
        self,
        measure: IndexMeasure | str = IndexMeasure.cosine_distance,
        method: IndexMethod | str = IndexMethod.auto,
        index_arguments: IndexArgs | None = None,
        replace: bool = True,
    ) -> None:
        """Builds an index, while writes go on; others that the collection has serve until then, and are dropped.

        Args:
            measure: the distance that it serves.
            method: HNSW (also `auto`) or IVFFlat.
            index_arguments: its parameters; default: those of pgvector, and lists by the number of records.
            replace: whether it may have an index already.

        Raises:
            ArgError: as vecs does; with `replace=False` where there is an index.
        """
        kind = build_method(method, index_arguments)
        metric = METRICS.get(measure)
        if metric is None:
            raise ArgError("Unknown index measure")
        standing = self._look_at_indexes()
        if standing and not replace:
            raise ArgError("replace is set to False but an index exists")
        hnsw = index_arguments if isinstance(index_arguments, IndexArgsHNSW) else None
        ivfflat = index_arguments if isinstance(index_arguments, IndexArgsIVFFlat) else None
        with translated():
            try:
                self._router.create_index(
                    self._routed,
                    method=kind,
                    metric=metric,
                    m=hnsw.m if hnsw else None,
                    ef_construction=hnsw.ef_construction if hnsw else None,
                    lists=ivfflat.n_lists if ivfflat else None,
                    replace=replace,
                )
            except podroute.AlreadyExists as error:
                raise ArgError("replace is set to False but an index exists") from error
            for index in standing:
                if index.metric != metric:  # those of this metric were replaced
                    with suppress(podroute.NotFound):
                        self._router.drop_index(self._routed, index.name)
        self._indexes = None

    @property
    def _router(self) -> podroute.Client:
        return self.client.router

    @property
    def _routed(self) -> str:
        """The name that podroute knows the collection by."""
        if self._routed_name is None:
            found = naming.find(self._router, self.name)
            if found is None:
                return self.name  # the call says that there is none
            self._routed_name = found.name
        return self._routed_name

    def _create(self) -> Self:
        """Makes the collection; raises CollectionAlreadyExists where there is one."""
        if naming.find(self._router, self.name) is not None:
            raise CollectionAlreadyExists("Collection with requested name already exists")
        naming.check_new_name(self.name)
        try:
            self._router.create_collection(self.name, self.dimension)
        except podroute.AlreadyExists as error:  # made meanwhile, or a table that is not adopted stands there
            raise CollectionAlreadyExists(error.message) from error
        return self

    def _create_if_not_exists(self) -> Self:
        """Finds the collection, or makes it; raises MismatchedDimension where it has another dimension."""
        found = naming.find(self._router, self.name)
        if found is None:
            try:
                return self._create()
            except CollectionAlreadyExists:
                found = naming.find(self._router, self.name)
                if found is None:
                    raise
        if found.dimension != self.dimension:
            raise MismatchedDimension("Dimensions reported by adapter, dimension, and existing collection do not match")
        self._routed_name = found.name
        return self

    def _adapted(self, data: Any) -> Any:
        adapted = list(self.adapter([("", data, {})], AdapterContext("query")))
        if len(adapted) != 1:
            raise ArgError("Failed to produce exactly one query vector from input")
        return adapted[0][1]

    def _look_at_indexes(self) -> list[Index]:
        with translated():
            self._indexes = serving(self._router.list_indexes(self._routed))
        self._indexes_until = time.monotonic() + INDEX_FACTS_S
        return self._indexes

    def _index_for(self, measure: IndexMeasure, metric: Metric) -> Index | None:
        """The index that will serve the query; warns where there is none."""
        if time.monotonic() >= self._indexes_until or self._indexes is None:
            self._indexes_until = time.monotonic() + INDEX_FACTS_S
            try:
                found = self._router.list_indexes(self._routed, timeout=INDEX_FACTS_TIMEOUT_S)
            except podroute.Error:  # whatever it is, the query may be served all the same
                self._indexes = None
            else:
                self._indexes = serving(found)
        if self._indexes is None:
            return None
        index = covering(self._indexes, metric)
        if index is None:
            message = f"Query does not have a covering index for {measure}. See Collection.create_index"
            warnings.warn(UserWarning(message), stacklevel=1)
        return index
