"""Makes the primary's views of exposures, follows what the catalog says of them, and leaves the rest alone."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable
from typing import NamedTuple

import psycopg
from podroute_router.config import Config, Database
from podroute_router.drift import PRIMARY, Drift
from podroute_router.errors import AlreadyExists, FailedPrecondition, NotFound
from podroute_router.exposures import Exposed, ExposingFacts, Exposure
from podroute_router.postgres import exposed_view
from podroute_router.postgres.connection import Connection, Row
from podroute_router.postgres.exposed_view import Kind
from podroute_router.postgres.prepare import EXPOSED_OBJECTS, OWNER
from psycopg import sql

from podroute_fdw import exposed_objects, objects
from podroute_fdw.comparison import StandingServer, parsed, server_drifts
from podroute_fdw.reconcile import as_owner, begin

_IS_PREPARED = "select exists (select from pg_namespace where nspname = $1)"
_SERVER = """
select pg_get_userbyid(s.srvowner) = current_user, coalesce(s.srvoptions, '{}'), m.umuser is not null,
       coalesce(m.umoptions, '{}')
from pg_foreign_server s
left join pg_user_mappings m on m.srvid = s.oid and m.usename = current_user
where s.srvname = $1
"""
_UNUSED_SERVERS = r"""
select s.srvname from pg_foreign_server s
where s.srvname like 'podroute\_%:exposed' and s.srvowner = $1::regrole
  and not exists (select from pg_foreign_table f where f.ftserver = s.oid)
order by 1
"""
_TABLES = """
select c.relname from pg_class c join pg_namespace n on n.oid = c.relnamespace
where n.nspname = $1 and c.relkind = 'f' and starts_with(c.relname::text, $2)
"""
_VIEWS = """
select n.nspname, c.relname, obj_description(c.oid, 'pg_class')
from pg_class c join pg_namespace n on n.oid = c.relnamespace
where c.relkind = 'v' and c.relowner = $1::regrole and obj_description(c.oid, 'pg_class') like $2
"""
_COMMENT = f"podroute {Kind.PRIMARY.value} of "
"""Begins the comments of the primary's views."""

_log = logging.getLogger(__name__)


async def look(connection: Connection, exposure: Exposure) -> ExposingFacts:
    """What the primary says before the exposure is made; raises as `exposed_view.look` does.

    Raises:
        FailedPrecondition: the primary was prepared by an earlier version.
    """
    if not await is_prepared(connection):
        raise FailedPrecondition(
            "NOT_PREPARED", f"the primary has no schema {EXPOSED_OBJECTS}; run `podroute pods prepare`"
        )
    return await exposed_view.look(connection, exposure, Kind.PRIMARY, "the primary")


async def is_prepared(connection: Connection) -> bool:
    """Whether the primary has the schema of the foreign tables."""
    row = await (await connection.execute(_IS_PREPARED, (EXPOSED_OBJECTS,))).fetchone()
    return row is not None and bool(row[0])


async def make(
    connection: Connection, config: Config, primary: Database, exposed: Exposed, revision: int | None = None
) -> bool:
    """Makes server, foreign table and view as they are wanted, or leaves them alone where they are.

    False where another router has worked by a newer map, and nothing was done.

    Args:
        connection: of the router, to the primary.
        config: where the pods are.
        primary: the primary.
        exposed: the exposure.
        revision: of the map that is worked by; None where it does not matter.

    Raises:
        AlreadyExists, FailedPrecondition: as `exposed_view.put`; or the server is someone else's.
    """
    wanted = exposed_objects.table(exposed, connection.vector_schema)
    async with connection.transaction():
        if not await begin(connection, revision):
            return False
        await _bring_server(
            connection, exposed_objects.server(config, exposed.collection.placement.pod, primary=primary)
        )
        standing = await table_names(connection, wanted.prefix)
        if wanted.name not in standing:
            await connection.execute(exposed_objects.create_table(wanted, connection.vector_schema))
        readers = await exposed_view.existing(connection, exposed.exposure.roles)
        await exposed_view.put(connection, exposed_objects.view(wanted, readers))
        for name in standing:
            if name != wanted.name:
                await connection.execute(exposed_objects.drop_table(name))
    return True


async def remove(connection: Connection, exposure: Exposure, revision: int | None = None) -> bool:
    """Drops view and foreign table, and servers that have none left; False as of `make`.

    Raises:
        FailedPrecondition: something rests on the view.
    """
    async with connection.transaction():
        if not await begin(connection, revision):
            return False
        await exposed_view.drop(connection, exposure, Kind.PRIMARY)
        for name in await table_names(connection, exposed_objects.prefix(exposure)):
            await connection.execute(exposed_objects.drop_table(name))
        for (name,) in await (await connection.execute(_UNUSED_SERVERS, (OWNER,))).fetchall():
            await connection.execute(exposed_objects.drop_server(name))  # and the password with it
    return True


class Left(NamedTuple):
    """Exposures by name that were not brought to what is wanted: for a newer map, or for what the database said."""

    passed_over: set[tuple[str, str]]
    held_up: dict[tuple[str, str], psycopg.Error]


async def follow(
    connection: Connection,
    config: Config,
    primary: Database,
    *,
    changed: Iterable[Exposed],
    gone: Iterable[Exposure],
    revision: int,
) -> Left:
    """Makes what changed and drops what is gone, each by itself: one that cannot be is logged, and the others are."""
    left = Left(set(), {})
    for exposed in changed:
        pod = exposed.collection.placement.pod
        if pod not in config.pods or config.is_on_primary(pod):
            continue
        try:
            if not await make(connection, config, primary, exposed, revision):
                left.passed_over.add(exposed.exposure.name)
        except psycopg.Error as error:
            _hold_up(left, exposed.exposure, connection, error)
        except (AlreadyExists, FailedPrecondition, NotFound) as error:
            _log.warning("the primary's view of %s was not made: %s", exposed.exposure.collection, error)
    for exposure in gone:
        try:
            if not await remove(connection, exposure, revision):
                left.passed_over.add(exposure.name)
        except psycopg.Error as error:
            _hold_up(left, exposure, connection, error)
        except FailedPrecondition as error:
            _log.warning("the primary's view of %s was not dropped: %s", exposure.collection, error)
    return left


def _hold_up(left: Left, exposure: Exposure, connection: Connection, error: psycopg.Error) -> None:
    if connection.closed:
        raise error
    left.held_up[exposure.name] = error


async def standing(connection: Connection) -> list[Exposure]:
    """The exposures whose views stand on the primary, as far as views tell; none before the preparation."""
    return [
        Exposure(collection=comment.removeprefix(_COMMENT).partition(":")[0], schema=schema, view=name)
        for schema, name, comment in await _views(connection)
    ]


async def as_wanted(
    connection: Connection, config: Config, primary: Database, exposures: Iterable[Exposed]
) -> set[tuple[str, str]]:
    """Names of those whose server, foreign table and view stand as wanted.

    All are looked at together and without the lock, for which all routers that start would queue up once an exposure.
    """
    comments = {(schema, name): comment for schema, name, comment in await _views(connection)}
    tables = set(await table_names(connection))
    readers: dict[tuple[str, ...], tuple[str, ...]] = {}
    of_pod: dict[str, set[tuple[str, str]]] = {}
    for exposed in exposures:
        exposure = exposed.exposure
        if exposure.roles not in readers:
            readers[exposure.roles] = await exposed_view.existing(connection, exposure.roles)
        wanted = exposed_objects.table(exposed, connection.vector_schema)
        view = exposed_objects.view(wanted, readers[exposure.roles])
        if wanted.name in tables and comments.get(exposure.name) == view.comment:
            of_pod.setdefault(exposed.collection.placement.pod, set()).add(exposure.name)
        await asyncio.sleep(0)
    if not of_pod:
        return set()
    async with connection.transaction():
        await as_owner(connection)
        for pod in of_pod.keys() & config.pods.keys():
            if await server_drift(connection, exposed_objects.server(config, pod, primary=primary)):
                of_pod[pod].clear()
    return {name for names in of_pod.values() for name in names}


async def _views(connection: Connection) -> list[Row]:
    """Schema, name and comment of the primary's views."""
    return await (await connection.execute(_VIEWS, (OWNER, f"{_COMMENT}%"))).fetchall()


async def table_names(connection: Connection, prefix: str = "") -> list[str]:
    """The foreign tables behind exposures that stand, those whose names begin so."""
    rows = await (await connection.execute(_TABLES, (EXPOSED_OBJECTS, prefix))).fetchall()
    return [name for (name,) in rows]


async def server_drift(connection: Connection, wanted: objects.Server) -> list[Drift]:
    """What is wrong with the server; the connection acts as podroute_owner, to whom the mapping's options show."""
    row = await (await connection.execute(_SERVER, (wanted.name,))).fetchone()
    if row is None:
        return list(server_drifts(wanted, None, OWNER))
    is_own, options, is_mapped, mapping = row
    if not is_own:
        remedy = f"as administrator: drop server {sql.Identifier(wanted.name).as_string()} cascade"
        return [Drift(where=PRIMARY, thing=f"server {wanted.name}", problem=exposed_view.TAKEN, remedy=remedy)]
    found = StandingServer(parsed(options), parsed(mapping) if is_mapped else None)
    return list(server_drifts(wanted, found, OWNER))


async def _bring_server(connection: Connection, wanted: objects.Server) -> None:
    for drift in await server_drift(connection, wanted):
        if not drift.steps:  # whoever owns it could have the password sent to a place of his choice
            raise AlreadyExists(
                "SERVER_TAKEN",
                f"the primary's server {wanted.name} belongs to someone else; podroute gives it no password",
                facts={"server": wanted.name},
            )
        for step in drift.steps:
            await connection.execute(step.statement)
