"""The calls on records of a backend whose collections are tables: each to the access of the pod, with its relations."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import TypeVar

from podroute_router.backend import PreparedQuery
from podroute_router.domain import (
    Collection,
    Deadline,
    Explainable,
    Explanation,
    MetadataUpdate,
    PlainQuery,
    Query,
    QueryResult,
    Record,
    ScannedRecord,
    ScanPage,
    Selection,
    UpsertMode,
)
from podroute_router.errors import Unavailable
from podroute_router.filters import Filter
from podroute_router.postgres.access import Relations, TableAccess

T = TypeVar("T")


def of_pod(pod: str, known: Mapping[str, T]) -> T:
    """What a backend has for a pod; raises Unavailable where this router has no address for it."""
    found = known.get(pod)
    if found is None:
        raise Unavailable("POD_UNCONFIGURED", f"this router has no address for pod {pod!r}", facts={"pod": pod})
    return found


class RecordCalls(ABC):
    """See `backend.Backend`. A subclass sets `_access`, and says which relations hold a collection."""

    _access: Mapping[str, TableAccess]
    """To each pod."""

    leaves_at_once = True
    """See `backend.Backend`."""

    @abstractmethod
    def _relations(self, collection: Collection) -> Relations:
        """What the statements on a collection name."""

    async def upsert(
        self,
        collection: Collection,
        records: Sequence[Record],
        deadline: Deadline,
        mode: UpsertMode = UpsertMode.REPLACE,
    ) -> int:
        """See `backend.Backend`."""
        return await self._access_to(collection).upsert(self._relations(collection), records, deadline, mode)

    async def query(self, collection: Collection, query: Query, deadline: Deadline) -> QueryResult:
        """See `backend.Backend`."""
        return await self._access_to(collection).query(self._relations(collection), query, deadline)

    def prepare_query(self, collection: Collection, query: PlainQuery) -> PreparedQuery | None:
        """See `backend.QueryPreparer`."""
        return self._access_to(collection).prepare_query(self._relations(collection), query)

    async def fetch(self, collection: Collection, ids: Sequence[str], deadline: Deadline) -> list[Record]:
        """See `backend.Backend`."""
        return await self._access_to(collection).fetch(self._relations(collection), ids, deadline)

    async def delete(self, collection: Collection, selection: Selection, deadline: Deadline) -> int:
        """See `backend.Backend`."""
        return await self._access_to(collection).delete(self._relations(collection), selection, deadline)

    async def delete_returning(
        self, collection: Collection, selection: Selection, most_bytes: int, deadline: Deadline
    ) -> list[str]:
        """See `backend.Backend`."""
        relations = self._relations(collection)
        return await self._access_to(collection).delete_returning(relations, selection, most_bytes, deadline)

    async def count(self, collection: Collection, filter: Filter | None, deadline: Deadline) -> int:
        """See `backend.Backend`."""
        return await self._access_to(collection).count(self._relations(collection), filter, deadline)

    async def update_metadata(self, collection: Collection, update: MetadataUpdate, deadline: Deadline) -> int:
        """See `backend.Backend`."""
        return await self._access_to(collection).update_metadata(self._relations(collection), update, deadline)

    async def scan(self, collection: Collection, page: ScanPage, deadline: Deadline) -> list[ScannedRecord]:
        """See `backend.Backend`."""
        return await self._access_to(collection).scan(self._relations(collection), page, deadline)

    async def explain(
        self, collection: Collection, asked: Explainable, deadline: Deadline, *, analyze: bool = False
    ) -> Explanation:
        """See `backend.Backend`."""
        return await self._access_to(collection).explain(self._relations(collection), asked, deadline, analyze=analyze)

    def _access_to(self, collection: Collection) -> TableAccess:
        return of_pod(collection.placement.pod, self._access)
