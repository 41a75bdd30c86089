"""A bounded set of connections to one database, made on demand.

Why not psycopg_pool: AUTO must know that a database was *not reached* before it takes the other path, and a pool that
connects in the background can only say that it timed out. Here a call that finds no idle connection makes one itself,
so that a dead database fails at once and serves again with the first call after it is back.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import psycopg
from psycopg.pq import PipelineStatus, TransactionStatus

from podroute_router.config import Database
from podroute_router.domain import Deadline
from podroute_router.errors import Unavailable, deadline_passed
from podroute_router.measures import UNMEASURED, Measures, PoolFacts
from podroute_router.postgres.connection import Connection
from podroute_router.postgres.connector import Connector, Setup, trust_no_schema
from podroute_router.postgres.doubt import ASK, Doubt, answers, is_trusted
from podroute_router.postgres.errors import CONFLICTS, STALE_SESSION, translate, unreachable
from podroute_router.postgres.lanes import Lanes
from podroute_router.postgres.left import LeftStatements
from podroute_router.postgres.slots import Slots

LOGIN_S = 0.5
"""A login goes on for so long after its caller had to give it up."""


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
        self._logins: set[asyncio.Task[Connection]] = set()
        """That nobody waits for."""
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
        is_short = await self._slots.take(deadline.at)
        began = time.monotonic()
        try:
            connection = await self._take(deadline, is_short=is_short)
        except BaseException:
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
        for login in self._logins:
            login.cancel()
        await asyncio.gather(*self._logins, return_exceptions=True)
        while self._idle:
            await self._idle.pop().close()
        await self._left.close()

    def _looking(self, deadline: Deadline) -> AbstractAsyncContextManager[Connection]:
        free = (pool for pool in self._lookers if not pool._slots.are_taken)
        return next(free, self._lookers[0]).connection(deadline)

    async def _take(self, deadline: Deadline, *, is_short: bool) -> Connection:
        """A connection for who has a place, which is given on where there is none."""
        try:
            if self._closed:
                raise Unavailable("SHUTTING_DOWN", "the router is shutting down", facts=self._facts)
            while self._idle:
                connection = self._idle.pop()
                if connection.is_quiet and (is_trusted(connection) or await self._is_alive(connection)):
                    return connection
                connection.discard()
        except BaseException:
            self._slots.release()
            raise
        return await self._log_in(deadline, is_short=is_short)

    async def _log_in(self, deadline: Deadline, *, is_short: bool) -> Connection:
        """A new connection. Where its caller runs out of time, it is made for the next one, for so long as is usual.

        Else calls that waited for a place until their time was short would begin one login after the other, and end
        none; and each takes milliseconds of the event loop, and more of the server.
        """
        patience_s = deadline.remaining_s()
        if not is_short:
            patience_s /= 2  # so that another path can be tried
        login = asyncio.create_task(self._connector.connect(patience_s + LOGIN_S))
        try:
            async with asyncio.timeout(patience_s):
                return await asyncio.shield(login)
        except BaseException as error:
            self._logins.add(login)
            login.add_done_callback(self._logged_in)  # soon, where it has failed
            if isinstance(error, TimeoutError):  # whose time went with waiting knows nothing of the server
                raise deadline_passed(self._facts) if is_short else unreachable(error, self._facts) from error
            raise

    def _logged_in(self, login: asyncio.Task[Connection]) -> None:
        """The connection is there for the next call; where there is none, the place is."""
        self._logins.discard(login)
        if login.cancelled() or login.exception() is not None:
            self._slots.release()
        else:
            self._give_back(login.result())

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
            and connection.pgconn.pipeline_status == PipelineStatus.OFF
        ):
            connection.heard_at = time.monotonic()
            self._idle.append(connection)
        else:
            connection.abandon()
        self._left.follow(connection, self._slots.release)
