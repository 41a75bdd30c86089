"""Makes the primary's foreign objects agree with the shard map, under a lock, and leaves the rest alone."""

from __future__ import annotations

import asyncio
from collections.abc import Collection as Some
from collections.abc import Iterator, Sequence
from typing import Any, TypeVar

from podroute_router.config import Config, Database
from podroute_router.postgres.connection import Connection
from podroute_router.postgres.prepare import FDW_OBJECTS, FOLLOWED, OWNER
from podroute_router.shard_map import ShardMap
from podroute_router.sql.statements import Relation
from psycopg import sql

from podroute_fdw import objects
from podroute_fdw.agenda import Agenda
from podroute_fdw.objects import ForeignTable

_FOLLOWED = sql.Identifier(FDW_OBJECTS, FOLLOWED)

TABLES_A_TRANSACTION = 250
"""Each is locked, and a server has room for some thousands of locks."""
TABLES_A_COLLECTION = 2
TABLES_A_MESSAGE = 20
"""Statements that go out together: composing them is work of the event loop's, and so is each message."""

ROWS_AT_A_TIME = 1000
"""Read before other tasks get their turn."""

T = TypeVar("T")

_LOCK_REVISION = sql.SQL("select revision from {} for update").format(_FOLLOWED).as_string()
_SET_REVISION = sql.SQL("update {} set revision = $1").format(_FOLLOWED).as_string()
_LOCK_TIMEOUT = "set local lock_timeout = '2s'"  # an open transaction of a SQL user may hold a foreign table
_SESSION = "select session_user, current_setting('server_version_num')::int"
_SERVERS = """
select s.srvname, coalesce(s.srvoptions, '{}'), m.umuser is not null, coalesce(m.umoptions, '{}')
from pg_foreign_server s
left join pg_user_mappings m on m.srvid = s.oid and m.usename = session_user
where s.srvname = any($1)
"""
_TABLES = """
select c.relname, s.srvname, f.ftoptions, a.atttypmod
from pg_foreign_table f
join pg_class c on c.oid = f.ftrelid
join pg_namespace n on n.oid = c.relnamespace and n.nspname = $1
join pg_foreign_server s on s.oid = f.ftserver
left join pg_attribute a on a.attrelid = c.oid and a.attname = 'vec' and not a.attisdropped
where c.relname = any($2)
"""
_NAMES = """
select c.relname from pg_foreign_table f
join pg_class c on c.oid = f.ftrelid
join pg_namespace n on n.oid = c.relnamespace and n.nspname = $1
"""


async def reconcile(connection: Connection, config: Config, primary: Database, agenda: Agenda, now: ShardMap) -> None:
    """Brings what is on the agenda to the map `now`, and strikes it off as it is committed.

    Nothing is done by a map older than one that a router has begun to bring here: that router knows better what to
    make and drop. What is left then stays on the agenda, until this router has a map as new. Nor is anything done about
    pods that this router has no address for: each router works off an agenda of its own, whatever others have done.
    """
    agenda.take_up(now)
    pods = {name for name in config.pods if name in now.pods and not config.is_on_primary(name)}
    if agenda.servers:
        async with connection.transaction():
            if not await _begin(connection, now.revision):
                return
            await _reconcile_servers(connection, config, primary, sorted(pods))
        agenda.servers = False
    if not await _bring_tables(connection, agenda, now, pods):
        return
    if agenda.unknown_tables:
        gone = await _useless_tables(connection, now)
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
    for names in _parts(controls, TABLES_A_TRANSACTION):
        if not await _bring(connection, list(map(objects.control, names)), now.revision):
            return False
        agenda.strike_pods(names)
    found = (now.collections.get(name) for name in agenda.collections)
    reached = [each for each in found if each is not None and each.placement.pod in pods]
    for part in _parts(reached, max(1, TABLES_A_TRANSACTION // TABLES_A_COLLECTION)):
        if not await _bring(connection, [table for each in part for table in objects.tables(each)], now.revision):
            return False
        agenda.strike_collections(each.name for each in part)
    return True


async def _reconcile_servers(connection: Connection, config: Config, primary: Database, pods: Sequence[str]) -> None:
    role, server_version = await _one(connection, _SESSION, ())
    names = [objects.server_name(pod) for pod in pods]
    rows = await (await connection.execute(_SERVERS, (names,))).fetchall()
    standing = {row[0]: row[1:] for row in rows}
    await _as_owner(connection)  # not before: the options of a mapping show to its own user only
    for pod in pods:
        wanted = objects.server(config, pod, primary=primary, server_version=server_version)
        if wanted.name not in standing:
            await connection.execute(objects.create_server(wanted))
            await connection.execute(objects.create_mapping(wanted, role))
            continue
        options, is_mapped, mapping = standing[wanted.name]
        if _parsed(options) != wanted.options:
            await connection.execute(objects.alter_server(wanted, _parsed(options)))
        if not is_mapped:
            await connection.execute(objects.create_mapping(wanted, role))
        elif _parsed(mapping) != wanted.mapping:
            await connection.execute(objects.alter_mapping(wanted, role, _parsed(mapping)))


async def _bring(connection: Connection, tables: Sequence[ForeignTable], revision: int) -> bool:
    """Makes the tables that are missing, and makes those anew that are not as wanted; False where a newer map came."""
    async with connection.transaction():
        if not await _begin(connection, revision):
            return False
        await _as_owner(connection)
        standing = await _standing_tables(connection, [table.name for table in tables])
        missing = [table for table in tables if standing.get(table.name) != table]
        for part in _parts(missing, TABLES_A_MESSAGE):
            steps = [step for table in part for step in _create(connection, table, stands=table.name in standing)]
            await connection.execute(";".join(steps))
    return True


def _create(connection: Connection, table: ForeignTable, *, stands: bool) -> list[str]:
    steps = [objects.drop_table(table.name)] if stands else []
    steps.append(objects.create_table(table, connection.vector_schema))
    if connection.info.server_version >= objects.STATISTICS_SERVER_VERSION:
        steps.append(objects.assume_many_rows(table))
    return steps


async def _drop_tables(connection: Connection, names: Sequence[str], revision: int) -> bool:
    """Drops the tables of collections and pods that there are no more; after all else, as readers can hold it up.

    False where a newer map has come between.
    """
    for part in _parts(names, TABLES_A_TRANSACTION):
        async with connection.transaction():
            if not await _begin(connection, revision):
                return False
            await _as_owner(connection)
            for some in _parts(part, TABLES_A_MESSAGE):
                await connection.execute(";".join(map(objects.drop_table, some)))
    return True


async def _begin(connection: Connection, revision: int) -> bool:
    """Keeps other routers waiting until the transaction ends; False where one of them has worked by a newer map.

    The revision is set with the first part of the work, not with the last: it says which maps are too old to work by,
    so that none takes anything back between two parts. It does not say that anything is done.
    """
    (reached,) = await _one(connection, _LOCK_REVISION, ())
    if reached < revision:
        await connection.execute(_SET_REVISION, (revision,))
    await connection.execute(_LOCK_TIMEOUT)
    return bool(reached <= revision)


async def _standing_tables(connection: Connection, names: Sequence[str]) -> dict[str, ForeignTable]:
    rows = await (await connection.execute(_TABLES, (FDW_OBJECTS, names))).fetchall()
    return {row[0]: _standing(*row) for row in rows}


async def _useless_tables(connection: Connection, now: ShardMap) -> list[str]:
    """Names of all foreign tables that stand and are no collection's and no pod's."""
    cursor = await connection.execute(_NAMES, (FDW_OBJECTS,))
    found: list[str] = []
    while rows := await cursor.fetchmany(ROWS_AT_A_TIME):
        found.extend(name for (name,) in rows if not objects.is_of(name, now.collections, now.pods))
        await asyncio.sleep(0)
    return found


def _parts(items: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    for start in range(0, len(items), size):
        yield items[start : start + size]


def _standing(name: str, server: str, options: list[str], typmod: int | None) -> ForeignTable:
    parsed = _parsed(options)
    return ForeignTable(
        name,
        server,
        Relation(parsed.get("schema_name", ""), parsed.get("table_name", "")),
        dimension=typmod if typmod is not None and typmod > 0 else None,  # -1: the column is of text
        batch_size=int(parsed["batch_size"]) if "batch_size" in parsed else None,
    )


def _parsed(options: list[str]) -> dict[str, str]:
    return dict(option.split("=", 1) for option in options)


async def _as_owner(connection: Connection) -> None:
    await connection.execute(sql.SQL("set local role {}").format(sql.Identifier(OWNER)).as_string())


async def _one(connection: Connection, statement: str, parameters: Sequence[object]) -> tuple[Any, ...]:
    row = await (await connection.execute(statement, parameters)).fetchone()
    if row is None:
        raise LookupError("a statement that always has a row had none")
    return row
