"""Makes the primary's foreign objects agree with the shard map, under a lock, and leaves the rest alone."""

from __future__ import annotations

from collections.abc import Collection as Some
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any, TypeVar

from podroute_router.config import Config, Database
from podroute_router.postgres.connection import Connection
from podroute_router.postgres.prepare import FDW_OBJECTS, FOLLOWED, OWNER
from podroute_router.shard_map import ShardMap
from psycopg import sql

from podroute_fdw import objects
from podroute_fdw.comparison import compare_servers, compare_tables, reached_pods, useless_tables, wanted_tables
from podroute_fdw.objects import ForeignTable

_FOLLOWED = sql.Identifier(FDW_OBJECTS, FOLLOWED)

TABLES_A_TRANSACTION = 250
"""Each is locked, and a server has room for some thousands of locks."""
TABLES_A_MESSAGE = 20
"""Statements that go out together: composing them is work of the event loop's, and so is each message."""

T = TypeVar("T")

_LOCK_REVISION = sql.SQL("select revision from {} for update").format(_FOLLOWED).as_string()
_SET_REVISION = sql.SQL("update {} set revision = $1").format(_FOLLOWED).as_string()
_LOCK_TIMEOUT = "set local lock_timeout = '2s'"  # an open transaction of a SQL user may hold a foreign table


async def reconcile(
    connection: Connection, config: Config, primary: Database, before: ShardMap | None, now: ShardMap
) -> None:
    """Brings the primary from the map `before` to the map `now`; with no map before, whatever stands is compared.

    A map older than the one that another router has brought here is left alone. So is what belongs to pods that this
    router has no address for: another one has.
    """
    pods = reached_pods(config, now)
    if before is None or before.pods != now.pods:
        async with connection.transaction():
            if await _lock(connection) > now.revision:
                return
            drifts = await compare_servers(connection, config, primary, pods)
            await as_owner(connection)
            for drift in drifts:
                for step in drift.steps:
                    await connection.execute(step.statement)
    if before is None:
        changed: Some[str] = now.collections.keys()
        controls = now.pods
    else:
        changed = now.changed_names(before)
        controls = before.pods ^ now.pods
    await _create_tables(connection, wanted_tables(now, set(pods), changed, controls), now.revision)
    if before is None:
        gone = await useless_tables(connection, now)
    else:
        gone = [objects.control_table(pod).name for pod in controls if pod not in now.pods]
        for name in changed:
            if name not in now.collections:
                gone += objects.read_table(name).name, objects.upsert_table(name).name
    await _drop_tables(connection, gone, now.revision)


async def _create_tables(connection: Connection, wanted: Iterator[ForeignTable], revision: int) -> None:
    """Makes the tables that are missing, and makes those anew that are not as wanted.

    The revision is set with the first part, so that a router with an older map takes nothing back between two parts.
    """
    unfinished = True
    while unfinished:
        tables = list(islice(wanted, TABLES_A_TRANSACTION))
        unfinished = len(tables) == TABLES_A_TRANSACTION
        async with connection.transaction():
            reached = await begin(connection)
            if reached > revision:
                return
            if reached < revision:
                await connection.execute(_SET_REVISION, (revision,))
            drifts = await compare_tables(connection, tables)
            while part := list(islice(drifts, TABLES_A_MESSAGE)):
                await connection.execute(";".join(step.statement for drift in part for step in drift.steps))


async def _drop_tables(connection: Connection, names: Sequence[str], revision: int) -> None:
    """Drops the tables of collections and pods that there are no more; after all else, as readers can hold it up."""
    for part in in_parts(names, TABLES_A_TRANSACTION):
        async with connection.transaction():
            if await begin(connection) > revision:
                return
            for some in in_parts(part, TABLES_A_MESSAGE):
                await connection.execute(";".join(map(objects.drop_table, some)))


async def begin(connection: Connection) -> int:
    """Takes the lock and the owner's role for a transaction; the revision that the tables were last brought to."""
    reached = await _lock(connection)
    await connection.execute(_LOCK_TIMEOUT)
    await as_owner(connection)
    return reached


def in_parts(items: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    """The items, so many at a time."""
    for start in range(0, len(items), size):
        yield items[start : start + size]


async def _lock(connection: Connection) -> int:
    """Keeps other routers waiting until the transaction ends; the revision that the tables were last brought to."""
    (revision,) = await _one(connection, _LOCK_REVISION, ())
    return int(revision)


async def as_owner(connection: Connection) -> None:
    """Acts as the owner until the transaction ends."""
    await connection.execute(sql.SQL("set local role {}").format(sql.Identifier(OWNER)).as_string())


async def _one(connection: Connection, statement: str, parameters: Sequence[object]) -> tuple[Any, ...]:
    row = await (await connection.execute(statement, parameters)).fetchone()
    if row is None:
        raise LookupError("a statement that always has a row had none")
    return row
