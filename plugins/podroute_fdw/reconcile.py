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
from podroute_fdw.agenda import Agenda
from podroute_fdw.comparison import compare_servers, compare_tables, reached_pods, useless_tables
from podroute_fdw.objects import ForeignTable

_FOLLOWED = sql.Identifier(FDW_OBJECTS, FOLLOWED)

TABLES_A_TRANSACTION = 250
"""Each is locked, and a server has room for some thousands of locks."""
TABLES_A_COLLECTION = 2
TABLES_A_MESSAGE = 20
"""Statements that go out together: composing them is work of the event loop's, and so is each message."""

T = TypeVar("T")

_LOCK_REVISION = sql.SQL("select revision from {} for update").format(_FOLLOWED).as_string()
_SET_REVISION = sql.SQL("update {} set revision = $1").format(_FOLLOWED).as_string()
# An open transaction of a SQL user may hold a foreign table; and a router that froze must not keep the others out.
_BOUNDS = "set local lock_timeout = '2s'; set local idle_in_transaction_session_timeout = '30s'"


async def reconcile(connection: Connection, config: Config, primary: Database, agenda: Agenda, now: ShardMap) -> None:
    """Brings what is on the agenda to the map `now`, and strikes it off as it is committed.

    Nothing is done by a map older than one that a router has begun to bring here: that router knows better what to
    make and drop. What is left then stays on the agenda, until this router has a map as new. Nor is anything done about
    pods that this router has no address for: each router works off an agenda of its own, whatever others have done.
    """
    agenda.take_up(now)
    pods = reached_pods(config, now)
    if agenda.servers:
        async with connection.transaction():
            if not await _lock(connection, now.revision):
                return
            drifts = await compare_servers(connection, config, primary, pods)
            await as_owner(connection)  # not before: the options of a mapping show to its own user only
            for drift in drifts:
                for step in drift.steps:
                    await connection.execute(step.statement)
        agenda.servers = False
    if not await _bring_tables(connection, agenda, now, pods):
        return
    if agenda.unknown_tables:
        gone = await useless_tables(connection, now)
    else:
        gone = [objects.control_table(pod).name for pod in agenda.pods if pod not in now.pods]
        for name in agenda.collections:
            if name not in now.collections:
                gone += objects.read_table(name).name, objects.upsert_table(name).name
    if await _drop_tables(connection, gone, now.revision):
        agenda.strike_all()


async def _bring_tables(connection: Connection, agenda: Agenda, now: ShardMap, pods: Some[str]) -> bool:
    """The tables of what there is, as far as their pods can be reached; False where a newer map has come between."""
    controls = [pod for pod in agenda.pods if pod in pods]
    for names in in_parts(controls, TABLES_A_TRANSACTION):
        if not await _bring(connection, list(map(objects.control, names)), now.revision):
            return False
        agenda.strike_pods(names)
    found = (now.collections.get(name) for name in agenda.collections)
    reached = [each for each in found if each is not None and each.placement.pod in pods]
    for part in in_parts(reached, max(1, TABLES_A_TRANSACTION // TABLES_A_COLLECTION)):
        if not await _bring(connection, [table for each in part for table in objects.tables(each)], now.revision):
            return False
        agenda.strike_collections(each.name for each in part)
    return True


async def _bring(connection: Connection, tables: Sequence[ForeignTable], revision: int) -> bool:
    """Makes the tables that are missing, and makes those anew that are not as wanted; False where a newer map came."""
    async with connection.transaction():
        if not await begin(connection, revision):
            return False
        drifts = await compare_tables(connection, tables)
        while part := list(islice(drifts, TABLES_A_MESSAGE)):
            await connection.execute(";".join(step.statement for drift in part for step in drift.steps))
    return True


async def _drop_tables(connection: Connection, names: Sequence[str], revision: int) -> bool:
    """Drops the tables of collections and pods that there are no more; after all else, as readers can hold it up.

    False where a newer map has come between.
    """
    for part in in_parts(names, TABLES_A_TRANSACTION):
        async with connection.transaction():
            if not await begin(connection, revision):
                return False
            for some in in_parts(part, TABLES_A_MESSAGE):
                await connection.execute(";".join(map(objects.drop_table, some)))
    return True


async def begin(connection: Connection, revision: int | None) -> bool:
    """Takes the lock and the owner's role for a transaction; False where a router has worked by a newer map.

    Args:
        connection: in a transaction.
        revision: of the map that is worked by; None where it does not matter.
    """
    is_newest = await _lock(connection, revision)
    await as_owner(connection)
    return is_newest


async def _lock(connection: Connection, revision: int | None) -> bool:
    """Keeps other routers waiting until the transaction ends; False where one of them has worked by a newer map.

    The revision is set with the first part of the work, not with the last: it says which maps are too old to work by,
    so that none takes anything back between two parts. It does not say that anything is done.
    """
    (reached,) = await _one(connection, _LOCK_REVISION, ())
    if revision is not None and reached < revision:
        await connection.execute(_SET_REVISION, (revision,))
    await connection.execute(_BOUNDS)
    return revision is None or reached <= revision


def in_parts(items: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    """The items, so many at a time."""
    for start in range(0, len(items), size):
        yield items[start : start + size]


async def as_owner(connection: Connection) -> None:
    """Acts as the owner until the transaction ends."""
    await connection.execute(sql.SQL("set local role {}").format(sql.Identifier(OWNER)).as_string())


async def _one(connection: Connection, statement: str, parameters: Sequence[object]) -> tuple[Any, ...]:
    row = await (await connection.execute(statement, parameters)).fetchone()
    if row is None:
        raise LookupError("a statement that always has a row had none")
    return row
