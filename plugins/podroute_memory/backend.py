"""The backend: tables in dictionaries, every search a scan."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from podroute_router.backend import Confirm, PreparedQuery, Register
from podroute_router.domain import (
    Collection,
    Counting,
    Deadline,
    Explainable,
    Explanation,
    Index,
    IndexProgress,
    Match,
    MetadataUpdate,
    Placement,
    PlainQuery,
    Query,
    QueryResult,
    Record,
    ScannedRecord,
    ScanPage,
    Selection,
    UpdateMode,
    UpsertMode,
    WantedIndex,
)
from podroute_router.errors import AlreadyExists, DeadlineExceeded, NotFound, Unavailable, Unsupported
from podroute_router.filters import Filter
from podroute_router.names import check_id_bytes

from podroute_memory.chosen_keys import choose_keys, merge
from podroute_memory.distances import distances
from podroute_memory.filters import make_predicate, parse_document


@dataclass(frozen=True, slots=True)
class _Row:
    record: Record
    document: object
    """The record's metadata, parsed once."""


@dataclass(slots=True)
class _Table:
    dimension: int
    rows: dict[str, _Row] = field(default_factory=dict)

    def matching(self, filter: Filter | None) -> list[Record]:
        if filter is None:
            return [row.record for row in self.rows.values()]
        holds = make_predicate(filter)
        return [row.record for row in self.rows.values() if holds(row.document)]

    def selected(self, selection: Selection) -> list[str]:
        if selection.ids is not None:
            return [record_id for record_id in dict.fromkeys(selection.ids) if record_id in self.rows]
        return [record.id for record in self.matching(selection.filter)]


class MemoryBackend:
    """A `Backend`, `QueryPreparer` and `CollectionStore` without a database; what it holds is gone when it is closed.

    No method awaits anything, so none can be cancelled half-way and each is atomic. A backend whose work takes longer
    than an event loop may stand still has to await.
    """

    def __init__(self) -> None:
        self._tables: dict[tuple[str, str, str], _Table] = {}

    leaves_at_once = True
    """See `backend.Backend`."""

    async def upsert(
        self,
        collection: Collection,
        records: Sequence[Record],
        deadline: Deadline,
        mode: UpsertMode = UpsertMode.REPLACE,
    ) -> int:
        """Writes the records, all or none: metadata is parsed before the first one is stored."""
        table = self._table(collection, deadline)
        if mode is not UpsertMode.REPLACE:
            wanted = mode is UpsertMode.UPDATE_ONLY
            records = [record for record in records if (record.id in table.rows) is wanted]
        rows = {record.id: _Row(_own(record), parse_document(record.metadata)) for record in records}
        table.rows.update(rows)
        return len(rows)

    async def query(self, collection: Collection, query: Query, deadline: Deadline) -> QueryResult:
        """Measures every record that matches; nearest first, ties by id in code-point order, NaN last."""
        records = self._table(collection, deadline).matching(query.filter)
        if not records:
            return QueryResult(matches=[])
        measured = distances(query.metric, np.stack([record.vector for record in records]), query.vector)
        nearest = sorted(zip(measured.tolist(), records, strict=True), key=lambda pair: _rank(pair[0], pair[1].id))
        matches = [
            Match(
                id=record.id,
                distance=distance,
                metadata=_metadata(record, query),
                vector=record.vector if query.include_vector else None,
            )
            for distance, record in nearest[: query.limit]
        ]
        return QueryResult(matches=matches)

    def prepare_query(self, collection: Collection, query: PlainQuery) -> PreparedQuery:
        """The query; nothing of it can be worked out ahead."""
        return _PreparedQuery(self, collection, query)

    async def fetch(self, collection: Collection, ids: Sequence[str], deadline: Deadline) -> list[Record]:
        """The records with these ids that exist, each once."""
        rows = self._table(collection, deadline).rows
        return [rows[record_id].record for record_id in dict.fromkeys(ids) if record_id in rows]

    async def delete(self, collection: Collection, selection: Selection, deadline: Deadline) -> int:
        """Deletes the records selected and returns how many there were."""
        return len(self._delete(self._table(collection, deadline), selection, None))

    async def delete_returning(
        self, collection: Collection, selection: Selection, most_bytes: int, deadline: Deadline
    ) -> list[str]:
        """Deletes the records selected and returns their ids."""
        return self._delete(self._table(collection, deadline), selection, most_bytes)

    async def count(self, collection: Collection, filter: Filter | None, deadline: Deadline) -> int:
        """How many records match; all where the filter is None."""
        return len(self._table(collection, deadline).matching(filter))

    async def update_metadata(self, collection: Collection, update: MetadataUpdate, deadline: Deadline) -> int:
        """Changes the metadata of the records selected and returns how many there were."""
        table = self._table(collection, deadline)
        changed = {}
        for record_id in table.selected(update.selection):
            record = table.rows[record_id].record
            text = merge(record.metadata, update.metadata) if update.mode is UpdateMode.MERGE else update.metadata
            changed[record_id] = _Row(replace(record, metadata=text), parse_document(text))
        table.rows.update(changed)
        return len(changed)

    async def scan(self, collection: Collection, page: ScanPage, deadline: Deadline) -> list[ScannedRecord]:
        """The next records in code-point order of their ids."""
        records = [
            record for record in self._table(collection, deadline).matching(page.filter) if record.id > page.after
        ]
        return [
            ScannedRecord(
                id=record.id,
                metadata=record.metadata if page.include_metadata else None,
                vector=record.vector if page.include_vector else None,
            )
            for record in sorted(records, key=lambda record: record.id)[: page.limit]
        ]

    async def explain(
        self,
        collection: Collection,
        asked: Explainable,
        deadline: Deadline,
        *,
        analyze: bool = False,  # noqa: ARG002  (there is one step only)
    ) -> Explanation:
        """There is no SQL: every record is looked at."""
        table = self._table(collection, deadline)
        match asked:
            case Query(limit=limit):
                work = f"measures those that match and sorts them for the {limit} nearest"
            case Counting():
                work = "counts those that match"
            case Selection(ids=None):
                work = "deletes those that match"
            case _:
                return Explanation(sql="", plan=f"Look-up: ids in a dictionary of {len(table.rows)} records")
        return Explanation(sql="", plan=f"Scan: reads {len(table.rows)} records in memory and {work}")

    async def close(self) -> None:
        """Forgets everything."""
        self._tables.clear()

    async def create_collection(
        self, collection: Collection, deadline: Deadline, register: Register | None = None
    ) -> None:
        """Makes the collection's table; one that stands empty is made anew."""
        _check_deadline(deadline)
        key = _key(collection.placement)
        standing = self._tables.get(key)
        if standing is not None and standing.rows:
            raise AlreadyExists(
                "TABLE_EXISTS", "a table of that name stands already, with records", facts=_facts(collection)
            )
        if register is not None:
            await register()
        self._tables[key] = _Table(collection.dimension)

    async def drop_collection(self, collection: Collection, deadline: Deadline, confirm: Confirm | None = None) -> None:
        """Forgets the collection's table, unless another one stands there once it is confirmed."""
        _check_deadline(deadline)
        key = _key(collection.placement)
        standing = self._tables.get(key)
        if confirm is not None and not await confirm():
            return
        if standing is not None and self._tables.get(key) is standing:
            del self._tables[key]

    def create_index(
        self, collection: Collection, index: WantedIndex, deadline: Deadline
    ) -> AsyncIterator[IndexProgress | Index]:
        """Raises Unsupported: an exact search uses no index."""
        _check_deadline(deadline)
        raise Unsupported(
            "INDEX_UNSUPPORTED",
            "the memory backend searches exactly and has no indexes",
            facts=_facts(collection) | {"method": type(index.method).__name__},
        )

    async def list_indexes(self, collection: Collection, deadline: Deadline) -> list[Index]:
        """None: an exact search uses no index."""
        self._table(collection, deadline)
        return []

    async def drop_index(self, collection: Collection, name: str, deadline: Deadline) -> None:
        """Raises NotFound: there are no indexes."""
        self._table(collection, deadline)
        raise NotFound("INDEX_NOT_FOUND", f"there is no index {name!r}", facts=_facts(collection) | {"index": name})

    async def record_estimate(self, pod: str, deadline: Deadline) -> int:
        """How many records the pod holds; here exactly."""
        _check_deadline(deadline)
        return sum(len(table.rows) for (of_pod, _, _), table in self._tables.items() if of_pod == pod)

    async def probe(self, pod: str, deadline: Deadline) -> None:  # noqa: ARG002  (every pod is here)
        """Memory always answers."""
        _check_deadline(deadline)

    @staticmethod
    def _delete(table: _Table, selection: Selection, most_bytes: int | None) -> list[str]:
        doomed = table.selected(selection)
        if most_bytes is not None:
            check_id_bytes(doomed, most_bytes)
        for record_id in doomed:
            del table.rows[record_id]
        return doomed

    def _table(self, collection: Collection, deadline: Deadline) -> _Table:
        _check_deadline(deadline)
        table = self._tables.get(_key(collection.placement))
        if table is None:
            raise Unavailable("TABLE_MISSING", "the collection has no table (any more)", facts=_facts(collection))
        return table


def _key(placement: Placement) -> tuple[str, str, str]:
    return placement.pod, placement.schema, placement.table


def _facts(collection: Collection) -> dict[str, object]:
    return {"collection": collection.name, "pod": collection.placement.pod}


def _check_deadline(deadline: Deadline) -> None:
    if not deadline.remaining_s():
        raise DeadlineExceeded("DEADLINE_EXCEEDED", "the call's time had run out before it began")


def _metadata(record: Record, query: Query) -> str | None:
    """What the query asks for of the record's metadata."""
    if not query.include_metadata:
        return None
    return choose_keys(record.metadata, query.metadata_keys) if query.metadata_keys else record.metadata


def _own(record: Record) -> Record:
    """The record with a vector that no caller can change."""
    vector = np.array(record.vector, dtype=np.float32)
    vector.flags.writeable = False
    return replace(record, vector=vector)


def _rank(distance: float, record_id: str) -> tuple[bool, float, str]:
    unordered = math.isnan(distance)
    return unordered, 0.0 if unordered else distance, record_id


@dataclass(frozen=True, slots=True)
class _PreparedQuery:
    backend: MemoryBackend
    collection: Collection
    query: PlainQuery

    async def run(self, vector: bytes, deadline: Deadline) -> list[Match]:
        query = Query(
            vector=np.frombuffer(vector, ">f4").astype(np.float32),
            limit=self.query.limit,
            metric=self.query.metric,
            include_metadata=self.query.include_metadata,
        )
        return (await self.backend.query(self.collection, query, deadline)).matches
