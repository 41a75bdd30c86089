"""Queries that differ from one served before in their vectors only: the way on which a call costs the router least.

What the rest of the request means is worked out once: checked, routed, its statement found. Of each further request its
few fields are looked up, and its vector goes on as bytes. What does not fit goes the ordinary way, which says what is
wrong with it.
"""

from __future__ import annotations

from array import array
from dataclasses import dataclass, replace
from math import isfinite
from sys import byteorder
from typing import Final

import numpy as np
from podroute.v1 import record_pb2, route_pb2, vector_service_pb2

from podroute_router.api import responses
from podroute_router.api.requests import packed_components
from podroute_router.domain import AccessPath, Deadline, Search
from podroute_router.engine import Engine, PreparedRoute
from podroute_router.searching import nearest_first

KNOWN_MAX: Final = 10_000
"""Kinds of query that are remembered."""

_NO_VECTOR: Final = np.empty(0, dtype=np.float32)

Kind = tuple[str, int, int | None, int, bool]
"""Collection, path, limit where it is given, metric and whether metadata is asked for, as they stand in the request."""


@dataclass(frozen=True, slots=True)
class _Known:
    search: Search
    path: AccessPath
    prepared: PreparedRoute
    route: route_pb2.Route


class PlainQueries:
    """The kinds of plain query that were served."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._known: dict[Kind, _Known] = {}

    async def answer(
        self, request: vector_service_pb2.QueryRequest, deadline: Deadline
    ) -> vector_service_pb2.QueryResponse | None:
        """The response, or None where the request has to go the ordinary way."""
        kind = _kind(request)
        known = self._known.get(kind) if kind is not None else None
        if kind is None or known is None:
            return None
        if not self._engine.is_current(known.prepared, known.path):
            del self._known[kind]
            known = self._learn(kind, request.collection, known.search, known.path)
            if known is None:
                return None
        prepared = known.prepared
        components = big_endian_components(request.vector, prepared.dimension)
        if components is None:
            return None
        matches = await prepared.query.run(components, deadline)
        if matches is None:
            return None
        return responses.from_matches(nearest_first(matches), known.route)

    def learn(self, request: vector_service_pb2.QueryRequest, search: Search, path: AccessPath) -> None:
        """A request was served the ordinary way."""
        kind = _kind(request)
        if kind is not None and kind not in self._known:
            self._learn(kind, request.collection, replace(search, target=_NO_VECTOR), path)

    def _learn(self, kind: Kind, collection: str, search: Search, path: AccessPath) -> _Known | None:
        prepared = self._engine.prepare(collection, search, path)
        if prepared is None:
            return None
        if len(self._known) >= KNOWN_MAX:
            self._known.clear()
        known = self._known[kind] = _Known(search, path, prepared, responses.from_route(prepared.route))
        return known


def _kind(request: vector_service_pb2.QueryRequest) -> Kind | None:
    """None where more is asked for than the nearest records to a vector."""
    has = request.HasField
    if not has("vector") or has("filter") or has("max_distance") or request.include_vector or request.metadata_keys:
        return None
    if has("params") and request.params.ByteSize():
        return None
    limit = request.limit if has("limit") else None
    return request.collection, request.path, limit, request.metric, request.include_metadata


def big_endian_components(message: record_pb2.Vector, dimension: int) -> bytes | None:
    """The components as PostgreSQL takes them, or None where they are not finite or not so many.

    Without numpy, which costs ten times as much when its code is not in the caches, as between two calls it is not.
    """
    components = array("f", packed_components(message))
    if len(components) != dimension:
        return None
    if byteorder == "big":
        components.byteswap()
    if not isfinite(sum(components)):  # in double precision no sum of finite float32s overflows
        return None
    if byteorder == "little":
        components.byteswap()
    return components.tobytes()
