"""A plain query of one collection over lanes: the way on which a query costs the router least."""

from __future__ import annotations

import time

from podroute_router.domain import Deadline, Match
from podroute_router.errors import DeadlineExceeded
from podroute_router.postgres.lanes import Lanes, NoLane
from podroute_router.postgres.wire import matches_of, vector_parameter

SHORT_OF_LIMIT_S = 1.0
"""So long a query is left to the ordinary way, after fewer records than its limit came."""


class LaneQuery:
    """See `backend.PreparedQuery`.

    Args:
        statement: takes the vector and gives ids, distances and, where it is so said, metadata.
        limit: matches asked for; where fewer come, the index may have stopped short.
        include_metadata: the statement gives metadata.
        lanes: to the database.
    """

    def __init__(self, statement: str, *, limit: int, include_metadata: bool, lanes: Lanes) -> None:
        self._statement = statement
        self._limit = limit
        self._include_metadata = include_metadata
        self._lanes = lanes
        self._not_before = 0.0

    async def run(self, vector: bytes, deadline: Deadline) -> list[Match] | None:
        """See `backend.PreparedQuery`."""
        began = time.monotonic()
        if not self._lanes.pace.is_short(self._statement) or began < self._not_before:
            return None
        try:
            result = await self._lanes.read(self._statement, (vector_parameter(vector),), deadline)
        except NoLane:
            return None
        except DeadlineExceeded:
            self._lanes.measures.served(time.monotonic() - began)
            raise
        self._lanes.measures.served(time.monotonic() - began)
        if result.ntuples < self._limit:
            self._not_before = time.monotonic() + SHORT_OF_LIMIT_S
            return None
        return matches_of(result, include_metadata=self._include_metadata)
