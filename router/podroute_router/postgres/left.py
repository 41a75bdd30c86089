"""What becomes of statements that were left: each keeps its place among the connections until the server has ended it.

Whether it has is asked over a place of another pool of the same database: no session is beside the places.

So calls that run out of time cannot pile up sessions on a server that they share.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, suppress

from podroute_router.domain import Deadline
from podroute_router.errors import PodrouteError
from podroute_router.postgres.connection import Connection
from podroute_router.postgres.doubt import SILENT_S, Doubt

LOOK_INTERVAL_S = 2.0
"""Until the next look at a session that goes on; SILENT_S after a look that got no answer."""

LOOK_S = 1.0
"""Bound on a look, with its wait for a place, and with connecting, for which half of a deadline is at hand."""

Places = Callable[[Deadline], AbstractAsyncContextManager[Connection]]
"""A connection for a moment, which has its place among those that may be open."""

_STILL_RUNS = """
select state = 'active' or not pg_catalog.pg_terminate_backend(pid, 250) from pg_catalog.pg_stat_activity
where pid = $1 and usename = current_user and application_name = current_setting('application_name')
"""
"""No row: it is gone. A session without a statement is ended, within 250 ms: its line is dead, so it was never told."""

_log = logging.getLogger(__name__)


class LeftStatements:
    """Follows connections that were left, to the end of their sessions.

    Args:
        places: connections to the same database for a look: not of the places that left sessions may all have taken.
        limit_s: each is followed for at most this long after the server has last said that it is there.
        doubt: arises where a server does not end a statement soon.
    """

    def __init__(self, places: Places, *, limit_s: float, doubt: Doubt) -> None:
        self._places = places
        self._limit_s = limit_s
        self._doubt = doubt
        self._tasks: set[asyncio.Task[None]] = set()
        self._looks = asyncio.Lock()
        """One look at a time, so that others who need the place have their turn in between."""

    def __len__(self) -> int:
        return len(self._tasks)

    def follow(self, connection: Connection, on_end: Callable[[], None]) -> None:
        """Calls `on_end` when the server has ended the statement that was left, or has been silent for too long."""
        left = connection.left_socket
        if left is None:
            on_end()
            return

        def end(task: asyncio.Task[None]) -> None:
            self._tasks.discard(task)
            left.close()
            on_end()

        task = asyncio.create_task(self._follow(left, connection.left_pid, min(self._limit_s, connection.left_for_s)))
        self._tasks.add(task)
        task.add_done_callback(end)  # a task that is cancelled before it began has no `finally`

    async def close(self) -> None:
        """Follows none of them any more."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _follow(self, left: socket.socket, pid: int, limit_s: float) -> None:
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
            async with asyncio.timeout(limit_s) as patience:
                if await _within(SILENT_S, ended):
                    return
                self._doubt.arises()
                while (runs := await self._still_runs(pid)) is not False:
                    if runs:
                        patience.reschedule(loop.time() + LOOK_INTERVAL_S + limit_s)
                    if await _within(LOOK_INTERVAL_S if runs else SILENT_S, ended):
                        return
        except TimeoutError:
            _log.debug("a server has not said for %s s whether it has ended a left statement", limit_s)
        finally:
            loop.remove_reader(left)

    async def _still_runs(self, pid: int) -> bool | None:
        """Asks over another connection: the end of a session is not heard on a dead line. None: no answer."""
        with suppress(PodrouteError, TimeoutError):
            async with self._looks, asyncio.timeout(LOOK_S), self._places(Deadline.after(2 * LOOK_S)) as connection:
                try:
                    row = await (await connection.execute(_STILL_RUNS, (pid,))).fetchone()
                except asyncio.CancelledError:
                    connection.left_for_s = LOOK_S  # who looks may be looked after by those who wait for his place
                    raise
            return row is not None and bool(row[0])
        return None


async def _within(seconds: float, event: asyncio.Event) -> bool:
    """True where it happens within the time."""
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await event.wait()
    return event.is_set()
