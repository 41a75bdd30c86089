"""Tells what is wrong on the primary: whether it is prepared, and whether its objects are those of the shard map."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

from podroute_router.config import Config, Database
from podroute_router.drift import PRIMARY, Drift, Extension, Inspection, plain_steps
from podroute_router.postgres.connection import Connection
from podroute_router.postgres.prepare import CATALOG, FDW_OBJECTS, FOLLOWED, OWNER
from podroute_router.shard_map import ShardMap
from psycopg import sql

from podroute_fdw import objects
from podroute_fdw.comparison import compare_servers, compare_tables, reached_pods, useless_tables, wanted_tables
from podroute_fdw.reconcile import TABLES_A_TRANSACTION

PREPARE = "podroute pods prepare --primary"

_VECTOR = """
select e.extversion, n.nspname from pg_extension e join pg_namespace n on n.oid = e.extnamespace
where e.extname = 'vector'
"""
_PREPARED = """
select (select oid from pg_roles where rolname = $1),
       (select pg_has_role(session_user, oid, 'member') from pg_roles where rolname = $1),
       (select nspowner::regrole::text from pg_namespace where nspname = $2),
       exists (
           select from pg_class c join pg_namespace n on n.oid = c.relnamespace where nspname = $2 and relname = $3
       ),
       (select oid from pg_foreign_data_wrapper where fdwname = 'postgres_fdw')
"""
_MAY_USE = "select has_foreign_data_wrapper_privilege($1::oid, $2::oid, 'usage')"
_FOLLOWED = sql.SQL("select revision from {}").format(sql.Identifier(FDW_OBJECTS, FOLLOWED)).as_string()
_SET_BACK = sql.SQL("update {} set revision = 0").format(sql.Identifier(FDW_OBJECTS, FOLLOWED)).as_string()


async def inspect(connection: Connection, config: Config, primary: Database, now: ShardMap) -> Inspection:
    """What is wrong on the primary; nothing is changed.

    Further objects of the primary, such as exposures, are compared here too, each kind by a function of its own.
    """
    [(version, schema)] = await (await connection.execute(_VECTOR)).fetchall()
    extensions = {PRIMARY: Extension(version, schema)}
    drifts = await _preparation(connection)
    if not drifts:  # nothing else can be looked at before
        pods = reached_pods(config, now)
        is_behind = await _revision(connection, now)
        drifts += is_behind
        drifts += await compare_servers(connection, config, primary, pods)
        wanted = wanted_tables(now, set(pods), now.collections.keys(), now.pods)
        while tables := list(islice(wanted, TABLES_A_TRANSACTION)):
            drifts += await compare_tables(connection, tables)
        if not is_behind:  # else they may be a later map's
            drifts += _useless(await useless_tables(connection, now))
    return Inspection(drifts=tuple(drifts), extensions=extensions)


async def _preparation(connection: Connection) -> list[Drift]:
    """What an administrator has to prepare."""
    [row] = await (await connection.execute(_PREPARED, (OWNER, FDW_OBJECTS, FOLLOWED))).fetchall()
    owner, is_member, schema_owner, has_revision, wrapper = row
    if owner is None:
        return [_unprepared(f"role {OWNER}", "is missing")]
    problems = []
    if not is_member:
        problems.append((f"role {OWNER}", "the router's role is no member of it"))
    if schema_owner != OWNER:
        owned = "is missing" if schema_owner is None else f"belongs to {schema_owner}"
        problems.append((f"schema {FDW_OBJECTS}", owned))
    elif not has_revision:
        problems.append((f"table {FDW_OBJECTS}.{FOLLOWED}", "is missing"))
    if wrapper is None:
        problems.append(("extension postgres_fdw", "is missing"))
    else:
        [(may_use,)] = await (await connection.execute(_MAY_USE, (owner, wrapper))).fetchall()
        if not may_use:
            problems.append(("foreign data wrapper postgres_fdw", f"{OWNER} may not use it"))
    return [_unprepared(thing, problem) for thing, problem in problems]


async def _revision(connection: Connection, now: ShardMap) -> list[Drift]:
    async with connection.transaction():
        await connection.execute(sql.SQL("set local role {}").format(sql.Identifier(OWNER)).as_string())
        [(reached,)] = await (await connection.execute(_FOLLOWED)).fetchall()
    if reached <= now.revision:
        return []
    return [
        Drift(
            where=PRIMARY,
            thing=f"table {FDW_OBJECTS}.{FOLLOWED}",
            problem=f"says that the foreign tables are of revision {reached}, {CATALOG} was at {now.revision}: "
            "either it has just changed, or it was restored from a backup, and nothing is brought to an older revision",
            remedy=f"look again; if it stays, as administrator: {_SET_BACK}",
        )
    ]


def _useless(names: list[str]) -> Iterator[Drift]:
    for name in names:
        yield Drift(
            where=PRIMARY,
            thing=f"foreign table {FDW_OBJECTS}.{name}",
            problem="belongs to no collection and no pod",
            steps=plain_steps(objects.drop_table(name)),
        )


def _unprepared(thing: str, problem: str) -> Drift:
    return Drift(where=PRIMARY, thing=thing, problem=problem, remedy=PREPARE)
