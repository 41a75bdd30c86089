"""Compares the foreign objects that stand on the primary with those that are wanted."""

from __future__ import annotations

import asyncio
from collections.abc import Collection as Some
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from podroute_router.config import Config, Database
from podroute_router.domain import Collection
from podroute_router.drift import PRIMARY, Drift, Step, plain_steps
from podroute_router.postgres.connection import Connection, Row
from podroute_router.postgres.prepare import FDW_OBJECTS
from podroute_router.shard_map import ShardMap
from podroute_router.sql.statements import Relation

from podroute_fdw import objects
from podroute_fdw.objects import ForeignTable, Server

ROWS_AT_A_TIME = 1000
"""Read before other tasks get their turn."""

_SESSION = "select session_user, current_setting('server_version_num')::int"
_SERVERS = """
select s.srvname, coalesce(s.srvoptions, '{}'), m.umuser is not null, coalesce(m.umoptions, '{}')
from pg_foreign_server s
left join pg_user_mappings m on m.srvid = s.oid and m.usename = session_user
where s.srvname = any($1)
"""
_TABLES = """
select c.relname, s.srvname, f.ftoptions, a.atttypmod, c.reltuples
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


@dataclass(frozen=True, slots=True)
class StandingServer:
    """A server that stands, and the options of the session's mapping; None where it has none."""

    options: Mapping[str, str]
    mapping: Mapping[str, str] | None


def reached_pods(config: Config, now: ShardMap) -> list[str]:
    """The pods that this configuration reaches through the primary; others are another router's to look after."""
    return sorted(name for name in config.pods if name in now.pods and not config.is_on_primary(name))


async def compare_servers(
    connection: Connection, config: Config, primary: Database, pods: Sequence[str]
) -> list[Drift]:
    """What is wrong with the servers of the pods and with the session's mappings.

    The connection acts as the session's own role: the options of a mapping show to its user only.
    """
    [(role, server_version)] = await (await connection.execute(_SESSION)).fetchall()
    names = [objects.server_name(pod) for pod in pods]
    rows = await (await connection.execute(_SERVERS, (names,))).fetchall()
    standing = {
        name: StandingServer(parsed(options), parsed(mapping) if is_mapped else None)
        for name, options, is_mapped, mapping in rows
    }
    wanted = [objects.server(config, pod, primary=primary, server_version=server_version) for pod in pods]
    return [drift for each in wanted for drift in server_drifts(each, standing.get(each.name), role)]


def server_drifts(wanted: Server, standing: StandingServer | None, role: str) -> Iterator[Drift]:
    """What is wrong with a server and the role's mapping, whose options are not shown: one may be a password."""
    server, mapping = f"server {wanted.name}", f"user mapping of {role} for server {wanted.name}"
    create_mapping = Step(objects.create_mapping(wanted, role), objects.create_mapping(wanted.without_secret(), role))
    if standing is None:
        create = plain_steps(objects.create_server(wanted))
        yield Drift(where=PRIMARY, thing=server, problem="is missing", steps=(*create, create_mapping))
        return
    if standing.options != wanted.options:
        problem = "; ".join(_differences(wanted.options, standing.options))
        steps = plain_steps(objects.alter_server(wanted, standing.options))
        yield Drift(where=PRIMARY, thing=server, problem=problem, steps=steps)
    if standing.mapping is None:
        yield Drift(where=PRIMARY, thing=mapping, problem="is missing", steps=(create_mapping,))
    elif standing.mapping != wanted.mapping:
        step = Step(
            objects.alter_mapping(wanted, role, standing.mapping),
            objects.alter_mapping(wanted.without_secret(), role, standing.mapping),
        )
        yield Drift(where=PRIMARY, thing=mapping, problem="has other options than the configuration", steps=(step,))


async def compare_tables(connection: Connection, wanted: Sequence[ForeignTable]) -> Iterator[Drift]:
    """What is wrong with these foreign tables. Composing the statements takes time, so it is done one by one."""
    rows = await (await connection.execute(_TABLES, (FDW_OBJECTS, [table.name for table in wanted]))).fetchall()
    standing = {row[0]: row for row in rows}
    has_statistics = connection.info.server_version >= objects.STATISTICS_SERVER_VERSION
    return (
        drift
        for table in wanted
        for drift in table_drifts(
            table, standing.get(table.name), connection.vector_schema, has_statistics=has_statistics
        )
    )


def table_drifts(wanted: ForeignTable, row: Row | None, vector_schema: str, *, has_statistics: bool) -> Iterator[Drift]:
    """What is wrong with a foreign table. One that is not as wanted is made anew."""
    standing = None if row is None else _standing(*row[:4])
    if standing == wanted and (row is None or not has_statistics or row[4] == objects.ASSUMED_ROWS):
        return
    thing = f"foreign table {FDW_OBJECTS}.{wanted.name}"
    assume = [objects.assume_many_rows(wanted)] if has_statistics else []
    create = [objects.create_table(wanted, vector_schema), *assume]
    if row is None or standing is None:
        yield Drift(where=PRIMARY, thing=thing, problem="is missing", steps=plain_steps(*create))
    elif standing != wanted:
        problem = "; ".join(_differences(_shown(wanted), _shown(standing)))
        steps = plain_steps(objects.drop_table(wanted.name), *create)
        yield Drift(where=PRIMARY, thing=thing, problem=problem, steps=steps)
    else:
        problem = f"assumes {row[4]:.0f} rows, should {objects.ASSUMED_ROWS:.0f}: LIMIT may stay on the primary"
        yield Drift(where=PRIMARY, thing=thing, problem=problem, steps=plain_steps(*assume))


async def useless_tables(connection: Connection, now: ShardMap) -> list[str]:
    """Names of all foreign tables that stand and are no collection's and no pod's."""
    cursor = await connection.execute(_NAMES, (FDW_OBJECTS,))
    found: list[str] = []
    while rows := await cursor.fetchmany(ROWS_AT_A_TIME):
        found.extend(name for (name,) in rows if not objects.is_of(name, now.collections, now.pods))
        await asyncio.sleep(0)
    return found


def wanted_tables(now: ShardMap, pods: Some[str], names: Iterable[str], controls: Some[str]) -> Iterator[ForeignTable]:
    """The tables of these collections and the control tables of these pods, as far as their pods can be reached."""
    for pod in controls:
        if pod in pods:
            yield objects.control(pod)
    for name in names:
        collection: Collection | None = now.collections.get(name)
        if collection is not None and collection.placement.pod in pods:
            yield from objects.tables(collection)


def _standing(name: str, server: str, options: list[str], typmod: int | None) -> ForeignTable:
    given = parsed(options)
    return ForeignTable(
        name,
        server,
        Relation(given.get("schema_name", ""), given.get("table_name", "")),
        dimension=typmod if typmod is not None and typmod > 0 else None,  # -1: the column is of text
        batch_size=int(given["batch_size"]) if "batch_size" in given else None,
    )


def _shown(table: ForeignTable) -> dict[str, str]:
    return {
        "server": table.server,
        "schema_name": table.remote.schema,
        "table_name": table.remote.name,
        "dimension": str(table.dimension),
        "batch_size": str(table.batch_size),
    }


def _differences(wanted: Mapping[str, str], standing: Mapping[str, str]) -> Iterator[str]:
    """What differs, for a person. No value is a secret."""
    for key in sorted(wanted.keys() | standing.keys()):
        if key not in standing:
            yield f"{key} is not set, should be {wanted[key]!r}"
        elif key not in wanted:
            yield f"{key} is {standing[key]!r}, should not be set"
        elif wanted[key] != standing[key]:
            yield f"{key} is {standing[key]!r}, should be {wanted[key]!r}"


def parsed(options: list[str] | None) -> dict[str, str]:
    """Options as the system catalogs have them, by name."""
    return dict(option.split("=", 1) for option in options or ())
