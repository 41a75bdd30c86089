"""Tells what is wrong with the exposures on a pod: their views, and the indexes of their columns."""

from __future__ import annotations

from collections.abc import Sequence

from podroute_router.drift import Drift, plain_steps, pod_place
from podroute_router.exposures import Exposed
from podroute_router.postgres import exposed_view
from podroute_router.postgres.connection import Connection
from podroute_router.sql.statements import Relation
from psycopg import sql

from podroute_pgvector import exposing


async def inspect(connection: Connection, pod: str, exposures: Sequence[Exposed]) -> list[Drift]:
    """What is wrong with the pod's exposures; nothing is changed."""
    by_collection: dict[str, list[Exposed]] = {}
    for exposed in exposures:
        by_collection.setdefault(exposed.collection.name, []).append(exposed)
    found: list[Drift] = []
    for group in by_collection.values():
        found += await _about_indexes(connection, pod, group)
        for exposed in group:
            view = await exposing.wanted_view(connection, exposed)
            problem = await exposed_view.problem(connection, view)
            if problem is not None:
                found.append(_about_view(pod, view, problem))
    return found


def _about_view(pod: str, view: exposed_view.View, problem: str) -> Drift:
    is_taken = problem == exposed_view.TAKEN
    return Drift(
        where=pod_place(pod),
        thing=f"view {view.exposure.schema}.{view.exposure.view}",
        problem=problem,
        steps=() if is_taken else plain_steps(*exposed_view.statements(view)),
        remedy=f"rename it, or: podroute collections unexpose {view.exposure.collection}",
    )


async def _about_indexes(connection: Connection, pod: str, group: Sequence[Exposed]) -> list[Drift]:
    """What is wrong with the indexes that the exposures of one collection want."""
    collection = group[0].collection
    wanted = await exposing.wanted_indexes(connection, group)
    standing = await exposing.standing_indexes(connection, collection)
    found: list[Drift] = []
    for name, of in wanted.items():
        if standing.get(name):
            continue
        create = exposing.create_index(name, of)
        drop = sql.SQL("drop index concurrently {}").format(Relation(collection.placement.schema, name).identifier)
        found.append(
            Drift(
                where=pod_place(pod),
                thing=f"index {collection.placement.schema}.{name}",
                problem="is invalid: its build goes on, or was cut off" if name in standing else "is missing",
                steps=plain_steps(*([drop.as_string()] if name in standing else []), create),
            )
        )
    return found
