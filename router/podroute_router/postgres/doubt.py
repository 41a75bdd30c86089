"""Which connections may be dead without having said so: a line that is cut in silence looks idle until it is used."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

import psycopg

from podroute_router.postgres.connection import Connection

TRUSTED_S = 1.0
"""A connection on which the server was heard within this is taken as alive; others are asked before they are used."""

ASKED_S = 0.25
"""How long the server has for its answer then."""

SILENT_S = 0.5
"""A server that does not end a left statement for so long, though it is asked to, may be gone, or the line to it."""

ASK = ""
"""What a connection is asked by default: the empty statement, one round trip."""


class Doubt:
    """Tells all who hold connections to one database when these may be dead, so that each is not met by a call."""

    def __init__(self) -> None:
        self._listeners: list[Callable[[], None]] = []

    def listen(self, drop_idle: Callable[[], None]) -> None:
        """Calls `drop_idle` from now on."""
        self._listeners.append(drop_idle)

    def arises(self) -> None:
        """A connection was lost, or did not answer: the idle ones have likely gone the same way."""
        for drop_idle in self._listeners:
            drop_idle()


def is_trusted(connection: Connection) -> bool:
    """True where the server was heard of late."""
    return time.monotonic() - connection.heard_at <= TRUSTED_S


async def answers(connection: Connection, question: str) -> bool:
    """True where the server answers in time, be it with an error."""
    try:
        async with asyncio.timeout(ASKED_S):
            await connection.execute(question)
    except TimeoutError:
        return False
    except psycopg.Error:
        return not (connection.closed or connection.broken)
    return True
