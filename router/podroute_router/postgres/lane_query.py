"""A plain query of one collection over lanes: the way on which a query costs the router least."""

from __future__ import annotations

from podroute_router.domain import Deadline, Match
from podroute_router.postgres.lanes import Lanes, NoLane
from podroute_router.postgres.wire import matches_of, vector_parameter


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

    async def run(self, vector: bytes, deadline: Deadline) -> list[Match] | None:
        """See `backend.PreparedQuery`."""
        if not self._lanes.pace.is_short(self._statement):
            return None
        try:
            answer = await self._lanes.read(self._statement, (vector_parameter(vector),), deadline)
        except NoLane:
            return None
        self._lanes.pace.took_again(self._statement, answer.seconds)
        if answer.result.ntuples < self._limit:
            return None
        return matches_of(answer.result, include_metadata=self._include_metadata)
