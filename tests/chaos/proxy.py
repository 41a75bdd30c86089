"""A line to a TCP port that can be made bad while it carries: slow, narrow, stopped, cut, or dead in silence."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
import threading
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Any, TypeVar

T = TypeVar("T")

_CHUNK = 16 * 1024
_RESET_ON_CLOSE = struct.pack("ii", 1, 0)


class Mode(Enum):
    """What becomes of what is sent."""

    CARRY = auto()
    HOLD = auto()
    """It waits, and arrives when the line carries again: as TCP sends again what packets were lost."""
    DROP = auto()
    """It vanishes, and so does the end of a connection. Nothing passes on these connections any more, as bytes are
    missing; connections on which nothing was sent are whole."""


class End(Enum):
    """Who is at the end of a line."""

    CLIENT = auto()
    SERVER = auto()


@dataclass(eq=False)
class _Link:
    """A client's connection, and the one to the server for it."""

    writers: dict[End, asyncio.StreamWriter] = field(default_factory=dict)
    is_dead: bool = False
    """Nothing passes any more, and nobody is told."""
    resets: bool = False
    """A dead link: who sends gets a reset, as from a machine that knows nothing of the connection."""

    def reset(self, end: End) -> None:
        """Ends a side by RST, without what was not sent yet."""
        if (writer := self.writers.pop(end, None)) is not None:
            sock = writer.get_extra_info("socket")
            if sock is not None and sock.fileno() >= 0:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
            writer.transport.abort()


class Proxy:
    """Carries from a port of its own to another one.

    It runs in a thread of its own, so that the event loop under test cannot delay it. Faults hold for every connection,
    from the return of the method that makes them on.

    Args:
        to: the port on 127.0.0.1 that it leads to.
    """

    def __init__(self, to: int) -> None:
        self.port = 0
        """Where it listens, on 127.0.0.1; stays the same while it refuses."""
        self._to = to
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="proxy", daemon=True)
        self._server: asyncio.Server | None = None
        self._links: set[_Link] = set()
        self._mode = Mode.CARRY
        self._carries = asyncio.Event()
        self._latency_s = 0.0
        self._bytes_per_s = 0.0

    @property
    def connections(self) -> int:
        """How many are open."""
        return self._run(self._count())

    def mode(self, mode: Mode) -> None:
        """Carries, holds or drops what is sent from now on."""
        self._call(lambda: self._set_mode(mode))

    def latency(self, seconds: float) -> None:
        """Delays everything by so much, either way."""
        self._call(lambda: setattr(self, "_latency_s", seconds))

    def throttle(self, bytes_per_s: float) -> None:
        """Carries so much on a connection, either way; 0 for no bound."""
        self._call(lambda: setattr(self, "_bytes_per_s", bytes_per_s))

    def reset(self) -> None:
        """Cuts all connections: both ends get a RST."""
        self._call(self._reset)

    def forget(self, *, resets: bool = False) -> None:
        """The connections that stand are dead, and neither end is told; new ones are carried.

        A firewall that has lost its state does so: it drops packets, or with `resets` answers them by RST.
        """
        self._call(lambda: self._forget(resets=resets))

    def half_open(self, gone: End) -> None:
        """One end of each connection is gone; the other is not told, whatever it sends."""
        self._call(lambda: self._half_open(gone))

    def bury(self) -> None:
        """Resets dead connections, as keepalives do in time: here they come to the proxy, which answers them."""
        self._call(self._bury)

    def refuse(self) -> None:
        """Nobody listens any more; connections that stand are carried."""
        self._run(self._refuse())

    def accept(self) -> None:
        """Listens again."""
        self._run(self._listen())

    def start(self) -> None:
        """Begins to listen."""
        self._thread.start()
        self._call(self._carries.set)
        self._run(self._listen())

    def stop(self) -> None:
        """Closes everything."""
        self._run(self._close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(10)

    def _call(self, change: Callable[[], object]) -> None:
        async def changed() -> None:
            change()

        self._run(changed())

    async def _count(self) -> int:
        return sum(bool(link.writers) for link in self._links)

    async def _listen(self) -> None:
        if self._server is None:
            self._server = await asyncio.start_server(self._take, "127.0.0.1", self.port, limit=_CHUNK)
            self.port = self._server.sockets[0].getsockname()[1]

    async def _refuse(self) -> None:
        if self._server is not None:
            for sock in self._server.sockets:
                self._loop.remove_reader(sock.fileno())
            await asyncio.sleep(0)  # asyncio forgets connections that it took in the very round in which it is closed
            self._server.close()
            self._server = None

    async def _close(self) -> None:
        await self._refuse()
        self._reset()
        while others := asyncio.all_tasks() - {asyncio.current_task()}:  # those that were accepted just now, too
            for task in others:
                task.cancel()
            await asyncio.gather(*others, return_exceptions=True)
            await asyncio.sleep(0)  # connections are let go of in the loop's next round

    def _set_mode(self, mode: Mode) -> None:
        self._mode = mode
        if mode is Mode.HOLD:
            self._carries.clear()
        else:
            self._carries.set()

    def _reset(self) -> None:
        for link in self._links:
            for end in End:
                link.reset(end)

    def _bury(self) -> None:
        for link in self._links:
            if link.is_dead:
                for end in End:
                    link.reset(end)

    def _forget(self, *, resets: bool) -> None:
        for link in self._links:
            link.is_dead, link.resets = True, resets

    def _half_open(self, gone: End) -> None:
        for link in self._links:
            link.is_dead = True
            link.reset(gone)

    async def _take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        link = _Link(writers={End.CLIENT: writer}, is_dead=self._mode is Mode.DROP)
        self._links.add(link)
        try:
            try:
                far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self._to, limit=_CHUNK)
            except OSError:
                link.reset(End.CLIENT)
                return
            link.writers[End.SERVER] = far_writer
            await asyncio.gather(self._carry(link, reader, End.SERVER), self._carry(link, far_reader, End.CLIENT))
        except asyncio.CancelledError:
            pass  # the proxy stops; asyncio would report it
        finally:
            for end in End:
                link.reset(end)
            self._links.discard(link)

    async def _carry(self, link: _Link, source: asyncio.StreamReader, to: End) -> None:
        """Carries one way until its source ends."""
        with contextlib.suppress(ConnectionError):
            while data := await source.read(_CHUNK):
                await self._delay(len(data))
                link.is_dead = link.is_dead or self._mode is Mode.DROP
                if link.is_dead and link.resets:
                    link.reset(End.CLIENT if to is End.SERVER else End.SERVER)
                sink = link.writers.get(to)
                if not link.is_dead and sink is not None:
                    sink.write(data)
                    await sink.drain()
        await self._carries.wait()
        if not link.is_dead and self._mode is not Mode.DROP and (sink := link.writers.get(to)) is not None:
            sink.close()  # neither PostgreSQL nor gRPC closes one direction alone

    async def _delay(self, size: int) -> None:
        if self._latency_s:
            await asyncio.sleep(self._latency_s)
        if self._bytes_per_s:
            await asyncio.sleep(size / self._bytes_per_s)
        await self._carries.wait()


@contextmanager
def proxy_to(port: int) -> Iterator[Proxy]:
    """A proxy that runs, without a fault."""
    proxy = Proxy(port)
    proxy.start()
    try:
        yield proxy
    finally:
        proxy.stop()
