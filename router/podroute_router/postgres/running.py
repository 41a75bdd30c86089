"""Runs reads over a connection, and runs writes anew that lost against concurrent ones."""

from __future__ import annotations

import asyncio
import math
import random
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import TypeVar

import psycopg

from podroute_router.domain import Deadline
from podroute_router.errors import Aborted
from podroute_router.postgres.connection import Connection, Row

T = TypeVar("T")

_FIRST_PAUSE_S = 0.005
_LONGEST_PAUSE_S = 0.05


async def read(
    connection: Connection,
    statement: str,
    parameters: Sequence[object],
    apply_settings: str = "",
    settings: Mapping[str, str] | None = None,
) -> list[Row]:
    """All rows of a statement. Settings end with it, and need the statement `apply_settings` that sets $1 names to $2
    values.
    """
    if not settings:
        cursor = await connection.execute(statement, parameters, prepare=True, binary=True)
        return await cursor.fetchall()
    async with connection.pipeline(), connection.transaction():
        await connection.execute(apply_settings, (list(settings), list(settings.values())), prepare=True, binary=True)
        cursor = await connection.execute(statement, parameters, prepare=True, binary=True)
        return await cursor.fetchall()


async def read_within(
    connection: Connection, statement: str, parameters: Sequence[object], apply_settings: str, seconds: float
) -> list[Row] | None:
    """All rows, or None where the pod needs longer."""
    if seconds <= 0:
        return None
    settings = {"statement_timeout": f"{math.ceil(seconds * 1000)}ms"}
    try:
        return await read(connection, statement, parameters, apply_settings, settings)
    except psycopg.errors.QueryCanceled:
        return None


async def until_no_conflict(attempt: Callable[[], Awaitable[T]], deadline: Deadline) -> T:
    """Runs a transaction anew while concurrent ones win against it, until the deadline."""
    pause_s = _FIRST_PAUSE_S
    while True:
        try:
            return await attempt()
        except Aborted:
            if deadline.remaining_s() <= pause_s:
                raise
            await asyncio.sleep(pause_s * random.uniform(0.5, 1.5))  # noqa: S311 (jitter)
            pause_s = min(pause_s * 2, _LONGEST_PAUSE_S)
