"""Makes the primary's foreign objects agree with the shard map, under an advisory lock, and leaves the rest alone."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from typing import Any

from podroute_router.config import Config, Database
from podroute_router.postgres.connection import Connection
from podroute_router.postgres.prepare import FDW_OBJECTS, OWNER
from podroute_router.shard_map import ShardMap
from podroute_router.sql.statements import Relation
from psycopg import sql

from podroute_fdw import objects
from podroute_fdw.objects import ForeignTable

STEPS_A_TRANSACTION = 500
"""Each locks a table, and a server has room for some thousands of locks."""

_LOCK = "select pg_advisory_xact_lock(hashtextextended('podroute_fdw', 0))"
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
_REVISION = "select obj_description(to_regnamespace($1), 'pg_namespace')"


async def reconcile(
    connection: Connection, config: Config, primary: Database, before: ShardMap | None, now: ShardMap
) -> None:
    """Brings the primary from the map `before` to the map `now`; with no map before, whatever stands is compared.

    A map older than the one that another router has brought here is left alone.
    """
    pods = sorted(name for name in config.pods if name in now.pods and not config.is_on_primary(name))
    async with connection.transaction():
        await connection.execute(_LOCK)
        if await _revision(connection) > now.revision:
            return
        if before is None or before.pods != now.pods:
            await _reconcile_servers(connection, config, primary, pods)
    wanted = dict(_wanted(now, pods))
    names = None if before is None else _touched(before, now)
    await _reconcile_tables(connection, wanted, names, now.revision)


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


async def _reconcile_tables(
    connection: Connection, wanted: dict[str, ForeignTable], names: list[str] | None, revision: int
) -> None:
    considered = wanted if names is None else {name: wanted[name] for name in names if name in wanted}
    unfinished = True
    while unfinished:
        async with connection.transaction():
            await connection.execute(_LOCK)
            reached = await _revision(connection)
            if reached > revision:
                return
            await _as_owner(connection)
            rows = await (await connection.execute(_TABLES, (FDW_OBJECTS, names))).fetchall()
            standing = {row[0]: _standing(*row) for row in rows}
            steps = list(_steps(connection, wanted, considered, standing))
            unfinished = len(steps) > STEPS_A_TRANSACTION
            for statement in chain.from_iterable(steps[:STEPS_A_TRANSACTION]):
                await connection.execute(statement)
            if not unfinished and reached < revision:
                await connection.execute(_set_revision(revision))


def _steps(
    connection: Connection,
    wanted: dict[str, ForeignTable],
    considered: dict[str, ForeignTable],
    standing: dict[str, ForeignTable],
) -> Iterator[tuple[str, ...]]:
    """What makes the tables that stand the ones wanted; the statements of a step belong together."""
    for name, table in standing.items():
        if wanted.get(name) != table:
            yield (objects.drop_table(name),)
    for name, table in considered.items():
        if standing.get(name) != table:
            create = objects.create_table(table, connection.vector_schema)
            if connection.info.server_version >= objects.STATISTICS_SERVER_VERSION:
                yield (create, objects.assume_many_rows(table))
            else:
                yield (create,)


def _set_revision(revision: int) -> str:
    return (
        sql.SQL("comment on schema {} is {}")
        .format(sql.Identifier(FDW_OBJECTS), sql.Literal(f"podroute shard map revision {revision}"))
        .as_string()
    )


def _wanted(now: ShardMap, pods: Sequence[str]) -> Iterable[tuple[str, ForeignTable]]:
    reachable = set(pods)
    for pod in pods:
        table = objects.control(pod)
        yield table.name, table
    for collection in now.collections.values():
        if collection.placement.pod in reachable:
            for table in objects.tables(collection):
                yield table.name, table


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


async def _revision(connection: Connection) -> int:
    """Revision of the map that the foreign tables were last brought to, by whichever router."""
    (comment,) = await _one(connection, _REVISION, (FDW_OBJECTS,))
    return int(comment.rsplit(" ", 1)[1]) if comment else 0


async def _as_owner(connection: Connection) -> None:
    await connection.execute(sql.SQL("set local role {}").format(sql.Identifier(OWNER)).as_string())


async def _one(connection: Connection, statement: str, parameters: Sequence[object]) -> tuple[Any, ...]:
    row = await (await connection.execute(statement, parameters)).fetchone()
    if row is None:
        raise LookupError("a statement that always has a row had none")
    return row
