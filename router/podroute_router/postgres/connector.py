"""Makes connections to one database, beginning with the host that did well last."""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Awaitable, Callable, Mapping, Sequence

import psycopg

from podroute_router.config import ConfigError, Database
from podroute_router.errors import PodrouteError
from podroute_router.postgres.connection import Connection, connect, host_count
from podroute_router.postgres.errors import unreachable

_log = logging.getLogger(__name__)

Setup = Callable[[Connection], Awaitable[None]]
"""Readies a new connection; a PodrouteError that it raises is the call's error."""


async def trust_no_schema(connection: Connection) -> None:
    """What stands unqualified in SQL is PostgreSQL's own, whatever others put into `public`."""
    await connection.execute("set search_path = ''")


class Connector:
    """Makes connections.

    Args:
        database: the address; the secret is read anew for each connection, and where it cannot be, as it was last.
        timeout_s: bound on making one, for each host that the address names.
        facts: names the database in errors (pod, path).
        setup: readies each new connection.
    """

    def __init__(self, database: Database, *, timeout_s: float, facts: Mapping[str, object], setup: Setup) -> None:
        self._database = database
        self._timeout_s = timeout_s
        self._facts = facts
        self._setup = setup
        self._hosts = host_count(database)
        self._host = 0
        self._passwords: Sequence[str] | None = None
        """As they were read last."""
        self._is_told = False

    async def connect(self, patience_s: float = math.inf) -> Connection:
        """A new connection, within the patience and the connector's own bound.

        Raises:
            Unreachable: there is none to be had.
        """
        connection = None
        timeout_s = min(self._timeout_s * self._hosts, patience_s)
        try:
            passwords = self._read_passwords()
            connection = await connect(self._database, timeout_s=timeout_s, first=self._host, passwords=passwords)
            async with asyncio.timeout(timeout_s):
                await self._setup(connection)
        except (psycopg.Error, TimeoutError, OSError, ConfigError) as error:
            if connection is not None:
                connection.discard()
            raise unreachable(error, self._facts) from error
        except (PodrouteError, asyncio.CancelledError):
            if connection is not None:
                connection.discard()
            raise
        self._host = connection.host
        return connection

    def _read_passwords(self) -> Sequence[str]:
        """Those of now. A file that cannot be read for a while is no reason to do without the pod."""
        trouble: object = "the password file has nothing in its first line"  # as while it is being written
        try:
            passwords = self._database.secrets()
            if self._passwords is None or "" not in passwords[:1]:
                self._passwords, self._is_told = passwords, False
                return passwords
        except ConfigError as error:
            if self._passwords is None:
                raise
            trouble = error
        if not self._is_told:
            self._is_told = True
            _log.warning("%s; logging in with the password that was read before", trouble)
        return self._passwords
