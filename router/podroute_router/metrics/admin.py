"""The admin port: GET /metrics and GET /healthz over HTTP, and nothing else.

In the router's own event loop. The library's server would take a thread for each connection, without a bound on them or
on their time, and a thread that writes ten thousand lines keeps the calls waiting for the interpreter.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from http import HTTPStatus
from typing import Final

from prometheus_client import CONTENT_TYPE_LATEST

from podroute_router.config import ConfigError
from podroute_router.metrics.exposition import Exposition, Write

CONNECTIONS_MAX: Final = 16
"""At a time; a further one takes the place of the one that has kept its request to itself for longest."""

REQUEST_BYTES_MAX: Final = 8192
"""Of a request's head."""

PATIENCE_S: Final = 5.0
"""For a request to come, and for its answer to be taken: then the connection ends."""

_TEXT: Final = "text/plain; charset=utf-8"

_log = logging.getLogger(__name__)

Answer = tuple[HTTPStatus, str, bytes]
"""Status, content type and body."""


class AdminServer:
    """Shows the metrics, and whether calls are served.

    Args:
        write: writes the metrics as text.
        is_serving: whether calls are served and go on being served.
    """

    def __init__(self, write: Write, is_serving: Callable[[], bool]) -> None:
        self._exposition = Exposition(write)
        self._is_serving = is_serving
        self._server: asyncio.Server | None = None
        self._open: set[asyncio.StreamWriter] = set()
        self._silent: dict[asyncio.StreamWriter, None] = {}
        """Those of them whose request is not there yet, the first that came first."""
        self.address = ""
        """Where it listens, as `host:port`."""

    async def start(self, listen: str) -> None:
        """Listens; `listen` is `address:port`, and port 0 takes a free one.

        Raises:
            ConfigError: the port is taken, or there is no such address.
        """
        host, separator, port = listen.rpartition(":")
        if not separator or not port.isdecimal():
            raise ConfigError(f"router.admin_listen: needs an address and a port, not {listen!r}")
        try:
            self._server = await asyncio.start_server(self._serve, host.strip("[]"), int(port), limit=REQUEST_BYTES_MAX)
        except (OSError, OverflowError) as error:
            raise ConfigError(f"router.admin_listen: cannot listen on {listen}; is the port taken?") from error
        self.address = f"{host}:{self._server.sockets[0].getsockname()[1]}"
        _log.info("metrics on http://%s/metrics", self.address)

    async def close(self) -> None:
        """Stops listening, and drops the connections."""
        if self._server is not None:
            self._server.close()
            for writer in self._open:
                writer.transport.abort()
            await self._server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if len(self._open) >= CONNECTIONS_MAX and not self._drop_silent():
            writer.transport.abort()
            return
        self._open.add(writer)
        self._silent[writer] = None
        try:
            async with asyncio.timeout(PATIENCE_S):
                head = await reader.readuntil(b"\r\n\r\n")
            self._silent.pop(writer, None)
            writer.write(_message(*await self._answer(head)))
            async with asyncio.timeout(PATIENCE_S):
                writer.close()
                await writer.wait_closed()
        except (TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, ConnectionError):
            pass  # it asked too much, too slowly, or went away
        finally:
            writer.transport.abort()
            self._open.discard(writer)
            self._silent.pop(writer, None)

    def _drop_silent(self) -> bool:
        """Makes room; whoever looks whether the router lives must not be kept out by some that say nothing."""
        if not self._silent:
            return False
        writer = next(iter(self._silent))
        del self._silent[writer]
        self._open.discard(writer)
        writer.transport.abort()
        return True

    async def _answer(self, head: bytes) -> Answer:
        method, _, rest = head.partition(b"\r\n")[0].partition(b" ")
        path = rest.partition(b" ")[0].partition(b"?")[0]
        if path not in (b"/metrics", b"/healthz"):
            return HTTPStatus.NOT_FOUND, _TEXT, b"/metrics and /healthz are here\n"
        if method != b"GET":
            return HTTPStatus.METHOD_NOT_ALLOWED, _TEXT, b"GET only\n"
        if path == b"/healthz":
            if self._is_serving():
                return HTTPStatus.OK, _TEXT, b"serving\n"
            return HTTPStatus.SERVICE_UNAVAILABLE, _TEXT, b"not serving\n"
        try:
            return HTTPStatus.OK, CONTENT_TYPE_LATEST, await self._exposition.text()
        except Exception:  # noqa: BLE001  (the log has it, and the next scrape may fare better)
            _log.exception("the metrics cannot be shown")
            return HTTPStatus.INTERNAL_SERVER_ERROR, _TEXT, b"the router's log has it\n"


def _message(status: HTTPStatus, content_type: str, body: bytes) -> bytes:
    head = (
        f"HTTP/1.1 {status.value} {status.phrase}\r\nContent-Type: {content_type}\r\n"
        f"Content-Length: {len(body)}\r\nConnection: close\r\n"
    )
    if status is HTTPStatus.METHOD_NOT_ALLOWED:
        head += "Allow: GET\r\n"
    return head.encode() + b"\r\n" + body
