"""A process that asks the pod itself with plain psycopg: what a service without a router would do.

The same statement as the router's, prepared, binary, with the same session settings, on a connection for each caller.
Commands: {} answers every query once with {ids}; {callers, window} puts load on and answers {seconds}.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import numpy as np
import psycopg
from pgvector.psycopg import register_vector_async
from podroute_router.domain import Metric
from podroute_router.postgres.access import SESSION_SETTINGS
from podroute_router.sql import statements

from benchmarks.children import say
from benchmarks.data import Vectors
from benchmarks.load import Window, first_query

SETTINGS = SESSION_SETTINGS | {"jit": "off", "search_path": "", "statement_timeout": "60s"}
"""As the router's sessions on a pod have them."""

Connection = psycopg.AsyncConnection[tuple[Any, ...]]


class Caller:
    """One caller with a connection of its own."""

    def __init__(self, connection: Connection, statement: str, queries: Vectors) -> None:
        self._connection = connection
        self._statement = statement
        self._queries = queries

    async def call(self, number: int) -> list[tuple[Any, ...]]:
        """Makes the query of that number; the queries come round and round."""
        query = self._queries[number % len(self._queries)]
        cursor = await self._connection.execute(self._statement, (query,), prepare=True, binary=True)
        return await cursor.fetchall()


@asynccontextmanager
async def connected(pod: dict[str, Any], callers: int) -> AsyncIterator[list[Connection]]:
    """Connections to the pod, with the settings that the router's have."""
    async with AsyncExitStack() as stack:
        connections = []
        for _ in range(callers):
            connection = await psycopg.AsyncConnection.connect(
                pod["dsn"], password=pod["password"], autocommit=True, cursor_factory=psycopg.AsyncRawCursor
            )
            await stack.enter_async_context(connection)
            await register_vector_async(connection)
            for name, value in SETTINGS.items():
                await connection.execute("select set_config($1, $2, false)", (name, value))
            connections.append(connection)
        yield connections


async def run(queries: Vectors, pod: dict[str, Any], callers: int) -> None:
    """Obeys commands until stdin ends."""
    statement = statements.query(
        statements.Relation(pod["schema"], pod["table"]),
        pod["vector_schema"],
        Metric.COSINE,
        pod["limit"],
        filtered=False,
        exact=False,
        include_metadata=False,
        include_vector=False,
    )
    async with connected(pod, callers) as connections:
        ready = [Caller(connection, statement, queries) for connection in connections]
        say({"ready": True})
        while line := await asyncio.to_thread(sys.stdin.readline):
            command = json.loads(line)
            if "window" in command:
                window = Window(*command["window"])
                loads = [
                    window.timed_async(caller.call, first_query(i, callers, len(queries)))
                    for i, caller in enumerate(ready[: command["callers"]])
                ]
                say({"seconds": [seconds for load in await asyncio.gather(*loads) for seconds in load]})
            else:
                rows = [await ready[0].call(number) for number in range(len(queries))]
                say({"ids": [[row[0] for row in found] for found in rows]})


def main(queries_file: str, pod_file: str, callers: int) -> None:
    """Connects to the pod that the file describes and obeys."""
    pod = json.loads(Path(pod_file).read_text(encoding="utf-8"))
    pod["password"] = Path(pod["password_file"]).read_text(encoding="utf-8").strip()
    asyncio.run(run(np.load(queries_file), pod, callers))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
