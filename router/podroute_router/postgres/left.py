"""What becomes of statements that were left: each keeps its place among the connections until the server has ended it.

So calls that run out of time cannot pile up sessions on a server that they share.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Callable
from contextlib import suppress

import psycopg

from podroute_router.domain import Deadline
from podroute_router.errors import PodrouteError
from podroute_router.postgres.connection import Connection
from podroute_router.postgres.connector import Connector
from podroute_router.postgres.doubt import SILENT_S, Doubt

LOOK_INTERVAL_S = 2.0
"""Between two looks at a session whose end was not heard of, and the bound on each."""

_STILL_RUNS = """
select state = 'active' or not pg_catalog.pg_terminate_backend(pid) from pg_catalog.pg_stat_activity
where pid = $1 and usename = current_user and application_name = current_setting('application_name')
"""
"""No row: the session is gone. A session without a statement is ended: its line is dead, so it was never told."""

_log = logging.getLogger(__name__)


class LeftStatements:
    """Follows connections that were left, to the end of their sessions.

    Args:
        connector: makes connections to the same database.
        limit_s: each is followed for at most this long.
        doubt: arises where a server does not end a statement soon.
    """

    def __init__(self, connector: Connector, *, limit_s: float, doubt: Doubt) -> None:
        self._connector = connector
        self._limit_s = limit_s
        self._doubt = doubt
        self._tasks: set[asyncio.Task[None]] = set()
        self._looks = asyncio.Lock()
        """One session more than the places, at a time."""

    def __len__(self) -> int:
        return len(self._tasks)

    def follow(self, connection: Connection, on_end: Callable[[], None]) -> None:
        """Calls `on_end` when the server has ended the statement that was left, or when that has taken too long."""
        left = connection.left_socket
        if left is None:
            on_end()
            return

        def end(task: asyncio.Task[None]) -> None:
            self._tasks.discard(task)
            left.close()
            on_end()

        task = asyncio.create_task(self._follow(left, connection.left_pid))
        self._tasks.add(task)
        task.add_done_callback(end)  # a task that is cancelled before it began has no `finally`

    async def close(self) -> None:
        """Follows none of them any more."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _follow(self, left: socket.socket, pid: int) -> None:
        loop = asyncio.get_running_loop()
        ended = asyncio.Event()

        def read() -> None:
            try:
                open_still = bool(left.recv(65536))
            except BlockingIOError:
                open_still = True
            except OSError:
                open_still = False
            if not open_still:
                ended.set()
                loop.remove_reader(left)

        loop.add_reader(left, read)
        try:
            async with asyncio.timeout(self._limit_s):
                if await _within(SILENT_S, ended):
                    return
                self._doubt.arises()
                while await self._still_runs(pid) and not await _within(LOOK_INTERVAL_S, ended):
                    pass
        except TimeoutError:
            _log.debug("a server has not ended a left statement after %s s", self._limit_s)
        finally:
            loop.remove_reader(left)

    async def _still_runs(self, pid: int) -> bool:
        """Asks over another connection: the end of a session is not heard on a dead line."""
        connection = None
        with suppress(PodrouteError, psycopg.Error, TimeoutError):
            try:
                async with self._looks, asyncio.timeout(LOOK_INTERVAL_S):
                    connection = await self._connector.connect(Deadline.after(LOOK_INTERVAL_S))
                    row = await (await connection.execute(_STILL_RUNS, (pid,))).fetchone()
                return row is not None and bool(row[0])
            finally:
                if connection is not None:
                    connection.discard()
        return True


async def _within(seconds: float, event: asyncio.Event) -> bool:
    """True where it happens within the time."""
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await event.wait()
    return event.is_set()
