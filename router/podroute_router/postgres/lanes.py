"""A few lanes to one database, made as they are needed, and the reads that go over them."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence

from psycopg.errors import error_from_result
from psycopg.pq import ExecStatus
from psycopg.pq.abc import PGresult

from podroute_router.domain import Deadline
from podroute_router.errors import PodrouteError, deadline_passed
from podroute_router.measures import UNMEASURED, Measures
from podroute_router.postgres.connector import Connector
from podroute_router.postgres.doubt import Doubt
from podroute_router.postgres.errors import STALE_SESSION
from podroute_router.postgres.lane import Lane, LaneLost
from podroute_router.postgres.left import LeftStatements, Places
from podroute_router.postgres.pace import Pace

DEPTH_MAX = 32
"""Statements under way on a lane: all of them are run, also those whose callers have given up, before a new one is."""


class NoLane(Exception):
    """There is none now, or it was lost before the answer, or the answer is an error. A read can take another way."""


class Lanes:
    """Lanes to one database.

    Args:
        connector: makes connections.
        looks: connections over which lanes that were left are looked at.
        size: most lanes at a time.
        linger_s: a lane that was left keeps its place as long as any connection of the pool's that was.
        facts: names the database in errors (pod, path).
        doubt: shared by all who hold connections to the database.
        measures: is told of the reads.
    """

    def __init__(
        self,
        connector: Connector,
        looks: Places,
        *,
        size: int,
        linger_s: float,
        facts: Mapping[str, object],
        doubt: Doubt,
        measures: Measures = UNMEASURED,
    ) -> None:
        self._connector = connector
        self.size = size
        """Most lanes at a time."""
        self.measures = measures
        self._facts = facts
        self._doubt = doubt
        self._doubt.listen(self._drop_idle)
        self._left = LeftStatements(looks, limit_s=linger_s, doubt=doubt)
        self.pace = Pace()
        """Which statements may go over a lane: those that are known to be short."""
        self._lanes: list[Lane] = []
        self._growing: asyncio.Task[None] | None = None
        self._closed = False

    @property
    def count(self) -> int:
        """How many lanes are open."""
        return len(self._lanes)

    @property
    def depth(self) -> int:
        """Statements under way on all of them together."""
        return sum(map(_depth, self._lanes))

    async def read(self, statement: str, values: Sequence[bytes | None], deadline: Deadline) -> PGresult:
        """The statement's rows, over the lane with the fewest statements under way. It never waits for a connection.

        Raises:
            NoLane: there is no lane now, one may be in the making; or the connection was closed under the statement; or
                the database reports an error, which is told by whoever takes the other way and meets it too.
            DeadlineExceeded: no answer came in time.
        """
        lane = self._ready()
        try:
            result = await lane.send(statement, values, deadline.at)
        except LaneLost as error:
            self.measures.lane_failed()
            raise NoLane from error
        except TimeoutError as error:
            raise deadline_passed(self._facts) from error
        if result.status == ExecStatus.TUPLES_OK:
            return result
        self.measures.lane_failed()
        reported = error_from_result(result)
        self.pace.stalled(statement)
        if reported.sqlstate in STALE_SESSION:
            lane.close()
        raise NoLane from reported

    async def close(self) -> None:
        """Closes all lanes, and waits for none of their servers."""
        self._closed = True
        while self._lanes:
            self._lanes[-1].close()
        if self._growing is not None:
            self._growing.cancel()
        await self._left.close()

    def _ready(self) -> Lane:
        """The lane with the fewest statements under way; where all have some, one more is made on the side."""
        lane = min(self._lanes, key=_depth, default=None)
        if lane is None or lane.depth:
            self._grow()
        if lane is None or lane.depth >= DEPTH_MAX:
            raise NoLane
        return lane

    def _grow(self) -> None:
        is_growing = self._growing is not None and not self._growing.done()
        if not self._closed and not is_growing and len(self._lanes) + len(self._left) < self.size:
            self._growing = asyncio.create_task(self._open())

    async def _open(self) -> None:
        try:
            connection = await self._connector.connect()
        except PodrouteError:
            return  # the call that takes the other way meanwhile says what is wrong
        if self._closed:
            connection.discard()
        else:
            self._lanes.append(Lane(connection, pace=self.pace, on_close=self._forget))

    def _drop_idle(self) -> None:
        for lane in [lane for lane in self._lanes if not lane.depth]:
            lane.close()

    def _forget(self, lane: Lane) -> None:
        if lane in self._lanes:
            self._lanes.remove(lane)
        if lane.was_lost:
            self._doubt.arises()
        if lane.connection.left_socket is not None:
            self._left.follow(lane.connection, _nothing)


def _depth(lane: Lane) -> int:
    return lane.depth


def _nothing() -> None:
    """Those that are followed are counted."""
