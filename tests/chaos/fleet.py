"""What a crasher can kill, and what starts again as it was: PostgreSQL servers and router processes."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Protocol

from podroute_router.embedded.server import Server

from .routers import router_process


class Target(Protocol):
    """A thing that can be killed."""

    name: str
    kind: str

    async def kill(self) -> None:
        """SIGKILL, to all of its processes."""
        ...

    async def restore(self) -> None:
        """Starts it again, and waits until it serves."""
        ...


class DatabaseTarget:
    """A server of the embedded cluster."""

    def __init__(self, server: Server, kind: str) -> None:
        self.name = server.name
        self.kind = kind
        self._server = server

    async def kill(self) -> None:
        """See `Target`."""
        await asyncio.to_thread(self._server.kill)

    async def restore(self) -> None:
        """See `Target`. Launched from the main thread, with which it ends."""
        self._server.launch()
        await asyncio.to_thread(self._server.wait_ready)


class RouterTarget:
    """A router process on a port that stays.

    Args:
        name: of it.
        values: its configuration, with that port.
        folder: keeps its file.
    """

    kind = "router"

    def __init__(self, name: str, values: Mapping[str, Any], folder: Path) -> None:
        self.name = name
        self.address = str(values["router"]["listen"])
        self._values = values
        self._folder = folder
        self._stack = ExitStack()
        self.logs: list[str] = []
        """What those that ended had written."""

    async def kill(self) -> None:
        """See `Target`."""
        await asyncio.to_thread(self.close)

    async def restore(self) -> None:
        """See `Target`."""
        await asyncio.to_thread(self.start)

    def start(self) -> None:
        """Starts it, and waits until it serves."""
        process = self._stack.enter_context(router_process(self._values, self._folder))
        self._stack.callback(lambda: self.logs.append(process.running.err))

    def close(self) -> None:
        """Kills it where it runs."""
        self._stack.close()
