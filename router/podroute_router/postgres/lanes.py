"""A few lanes to one database, made as they are needed, and the reads that go over them."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence

from psycopg.errors import error_from_result
from psycopg.pq import ExecStatus

from podroute_router.domain import Deadline
from podroute_router.errors import PodrouteError, Unavailable
from podroute_router.postgres.connection import wait_for_end
from podroute_router.postgres.connector import Connector
from podroute_router.postgres.errors import STALE_SESSION, translate
from podroute_router.postgres.lane import Answer, Lane, LaneLost

NOT_PREPARED = "26000"
"""The statement that should have prepared it failed; the next attempt prepares it itself."""


class NoLane(Exception):
    """Every place is taken by a connection that the server has not let go of yet; take another way."""


class Lanes:
    """Lanes to one database.

    Args:
        connector: makes connections.
        size: most lanes at a time.
        linger_s: a lane that was left keeps its place until the server has ended it, for at most this long.
        facts: names the database in errors (pod, path).
    """

    def __init__(self, connector: Connector, *, size: int, linger_s: float, facts: Mapping[str, object]) -> None:
        self._connector = connector
        self._size = size
        self._linger_s = linger_s
        self._facts = facts
        self._lanes: list[Lane] = []
        self._lingering: set[asyncio.Task[None]] = set()
        self._growing: asyncio.Task[None] | None = None
        self._opening = asyncio.Lock()
        self._closed = False

    async def read(self, statement: str, values: Sequence[bytes | None], deadline: Deadline) -> Answer:
        """The statement's rows. It is sent a second time where the connection had to be closed under it.

        Raises:
            NoLane: there is no lane, and no place for one.
            PodrouteError: the database cannot be reached, or reports an error.
        """
        try:
            return await self._read_once(statement, values, deadline)
        except LaneLost:
            pass
        try:
            return await self._read_once(statement, values, deadline)
        except LaneLost as error:
            raise Unavailable("CONNECTION_LOST", "the connection was lost", facts=self._facts) from error

    async def close(self) -> None:
        """Closes all lanes."""
        self._closed = True
        for task in (self._growing, *self._lingering):
            if task is not None:
                task.cancel()
        while self._lanes:
            self._lanes[-1].close()
        await asyncio.gather(*self._lingering, return_exceptions=True)

    async def _read_once(self, statement: str, values: Sequence[bytes | None], deadline: Deadline) -> Answer:
        lane = await self._lane(deadline)
        answer = await lane.send(statement, values)
        if answer.result.status == ExecStatus.TUPLES_OK:
            return answer
        error = error_from_result(answer.result)
        if error.sqlstate in STALE_SESSION:
            lane.close()
        if error.sqlstate == NOT_PREPARED:
            raise LaneLost
        raise translate(error, self._facts, writes=False, lost=False) from error

    async def _lane(self, deadline: Deadline) -> Lane:
        """The lane with the fewest statements under way; where all have some, one more is made on the side."""
        if not self._lanes:
            async with self._opening:
                if not self._lanes:
                    await self._open(deadline)
        lane = min(self._lanes, key=_depth)
        if lane.is_full:
            self._lanes.remove(lane)
            lane.retire()
            return await self._lane(deadline)
        if lane.depth and self._has_room() and (self._growing is None or self._growing.done()):
            self._growing = asyncio.create_task(self._grow(deadline))
        return lane

    def _has_room(self) -> bool:
        return not self._closed and len(self._lanes) + len(self._lingering) < self._size

    async def _grow(self, deadline: Deadline) -> None:
        async with self._opening:
            if self._has_room():
                try:
                    await self._open(deadline)
                except (PodrouteError, NoLane):
                    return  # there are others, and a call that finds none says what is wrong

    async def _open(self, deadline: Deadline) -> None:
        if not self._has_room():
            raise NoLane
        connection = await self._connector.connect(deadline)
        if self._closed:
            connection.discard()
            raise Unavailable("SHUTTING_DOWN", "the router is shutting down", facts=self._facts)
        self._lanes.append(Lane(connection, self._forget))

    def _forget(self, lane: Lane) -> None:
        if lane in self._lanes:
            self._lanes.remove(lane)
        if lane.connection.left_socket is not None:
            task = asyncio.create_task(wait_for_end(lane.connection.left_socket, self._linger_s))
            self._lingering.add(task)
            task.add_done_callback(self._lingering.discard)


def _depth(lane: Lane) -> int:
    return lane.depth
