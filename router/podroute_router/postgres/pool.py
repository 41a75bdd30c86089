"""A bounded set of connections to one database, made on demand.

Why not psycopg_pool: AUTO must know that a database was *not reached* before it takes the other path, and a pool that
connects in the background can only say that it timed out. Here a call that finds no idle connection makes one itself,
so that a dead database fails at once and serves again with the first call after it is back.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import psycopg
from psycopg.pq import TransactionStatus

from podroute_router.config import Database
from podroute_router.domain import Deadline
from podroute_router.errors import Unavailable
from podroute_router.measures import UNMEASURED, Measures, PoolFacts
from podroute_router.postgres.connection import Connection
from podroute_router.postgres.connector import Connector, Setup, trust_no_schema
from podroute_router.postgres.doubt import ASK, Doubt, answers, is_trusted
from podroute_router.postgres.errors import CONFLICTS, STALE_SESSION, translate
from podroute_router.postgres.lanes import Lanes
from podroute_router.postgres.left import LeftStatements
from podroute_router.postgres.slots import Slots


class Pool:
    """Connections to one database.

    Args:
        database: its address; the secret is read anew for each connection.
        size: most connections at a time.
        linger_s: a connection left in mid-statement keeps its place until the server has ended it, for at most this
            long after the server has last said that it goes on. So calls that run out of time cannot pile up sessions
            on a server that they share.
        connect_timeout_s: bound on making one, for each host that the address names.
        facts: names the database in errors (pod, path).
        setup: readies each new connection.
        question: what an idle connection on which nothing was heard for a while is asked before it is used.
        measures: is told of the calls.
    """

    def __init__(
        self,
        database: Database,
        *,
        size: int,
        linger_s: float,
        connect_timeout_s: float,
        facts: Mapping[str, object],
        setup: Setup = trust_no_schema,
        question: str = ASK,
        measures: Measures = UNMEASURED,
    ) -> None:
        self._connector = Connector(database, timeout_s=connect_timeout_s, facts=facts, setup=setup)
        self._facts = facts
        self._question = question
        self._idle: list[Connection] = []
        self._doubt = Doubt()
        self._doubt.listen(self._drop_idle)
        self._slots = Slots(size, measures.waited)
        self._measures = measures
        self._linger_s = linger_s
        self._left = LeftStatements(self._looking, limit_s=linger_s, doubt=self._doubt)
        self._lookers: Sequence[Pool] = (self,)
        self._closed = False

    def look_by(self, *pools: Pool) -> None:
        """Has sessions that were left looked at over another pool's place, as they may have taken all of this one's.

        Args:
            pools: to the same database; the first that has a free place, else the first of them, is taken.
        """
        self._lookers = pools

    @asynccontextmanager
    async def connection(self, deadline: Deadline, *, writes: bool = False) -> AsyncIterator[Connection]:
        """A connection for one call; waits its turn where all are taken.

        psycopg's errors inside the block become ours.

        Args:
            deadline: the call's.
            writes: the call writes, so that its outcome is unknown where the connection is lost.
        """
        await self._slots.acquire()
        began = time.monotonic()
        try:
            connection = await self._take(deadline)
        except BaseException:
            self._slots.release()
            self._measures.served(time.monotonic() - began)
            raise
        try:
            yield connection
        except psycopg.Error as error:
            if isinstance(error, CONFLICTS):
                self._measures.conflicted()
            lost = connection.closed or connection.broken
            if error.sqlstate in STALE_SESSION:
                connection.abandon()
            if lost:
                self._doubt.arises()
            raise translate(error, self._facts, writes=writes, lost=lost) from error
        finally:
            self._measures.served(time.monotonic() - began)
            self._give_back(connection)

    def lanes(self, size: int) -> Lanes:
        """Lanes to the same database, beside the pool's own connections."""
        return Lanes(
            self._connector,
            self._looking,
            size=size,
            linger_s=self._linger_s,
            facts=self._facts,
            doubt=self._doubt,
            measures=self._measures,
        )

    def facts(self, pod: str, lanes: Lanes) -> PoolFacts:
        """How it is now, with the lanes beside it."""
        return PoolFacts(
            pod=pod,
            size=self._slots.size,
            in_use=self._slots.taken,
            idle=len(self._idle),
            waiting=self._slots.waiting,
            lanes=lanes.count,
            lanes_size=lanes.size,
            lane_depth=lanes.depth,
        )

    async def close(self) -> None:
        """Closes the idle connections; those in use are closed when they are given back."""
        self._closed = True
        while self._idle:
            await self._idle.pop().close()
        await self._left.close()

    def _looking(self, deadline: Deadline) -> AbstractAsyncContextManager[Connection]:
        free = (pool for pool in self._lookers if not pool._slots.locked())
        return next(free, self._lookers[0]).connection(deadline)

    async def _take(self, deadline: Deadline) -> Connection:
        if self._closed:
            raise Unavailable("SHUTTING_DOWN", "the router is shutting down", facts=self._facts)
        while self._idle:
            connection = self._idle.pop()
            if connection.is_quiet and (is_trusted(connection) or await self._is_alive(connection)):
                return connection
            connection.discard()
        return await self._connector.connect(deadline)

    async def _is_alive(self, connection: Connection) -> bool:
        """Asks an idle connection; where it says nothing, the others are not asked, as each would take its time."""
        try:
            alive = await answers(connection, self._question)
        except BaseException:
            connection.discard()
            raise
        if not alive:
            self._doubt.arises()
        return alive

    def _drop_idle(self) -> None:
        while self._idle:
            self._idle.pop().discard()

    def _give_back(self, connection: Connection) -> None:
        if (
            not self._closed
            and not connection.closed
            and connection.pgconn.transaction_status == TransactionStatus.IDLE
        ):
            connection.heard_at = time.monotonic()
            self._idle.append(connection)
        else:
            connection.abandon()
        self._left.follow(connection, self._slots.release)
