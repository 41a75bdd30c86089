"""Hears of the catalog's changes on a connection of its own, and opens it anew whenever it is lost."""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Callable

from psycopg import sql

from podroute_router.catalog.store import CHANNEL
from podroute_router.config import Database, Timeouts
from podroute_router.postgres.connection import Connection, connect, host_count

FIRST_BACKOFF_S = 0.1
"""Before the second attempt to connect; doubles with each."""

MAX_BACKOFF_S = 2.0

_REVISION = re.compile("[0-9]{1,18}")

_log = logging.getLogger(__name__)


class Listener:
    """Listens until it is cancelled.

    Args:
        database: the catalog's.
        timeouts: `connect_s` bounds each exchange with the server; a connection that was silent for `poll_interval_s`
            is probed, as a dead network says nothing.
        on_connected: called when it listens from now on, with True after an outage; what happened before may have been
            missed.
        on_revision: called with each revision that was notified.
    """

    def __init__(
        self,
        database: Database,
        timeouts: Timeouts,
        *,
        on_connected: Callable[[bool], None],
        on_revision: Callable[[int], None],
    ) -> None:
        self._database = database
        self._timeouts = timeouts
        self._on_connected = on_connected
        self._on_revision = on_revision

    async def run(self) -> None:
        """Never returns; cancel it."""
        backoff_s, told = FIRST_BACKOFF_S, False
        connect_s = self._timeouts.connect_s * host_count(self._database)
        while True:
            connection: Connection | None = None
            try:
                connection = await connect(self._database, timeout_s=connect_s)
                async with asyncio.timeout(self._timeouts.connect_s):
                    await connection.execute(sql.SQL("listen {}").format(sql.Identifier(CHANNEL)))
                if told:
                    _log.info("following the catalog again")
                self._on_connected(told)
                backoff_s, told = FIRST_BACKOFF_S, False
                await self._follow(connection)
            except Exception as error:  # noqa: BLE001  (this task must outlive any fault)
                if not told:  # once an outage
                    _log.warning("the catalog's notifications cannot be followed: %r", error)
                    told = True
            finally:
                if connection is not None:
                    connection.discard()
            await asyncio.sleep(backoff_s)
            backoff_s = min(MAX_BACKOFF_S, backoff_s * 2)

    async def _follow(self, connection: Connection) -> None:
        while True:
            silent = True
            async for notification in connection.notifies(timeout=self._timeouts.poll_interval_s, stop_after=1):
                silent = False
                if _REVISION.fullmatch(notification.payload):  # anyone may notify
                    self._on_revision(int(notification.payload))
            if silent:
                async with asyncio.timeout(self._timeouts.connect_s):
                    await connection.execute("select 1")
