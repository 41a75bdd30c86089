"""Route, backend, result: the orchestration of every data-plane call."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TypeVar
from weakref import ReferenceType, ref

import numpy as np

from podroute_router.backend import Backend, Backends, PreparedQuery, QueryPreparer
from podroute_router.domain import (
    AccessPath,
    Collection,
    Counting,
    Deadline,
    Explainable,
    Explanation,
    MetadataUpdate,
    PlainQuery,
    Query,
    QueryResult,
    Record,
    Route,
    ScannedRecord,
    ScanPage,
    Search,
    Selection,
    UpsertMode,
)
from podroute_router.errors import NotFound, PodrouteError, Unreachable, Unsupported
from podroute_router.filters import Filter
from podroute_router.map_source import MapSource, find_collection
from podroute_router.searching import as_query, check_dimension, finish, is_plain
from podroute_router.shard_map import ShardMap

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class PreparedRoute:
    """Where plain queries of a kind go, as long as the shard map stays what it is."""

    shard_map: ReferenceType[ShardMap]
    """Weak: what is prepared outlives thousands of maps."""
    route: Route
    dimension: int
    query: PreparedQuery


class Engine:
    """Serves the data plane.

    Args:
        maps: the shard map.
        backends: the backend of each access path.
        is_on_primary: whether a pod is the primary database itself.
        is_reachable: whether a pod answers directly, as far as is known.
    """

    def __init__(
        self,
        *,
        maps: MapSource,
        backends: Backends,
        is_on_primary: Callable[[str], bool],
        is_reachable: Callable[[str], bool] = lambda _: True,
    ) -> None:
        self._maps = maps
        self._backends = backends
        self._is_on_primary = is_on_primary
        self._is_reachable = is_reachable

    async def upsert(
        self,
        collection: str,
        records: Sequence[Record],
        path: AccessPath,
        deadline: Deadline,
        mode: UpsertMode = UpsertMode.REPLACE,
    ) -> tuple[int, Route]:
        """Writes records, the last of each id, in one transaction; returns how many were written."""
        found, shard_map = await find_collection(self._maps, collection, deadline)
        for i, record in enumerate(records):
            check_dimension(record.vector, found, f"records[{i}].vector")
        folded = list({record.id: record for record in records}.values())
        return await self._serve(found, shard_map, path, lambda backend: backend.upsert(found, folded, deadline, mode))

    async def query(
        self, collection: str, search: Search, path: AccessPath, deadline: Deadline
    ) -> tuple[QueryResult, Route]:
        """The nearest records, nearest first and ties by id."""
        found, shard_map = await find_collection(self._maps, collection, deadline)
        if isinstance(search.target, str):
            return await self._serve(
                found, shard_map, path, lambda backend: _query_by_id(backend, found, search, deadline)
            )
        query = as_query(search, search.target, found)
        result, route = await self._serve(found, shard_map, path, lambda backend: backend.query(found, query, deadline))
        return finish(result, search), route

    def prepare(self, collection: str, search: Search, path: AccessPath) -> PreparedRoute | None:
        """The way of all searches that differ from this one in their vectors only; None where `query` is their way.

        What comes that way is in any order.
        """
        shard_map = self._maps.current
        found = shard_map.collections.get(collection)
        if found is None or not is_plain(search):
            return None
        if path is AccessPath.AUTO:
            path = self._paths(found.placement.pod)[0]
        backend = self._backends.get(path)
        if not isinstance(backend, QueryPreparer):
            return None
        query = PlainQuery(
            limit=search.limit, metric=search.metric or found.metric, include_metadata=search.include_metadata
        )
        try:
            prepared = backend.prepare_query(found, query)
        except PodrouteError:
            return None  # `query` says what is wrong
        if prepared is None:
            return None
        route = self._route(found, shard_map, path)
        return PreparedRoute(shard_map=ref(shard_map), route=route, dimension=found.dimension, query=prepared)

    def is_current(self, prepared: PreparedRoute, path: AccessPath) -> bool:
        """True where a search on that path would be prepared the same way again."""
        if self._maps.current is not prepared.shard_map():
            return False
        return path is not AccessPath.AUTO or prepared.route.path is self._paths(prepared.route.pods[0])[0]

    async def fetch(
        self, collection: str, ids: Sequence[str], path: AccessPath, deadline: Deadline
    ) -> tuple[list[Record], list[str], Route]:
        """The records found, in the order of the ids, and the ids that no record has."""
        found, shard_map = await find_collection(self._maps, collection, deadline)
        distinct = list(dict.fromkeys(ids))
        records, route = await self._serve(
            found, shard_map, path, lambda backend: backend.fetch(found, distinct, deadline)
        )
        by_id = {record.id: record for record in records}
        missing = [wanted for wanted in distinct if wanted not in by_id]
        return [by_id[wanted] for wanted in distinct if wanted in by_id], missing, route

    async def delete(
        self, collection: str, selection: Selection, path: AccessPath, deadline: Deadline
    ) -> tuple[int, Route]:
        """Deletes the records selected and returns how many there were."""
        found, shard_map = await find_collection(self._maps, collection, deadline)
        return await self._serve(found, shard_map, path, lambda backend: backend.delete(found, selection, deadline))

    async def delete_returning(
        self, collection: str, selection: Selection, most_bytes: int, path: AccessPath, deadline: Deadline
    ) -> tuple[list[str], Route]:
        """Deletes the records selected, unless their ids have more than so many bytes; returns these in any order."""
        found, shard_map = await find_collection(self._maps, collection, deadline)
        return await self._serve(
            found, shard_map, path, lambda backend: backend.delete_returning(found, selection, most_bytes, deadline)
        )

    async def count(
        self, collection: str, filter: Filter | None, path: AccessPath, deadline: Deadline
    ) -> tuple[int, Route]:
        """How many records match."""
        found, shard_map = await find_collection(self._maps, collection, deadline)
        return await self._serve(found, shard_map, path, lambda backend: backend.count(found, filter, deadline))

    async def update_metadata(
        self, collection: str, update: MetadataUpdate, path: AccessPath, deadline: Deadline
    ) -> tuple[int, Route]:
        """Changes the metadata of the records selected and returns how many there were."""
        found, shard_map = await find_collection(self._maps, collection, deadline)
        return await self._serve(
            found, shard_map, path, lambda backend: backend.update_metadata(found, update, deadline)
        )

    async def scan(
        self, collection: str, page: ScanPage, path: AccessPath, deadline: Deadline
    ) -> tuple[list[ScannedRecord], Route]:
        """The next records by id; fewer than `page.limit` where there are no more."""
        found, shard_map = await find_collection(self._maps, collection, deadline)
        return await self._serve(found, shard_map, path, lambda backend: backend.scan(found, page, deadline))

    async def explain(
        self,
        collection: str,
        asked: Search | Counting | Selection,
        path: AccessPath,
        deadline: Deadline,
        *,
        analyze: bool = False,
    ) -> tuple[Explanation, Route]:
        """How a call would be run on the path that it would take."""
        found, shard_map = await find_collection(self._maps, collection, deadline)

        async def call(backend: Backend) -> Explanation:
            wanted: Explainable
            if not isinstance(asked, Search):
                wanted = asked
            elif isinstance(asked.target, str):
                wanted = await _neighbours_of(backend, found, asked, deadline)
            else:
                wanted = as_query(asked, asked.target, found)
            return await backend.explain(found, wanted, deadline, analyze=analyze)

        return await self._serve(found, shard_map, path, call)

    async def _serve(
        self,
        collection: Collection,
        shard_map: ShardMap,
        path: AccessPath,
        call: Callable[[Backend], Awaitable[T]],
    ) -> tuple[T, Route]:
        """Calls the backend of the path. AUTO goes on where a database was not reached, and never after that."""
        *others, last = self._paths(collection.placement.pod) if path is AccessPath.AUTO else (path,)
        for candidate in others:
            with suppress(Unreachable):
                return await call(self._backend(candidate)), self._route(collection, shard_map, candidate)
        return await call(self._backend(last)), self._route(collection, shard_map, last)

    def _paths(self, pod: str) -> tuple[AccessPath, ...]:
        """What AUTO tries, in order: DIRECT first, unless the pod is known not to answer."""
        if AccessPath.FDW not in self._backends or self._is_on_primary(pod):
            return (AccessPath.DIRECT,)
        if self._is_reachable(pod):
            return AccessPath.DIRECT, AccessPath.FDW
        return AccessPath.FDW, AccessPath.DIRECT

    def _backend(self, path: AccessPath) -> Backend:
        backend = self._backends.get(path)
        if backend is None:
            raise Unsupported("PATH_NOT_SERVED", f"this router serves no {path.name} path", facts={"path": path.value})
        return backend

    def _route(self, collection: Collection, shard_map: ShardMap, path: AccessPath) -> Route:
        pod = collection.placement.pod
        return Route(path=path, pods=(pod,), map_revision=shard_map.revision, on_primary=self._is_on_primary(pod))


async def _neighbours_of(backend: Backend, collection: Collection, search: Search, deadline: Deadline) -> Query:
    """The query for a stored record and its neighbours: one more than were asked for, as it finds itself."""
    wanted = str(search.target)
    records = await backend.fetch(collection, [wanted], deadline)
    if not records:
        raise NotFound(
            "RECORD_NOT_FOUND",
            f"collection {collection.name!r} has no record with the id asked for",
            facts={"collection": collection.name},
        )
    query = as_query(search, np.asarray(records[0].vector), collection)
    return replace(query, limit=query.limit + 1)


async def _query_by_id(backend: Backend, collection: Collection, search: Search, deadline: Deadline) -> QueryResult:
    """The neighbours of a stored record, without itself."""
    query = await _neighbours_of(backend, collection, search, deadline)
    result = await backend.query(collection, query, deadline)
    others = [match for match in result.matches if match.id != search.target]
    return finish(replace(result, matches=others), search)
