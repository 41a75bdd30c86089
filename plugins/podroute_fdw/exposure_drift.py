"""Tells what is wrong with the exposures on the primary: servers, foreign tables, views."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from podroute_router.config import Config, Database
from podroute_router.drift import PRIMARY, Drift, plain_steps
from podroute_router.exposures import Exposed, Exposure
from podroute_router.postgres import exposed_view
from podroute_router.postgres.connection import Connection
from podroute_router.postgres.prepare import EXPOSED_OBJECTS
from psycopg import sql

from podroute_fdw import exposed_objects, exposing
from podroute_fdw.reconcile import as_owner


async def inspect(
    connection: Connection, config: Config, primary: Database, exposures: Sequence[Exposed]
) -> list[Drift]:
    """What is wrong with the primary's side of the exposures; nothing is changed."""
    if not await exposing.is_prepared(connection):
        return []  # the preparation is looked at before
    known = {each.exposure.name for each in exposures}
    reached = [each for each in exposures if is_reached(config, each)]
    async with connection.transaction():
        await as_owner(connection)
        found: list[Drift] = []
        for pod in sorted({each.collection.placement.pod for each in reached}):
            found += await exposing.server_drift(connection, exposed_objects.server(config, pod, primary=primary))
        standing = set(await exposing.table_names(connection))
        for exposed in reached:
            found += await _about_exposure(connection, exposed, standing)
        found += _useless(each for each in await exposing.standing(connection) if each.name not in known)
    return found


def is_reached(config: Config, exposed: Exposed) -> bool:
    """Whether this configuration has the primary reach the collection; else it is another router's to see to."""
    pod = exposed.collection.placement.pod
    return pod in config.pods and not config.is_on_primary(pod)


async def _about_exposure(connection: Connection, exposed: Exposed, standing: set[str]) -> list[Drift]:
    wanted = exposed_objects.table(exposed, connection.vector_schema)
    found: list[Drift] = []
    if wanted.name not in standing:
        create = exposed_objects.create_table(wanted, connection.vector_schema)
        thing = f"foreign table {EXPOSED_OBJECTS}.{wanted.name}"
        found.append(Drift(where=PRIMARY, thing=thing, problem="is missing", steps=plain_steps(create)))
    readers = await exposed_view.existing(connection, exposed.exposure.roles)
    view = exposed_objects.view(wanted, readers)
    problem = await exposed_view.problem(connection, view)
    if problem is not None:
        is_taken = problem == exposed_view.TAKEN
        found.append(
            Drift(
                where=PRIMARY,
                thing=f"view {exposed.exposure.schema}.{exposed.exposure.view}",
                problem=problem,
                steps=() if is_taken else plain_steps(*exposed_view.statements(view)),
                remedy=f"rename it, or: podroute collections unexpose {exposed.collection.name}",
            )
        )
    return found


def _useless(exposures: Iterator[Exposure]) -> Iterator[Drift]:
    for exposure in exposures:
        drop = sql.SQL("drop view {}").format(exposed_view.relation(exposure).identifier).as_string()
        yield Drift(
            where=PRIMARY,
            thing=f"view {exposure.schema}.{exposure.view}",
            problem="is of no exposure",
            steps=plain_steps(drop),
        )
