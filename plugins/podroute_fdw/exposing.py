"""Makes the primary's views of exposures, follows what the catalog says of them, and leaves the rest alone."""

from __future__ import annotations

import logging
from collections.abc import Iterable

from podroute_router.config import Config, Database
from podroute_router.drift import Drift
from podroute_router.errors import AlreadyExists, FailedPrecondition, NotFound
from podroute_router.exposures import Exposed, ExposingFacts, Exposure
from podroute_router.postgres import exposed_view
from podroute_router.postgres.connection import Connection
from podroute_router.postgres.exposed_view import Kind
from podroute_router.postgres.prepare import EXPOSED_OBJECTS, OWNER

from podroute_fdw import exposed_objects, objects
from podroute_fdw.comparison import StandingServer, parsed, server_drifts
from podroute_fdw.reconcile import begin

_IS_PREPARED = "select exists (select from pg_namespace where nspname = $1)"
_SERVER = """
select coalesce(s.srvoptions, '{}'), m.umuser is not null, coalesce(m.umoptions, '{}')
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
where n.nspname = $1 and c.relkind = 'f'
"""
_VIEWS = """
select n.nspname, c.relname, obj_description(c.oid, 'pg_class')
from pg_class c join pg_namespace n on n.oid = c.relnamespace
where c.relkind = 'v' and c.relowner = $1::regrole and obj_description(c.oid, 'pg_class') like $2
"""

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
) -> None:
    """Makes server, foreign table and view as they are wanted, or leaves them alone where they are.

    Args:
        connection: of the router, to the primary.
        config: where the pods are.
        primary: the primary.
        exposed: the exposure.
        revision: of the catalog that it is from; where another router has brought the primary further, it knows better.

    Raises:
        AlreadyExists, FailedPrecondition: as `exposed_view.put`.
    """
    wanted = exposed_objects.table(exposed, connection.vector_schema)
    async with connection.transaction():
        if not await begin(connection, revision):
            return
        await _bring_server(
            connection, exposed_objects.server(config, exposed.collection.placement.pod, primary=primary)
        )
        standing = [name for name in await table_names(connection) if name.startswith(wanted.prefix)]
        if wanted.name not in standing:
            await connection.execute(exposed_objects.create_table(wanted, connection.vector_schema))
        readers = await exposed_view.existing(connection, exposed.exposure.roles)
        await exposed_view.put(connection, exposed_objects.view(wanted, readers))
        for name in standing:
            if name != wanted.name:
                await connection.execute(exposed_objects.drop_table(name))


async def remove(connection: Connection, exposure: Exposure, revision: int | None = None) -> None:
    """Drops view and foreign table, and servers that have none left.

    Raises:
        FailedPrecondition: something rests on the view.
    """
    async with connection.transaction():
        if not await begin(connection, revision):
            return
        await exposed_view.drop(connection, exposure, Kind.PRIMARY)
        for name in await table_names(connection):
            if name.startswith(exposed_objects.prefix(exposure)):
                await connection.execute(exposed_objects.drop_table(name))
        for (name,) in await (await connection.execute(_UNUSED_SERVERS, (OWNER,))).fetchall():
            await connection.execute(exposed_objects.drop_server(name))  # and the password with it


async def follow(
    connection: Connection,
    config: Config,
    primary: Database,
    *,
    changed: Iterable[Exposed],
    gone: Iterable[Exposure],
    revision: int | None,
) -> None:
    """Makes what changed and drops what is gone, each by itself: one that cannot be is logged, and the others are."""
    for exposed in changed:
        pod = exposed.collection.placement.pod
        if pod not in config.pods or config.is_on_primary(pod):
            continue
        try:
            await make(connection, config, primary, exposed, revision)
        except (AlreadyExists, FailedPrecondition, NotFound) as error:
            _log.warning("the primary's view of %s was not made: %s", exposed.exposure.collection, error)
    for exposure in gone:
        try:
            await remove(connection, exposure, revision)
        except FailedPrecondition as error:
            _log.warning("the primary's view of %s was not dropped: %s", exposure.collection, error)


async def standing(connection: Connection) -> list[Exposure]:
    """The exposures whose views stand on the primary, as far as views tell; none before the preparation."""
    start = f"podroute {Kind.PRIMARY.value} of "
    rows = await (await connection.execute(_VIEWS, (OWNER, f"{start}%"))).fetchall()
    return [
        Exposure(collection=comment.removeprefix(start).partition(":")[0], schema=schema, view=name)
        for schema, name, comment in rows
    ]


async def table_names(connection: Connection) -> list[str]:
    """The foreign tables behind exposures that stand."""
    rows = await (await connection.execute(_TABLES, (EXPOSED_OBJECTS,))).fetchall()
    return [name for (name,) in rows]


async def server_drift(connection: Connection, wanted: objects.Server) -> list[Drift]:
    """What is wrong with the server; the connection acts as podroute_owner, to whom the mapping's options show."""
    row = await (await connection.execute(_SERVER, (wanted.name,))).fetchone()
    if row is None:
        return list(server_drifts(wanted, None, OWNER))
    options, is_mapped, mapping = row
    found = StandingServer(parsed(options), parsed(mapping) if is_mapped else None)
    return list(server_drifts(wanted, found, OWNER))


async def _bring_server(connection: Connection, wanted: objects.Server) -> None:
    for drift in await server_drift(connection, wanted):
        for step in drift.steps:
            await connection.execute(step.statement)
