"""A process that asks PostgreSQL itself with plain psycopg: what a service without a router would do.

The same statement as the router's, prepared, binary, with the same session settings, on a connection for each caller.
Commands: {settings} answers every query once with {ids}; {settings, callers, window} puts load on and answers
{seconds}; {settings, schedule} does so open-loop with all callers and answers {seconds, missed}; {settings, first,
calls} makes so many calls one after the other and answers {seconds, ids}. The settings are those of all sessions.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import psycopg
import uvloop
from pgvector.psycopg import register_vector_async
from podroute_router.postgres.access import SESSION_SETTINGS

from benchmarks.children import say
from benchmarks.closed_loop import Window, first_query
from benchmarks.data import Vectors
from benchmarks.open_loop import Schedule, follow_async
from benchmarks.statement import nearest

SETTINGS = SESSION_SETTINGS | {"jit": "off", "search_path": "", "statement_timeout": "60s"}
"""As the router's sessions on a pod have them."""

Connection = psycopg.AsyncConnection[tuple[Any, ...]]


class Caller:
    """One caller with a connection of its own."""

    def __init__(self, connection: Connection, statement: str, queries: Vectors) -> None:
        self._connection = connection
        self._statement = statement
        self._queries = queries
        self._settings: dict[str, str] = {}

    async def set(self, settings: dict[str, str]) -> None:
        """Sets what is not set yet, and looks whether it is (a proxy may lose settings)."""
        for name, value in settings.items():
            if self._settings.get(name) == value:
                continue
            await self._connection.execute("select set_config($1, $2, false)", (name, value))
            found = await (await self._connection.execute("select current_setting($1)", (name,))).fetchone()
            if found is None or (name in SESSION_SETTINGS and found[0] != value):
                raise RuntimeError(f"setting {name} was lost on the way")
            self._settings[name] = value

    async def call(self, number: int) -> list[tuple[Any, ...]]:
        """Makes the query of that number; the queries come round and round."""
        query = self._queries[number % len(self._queries)]
        cursor = await self._connection.execute(self._statement, (query,), prepare=True, binary=True)
        return await cursor.fetchall()


@asynccontextmanager
async def connected(database: dict[str, Any], callers: int) -> AsyncIterator[list[Connection]]:
    """Connections, one for each caller."""
    async with AsyncExitStack() as stack:
        connections = []
        for _ in range(callers):
            connection = await psycopg.AsyncConnection.connect(
                database["dsn"],
                password=database["password"],
                autocommit=True,
                cursor_factory=psycopg.AsyncRawCursor,
            )
            await stack.enter_async_context(connection)
            await register_vector_async(connection)
            connections.append(connection)
        yield connections


async def run(queries: Vectors, database: dict[str, Any], callers: int) -> None:
    """Obeys commands until stdin ends. The database has its password."""
    async with connected(database, callers) as connections:
        ready = [Caller(connection, nearest(database), queries) for connection in connections]
        for caller in ready:
            await caller.set(SETTINGS)
        say({"ready": True})
        while line := await asyncio.to_thread(sys.stdin.readline):
            command = json.loads(line)
            for caller in ready:
                await caller.set(command["settings"])
            say(await obey(command, ready, len(queries)))


async def obey(command: dict[str, Any], ready: list[Caller], queries: int) -> dict[str, Any]:
    """The answer to a command."""
    if "window" in command:
        window, called = Window(*command["window"]), ready[: command["callers"]]
        loads = await asyncio.gather(
            *(window.timed_async(caller.call, first_query(i, len(called), queries)) for i, caller in enumerate(called))
        )
        return {"seconds": [seconds for load in loads for seconds in load]}
    if "schedule" in command:
        schedule = Schedule.from_command(command["schedule"])
        shares = await asyncio.gather(
            *(
                follow_async(
                    schedule,
                    schedule.share(i, len(ready)),
                    partial(_call_from, caller, first_query(i, len(ready), queries)),
                )
                for i, caller in enumerate(ready)
            )
        )
        return {
            "seconds": [seconds for share in shares for seconds in share.seconds],
            "missed": [seconds for share in shares for seconds in share.missed],
        }
    numbers = range(queries)
    if "calls" in command:
        numbers = range(command["first"], command["first"] + command["calls"])
    taken, found = [], []
    for number in numbers:
        began = time.monotonic()
        rows = await ready[0].call(number)
        taken.append(time.monotonic() - began)
        found.append([row[0] for row in rows])
    return {"seconds": taken, "ids": found}


async def _call_from(caller: Caller, first: int, number: int) -> object:
    return await caller.call(first + number)


def main(queries_file: str, database_file: str, callers: int) -> None:
    """Connects to the database that the file describes and obeys."""
    database = json.loads(Path(database_file).read_text(encoding="utf-8"))
    database["password"] = Path(database["password_file"]).read_text(encoding="utf-8").strip()
    uvloop.run(run(np.load(queries_file), database, callers))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
