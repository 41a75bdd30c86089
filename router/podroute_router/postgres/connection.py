"""A psycopg connection that is let go of at once when its caller is cancelled."""

from __future__ import annotations

import asyncio
import logging
import math
import os
import select
import socket
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import cached_property
from typing import Any, TypeVar

import psycopg
from psycopg import AsyncConnection, AsyncRawCursor, generators, waiting
from psycopg.abc import PQGen
from psycopg.adapt import AdaptersMap, Buffer, Loader
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg.pq import ConnStatus, Format, TransactionStatus
from psycopg.pq.abc import PGcancelConn
from psycopg.types.array import ListBinaryDumper

from podroute_router.config import Database
from podroute_router.postgres.arrays import Encoded, EncodedDumper
from podroute_router.postgres.errors import is_refusal, nobody_listens
from podroute_router.postgres.prepared import PREPARED_MAX, PreparedStatements

RV = TypeVar("RV")
Row = tuple[Any, ...]

CANCEL_TIMEOUT_S = 1.0
"""How long the server is given to take a cancel request, in the background."""

_log = logging.getLogger(__name__)
_cancels: set[asyncio.Task[None]] = set()


class Connection(AsyncConnection[Row]):
    """A connection that a cancelled caller leaves at once.

    psycopg would first wait up to 10 s for a server that may be frozen. Here the connection is closed, and the server
    is asked in the background to end the statement.
    """

    vector_schema = "public"
    """Where pgvector is installed; set when the connection is readied for vectors."""
    host = 0
    """Which of the address's hosts it is connected to."""
    heard_at = 0.0
    """When the server last answered, on the monotonic clock."""
    left_pid = 0
    """The server's process of a connection left in mid-statement."""
    left_for_s = math.inf
    """Bound on how long the place of a connection left in mid-statement is kept."""
    left_socket: socket.socket | None = None
    """A second descriptor of the socket of a connection left in mid-statement: it ends when the server's side does."""

    async def wait(self, gen: PQGen[RV], interval: float = 0.1, timeout: float | None = None) -> RV:  # noqa: ASYNC109
        """Runs a generator of psycopg's to its end."""
        try:
            return await waiting.wait_async(gen, self.pgconn.socket, interval=interval, timeout=timeout)
        except asyncio.CancelledError:
            self.abandon()
            raise

    def abandon(self) -> None:
        """Closes the connection now, whatever it is doing, and asks the server to stop."""
        if self.pgconn.status == ConnStatus.OK:
            if self.pgconn.transaction_status == TransactionStatus.ACTIVE:
                self.left_socket, self.left_pid = _second(self.pgconn.socket), self.pgconn.backend_pid
                task = asyncio.get_running_loop().create_task(_cancel(self.pgconn.cancel_conn()))
                _cancels.add(task)
                task.add_done_callback(_cancels.discard)
            self.pgconn.finish()
            if self.left_socket is not None:
                with suppress(OSError):  # the server can see that its client has gone, though a descriptor is open
                    self.left_socket.shutdown(socket.SHUT_WR)

    def discard(self) -> None:
        """Abandons the connection, and does not care how the server's side ends."""
        self.abandon()
        if self.left_socket is not None:
            self.left_socket.close()
            self.left_socket = None

    @cached_property
    def prepared_writes(self) -> PreparedStatements:
        """Those of `writing`, beside psycopg's own."""
        return PreparedStatements(self.pgconn, "write")

    @property
    def is_quiet(self) -> bool:
        """True where the server has said nothing unasked: an idle connection that it closed is not quiet."""
        if self.pgconn.status != ConnStatus.OK:
            return False
        poller = select.poll()
        poller.register(self.pgconn.socket, select.POLLIN)
        return not poller.poll(0)


def _second(descriptor: int) -> socket.socket:
    return socket.socket(fileno=os.dup(descriptor))


async def _cancel(request: PGcancelConn) -> None:
    try:
        request.start()
        await waiting.wait_conn_async(generators.cancel(request), interval=0.1, timeout=CANCEL_TIMEOUT_S)
    except psycopg.Error as error:
        _log.debug("a cancel request was not taken: %s", error)
    finally:
        request.finish()


class _JsonText(Loader):
    """jsonb as its text: the router hands metadata on without reading it."""

    format = Format.BINARY

    def load(self, data: Buffer) -> str:
        return bytes(data)[1:].decode()  # the first byte is the format's version


_ADAPTERS = AdaptersMap(psycopg.adapters)
_ADAPTERS.register_loader("jsonb", _JsonText)
_ADAPTERS.register_dumper(list, ListBinaryDumper)  # left to choose, psycopg would send vectors as text
_ADAPTERS.register_dumper(Encoded, EncodedDumper)


class _Context:
    """What psycopg takes adapters from."""

    adapters = _ADAPTERS
    connection = None


def host_count(database: Database) -> int:
    """How many hosts the address names."""
    return len(_addresses(conninfo_to_dict(database.dsn)))


async def connect(
    database: Database, *, timeout_s: float, first: int = 0, passwords: Sequence[str] | None = None
) -> Connection:
    """Opens a connection in autocommit mode, to the first of its hosts that will do.

    Each host has an equal share of the time, so that a silent one does not stand before the others; libpq would give
    each 2 s or more.

    Args:
        database: the address.
        timeout_s: bound on all attempts together.
        first: which host to begin with; `Connection.host` of a connection that did well.
        passwords: in the order in which they are to be tried; None reads the database's own.

    Raises:
        psycopg.Error, TimeoutError: it cannot be made; what the last host said that did not just refuse
            the connection.
        config.ConfigError: the password file cannot be read.
    """
    given = conninfo_to_dict(database.dsn)
    addresses = _addresses(given)
    share_s = timeout_s / len(addresses)
    options: dict[str, Any] = {**_DEFAULTS, "connect_timeout": str(max(2, math.ceil(share_s))), **given}
    secrets = [{"password": secret} for secret in (database.secrets() if passwords is None else passwords)]
    failure: Exception | None = None
    for host in (*range(first, len(addresses)), *range(first)):
        try:
            async with asyncio.timeout(share_s):
                connection = await _log_in(options | addresses[host], secrets or [{}])
        except (psycopg.Error, TimeoutError, OSError) as error:
            if failure is None or not nobody_listens(error):
                failure = error
        else:
            connection.host = host
            connection.prepared_max = PREPARED_MAX
            return connection
    raise failure or psycopg.OperationalError("the address names no host")


async def _log_in(options: Mapping[str, Any], secrets: Sequence[Mapping[str, str]]) -> Connection:
    """A session at one host, by the first of the secrets that it takes."""
    *others, last = secrets
    for secret in others:
        try:
            return await _open({**options, **secret})
        except psycopg.OperationalError as error:
            if not is_refusal(error):
                raise
    return await _open({**options, **last})


async def _open(options: Mapping[str, Any]) -> Connection:
    return await Connection.connect(
        make_conninfo("", **options), autocommit=True, context=_Context(), cursor_factory=AsyncRawCursor
    )


_DEFAULTS = {
    "application_name": "podroute",
    "client_encoding": "UTF8",
    "gssencmode": "disable",
    "keepalives_idle": "30",
    "keepalives_interval": "5",
    "keepalives_count": "3",
}


def _addresses(given: Mapping[str, Any]) -> list[dict[str, str]]:
    """The hosts that a connection string names, each by itself; `prefer-standby` has libpq look at all of them."""
    lists = {key: str(given[key]).split(",") for key in ("host", "hostaddr", "port") if given.get(key)}
    count = max((len(names) for key, names in lists.items() if key != "port"), default=1)
    if count == 1 or given.get("target_session_attrs") == "prefer-standby":
        return [{}]
    return [{key: names[i if len(names) > 1 else 0] for key, names in lists.items()} for i in range(count)]
