"""Makes the primary's foreign objects agree with the shard map, under a lock, and leaves the rest alone."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import chain
from typing import Any

from podroute_router.config import Config, Database
from podroute_router.postgres.connection import Connection
from podroute_router.postgres.prepare import FDW_OBJECTS, FOLLOWED, OWNER
from podroute_router.shard_map import ShardMap
from podroute_router.sql.statements import Relation
from psycopg import sql

from podroute_fdw import objects
from podroute_fdw.objects import ForeignTable

_FOLLOWED = sql.Identifier(FDW_OBJECTS, FOLLOWED)

STEPS_A_TRANSACTION = 500
"""Each locks a table, and a server has room for some thousands of locks."""

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
where $2::text[] is null or c.relname = any($2)
"""


async def reconcile(
    connection: Connection, config: Config, primary: Database, before: ShardMap | None, now: ShardMap
) -> None:
    """Brings the primary from the map `before` to the map `now`; with no map before, whatever stands is compared.

    A map older than the one that another router has brought here is left alone. So is what belongs to pods that this
    router has no address for: another one has.
    """
    pods = sorted(name for name in config.pods if name in now.pods and not config.is_on_primary(name))
    async with connection.transaction():
        if await _lock(connection) > now.revision:
            return
        if before is None or before.pods != now.pods:
            await _reconcile_servers(connection, config, primary, pods)
    wanted = dict(_wanted(now, pods))
    names = None if before is None else _touched(before, now)
    await _create_tables(connection, wanted, names, now.revision)
    await _drop_tables(connection, _known(now), names, now.revision)


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


async def _create_tables(
    connection: Connection, wanted: dict[str, ForeignTable], names: list[str] | None, revision: int
) -> None:
    """Makes the tables that are missing, and makes those anew that are not as wanted."""
    considered = wanted if names is None else {name: wanted[name] for name in names if name in wanted}
    unfinished = True
    while unfinished:
        async with connection.transaction():
            reached = await _begin(connection)
            if reached > revision:
                return
            standing = await _standing_tables(connection, names)
            steps = [
                _create(connection, table, stands=name in standing)
                for name, table in considered.items()
                if standing.get(name) != table
            ]
            unfinished = len(steps) > STEPS_A_TRANSACTION
            for statement in chain.from_iterable(steps[:STEPS_A_TRANSACTION]):
                await connection.execute(statement)
            if not unfinished and reached < revision:
                await connection.execute(_SET_REVISION, (revision,))


def _create(connection: Connection, table: ForeignTable, *, stands: bool) -> list[str]:
    steps = [objects.drop_table(table.name)] if stands else []
    steps.append(objects.create_table(table, connection.vector_schema))
    if connection.info.server_version >= objects.STATISTICS_SERVER_VERSION:
        steps.append(objects.assume_many_rows(table))
    return steps


async def _drop_tables(connection: Connection, known: set[str], names: list[str] | None, revision: int) -> None:
    """Drops the tables of collections and pods that there are no more; after all else, as readers can hold it up."""
    unfinished = True
    while unfinished:
        async with connection.transaction():
            if await _begin(connection) > revision:
                return
            gone = [name for name in await _standing_tables(connection, names) if name not in known]
            unfinished = len(gone) > STEPS_A_TRANSACTION
            for name in gone[:STEPS_A_TRANSACTION]:
                await connection.execute(objects.drop_table(name))


async def _begin(connection: Connection) -> int:
    """Takes the lock and the owner's role for a transaction; the revision that the tables were last brought to."""
    reached = await _lock(connection)
    await connection.execute(_LOCK_TIMEOUT)
    await _as_owner(connection)
    return reached


async def _standing_tables(connection: Connection, names: list[str] | None) -> dict[str, ForeignTable]:
    rows = await (await connection.execute(_TABLES, (FDW_OBJECTS, names))).fetchall()
    return {row[0]: _standing(*row) for row in rows}


def _wanted(now: ShardMap, pods: Sequence[str]) -> Iterable[tuple[str, ForeignTable]]:
    reachable = set(pods)
    for pod in pods:
        table = objects.control(pod)
        yield table.name, table
    for collection in now.collections.values():
        if collection.placement.pod in reachable:
            for table in objects.tables(collection):
                yield table.name, table


def _known(now: ShardMap) -> set[str]:
    """Names of the foreign tables that some router has a use for."""
    known = {objects.control_table(pod).name for pod in now.pods}
    for name in now.collections:
        known |= {objects.read_table(name).name, objects.upsert_table(name).name}
    return known


def _touched(before: ShardMap, now: ShardMap) -> list[str]:
    """Names of foreign tables that the change from one map to the other may concern."""
    changed = [
        name
        for name in before.collections.keys() | now.collections.keys()
        if before.collections.get(name) is not now.collections.get(name)
    ]
    tables = [relation.name for name in changed for relation in (objects.read_table(name), objects.upsert_table(name))]
    if before.pods != now.pods:
        tables += [objects.control_table(pod).name for pod in before.pods | now.pods]
    return tables


def _standing(name: str, server: str, options: list[str], typmod: int | None) -> ForeignTable:
    parsed = _parsed(options)
    return ForeignTable(name, server, Relation(parsed.get("schema_name", ""), parsed.get("table_name", "")), typmod)


def _parsed(options: list[str]) -> dict[str, str]:
    return dict(option.split("=", 1) for option in options)


async def _lock(connection: Connection) -> int:
    """Keeps other routers waiting until the transaction ends; the revision that the tables were last brought to."""
    (revision,) = await _one(connection, _LOCK_REVISION, ())
    return int(revision)


async def _as_owner(connection: Connection) -> None:
    await connection.execute(sql.SQL("set local role {}").format(sql.Identifier(OWNER)).as_string())


async def _one(connection: Connection, statement: str, parameters: Sequence[object]) -> tuple[Any, ...]:
    row = await (await connection.execute(statement, parameters)).fetchone()
    if row is None:
        raise LookupError("a statement that always has a row had none")
    return row
