"""Tells what is wrong on a pod: whether it is prepared, and whether its collections have all that belongs to them."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Iterator, Sequence

import psycopg
from podroute_router.domain import Collection
from podroute_router.drift import Drift, Extension, Inspection, plain_steps, pod_place
from podroute_router.postgres.connection import Connection, Row
from podroute_router.postgres.prepare import (
    COLLECTIONS,
    CONTROL_FUNCTION,
    CONTROL_VIEW,
    OWNER,
    POD_OBJECTS,
    READER,
    control_body,
    control_objects,
)
from psycopg import sql

from podroute_pgvector import index_facts
from podroute_pgvector.tables import begin, table, upsert_view_statements

PREPARE = "podroute pods prepare --pod"
_log = logging.getLogger(__name__)

COLLECTIONS_AT_A_TIME = 100
"""Compared before other tasks get their turn."""

_VECTOR = """
select e.extversion, n.nspname from pg_extension e join pg_namespace n on n.oid = e.extnamespace
where e.extname = 'vector'
"""
_ROLES = "select rolname, pg_has_role(session_user, oid, 'member') from pg_roles where rolname = any($1)"
_SCHEMAS = """
select nspname, nspowner::regrole::text,
       has_schema_privilege($2, oid, 'usage') and has_schema_privilege($2, oid, 'create'),
       has_schema_privilege($3, oid, 'usage'), pg_has_role($2, nspowner, 'usage')
from pg_namespace where nspname = any($1)
"""
_CONTROL = """
select (select relowner::regrole::text from pg_class
        where relnamespace = $1::regnamespace and relname = $2 and relkind = 'v'),
       (select proowner::regrole::text from pg_proc
        where pronamespace = $1::regnamespace and proname = $3 and pronargs = 0),
       (select prosrc from pg_proc where pronamespace = $1::regnamespace and proname = $3 and pronargs = 0),
       exists (
           select from pg_trigger t
           join pg_class v on v.oid = t.tgrelid and v.relnamespace = $1::regnamespace and v.relname = $2
           join pg_proc f on f.oid = t.tgfoid and f.pronamespace = $1::regnamespace and f.proname = $3
           where t.tgname = $3 and t.tgenabled <> 'D'
       )
"""
_TABLES = """
select c.relname, c.relkind = 'r', t.typname, a.atttypmod, pg_has_role($3, c.relowner, 'usage'),
       has_table_privilege($4, c.oid, 'select'),
       array(
           select p from unnest(array['select', 'insert', 'update', 'delete']) p
           where not has_table_privilege($3, c.oid, p)
       )
from pg_class c
left join pg_attribute a on a.attrelid = c.oid and a.attname = 'vec' and not a.attisdropped
left join pg_type t on t.oid = a.atttypid
where c.relnamespace = $1::regnamespace and c.relname = any($2)
"""
_VIEWS = """
select v.relname, exists (select from pg_rewrite r where r.ev_class = v.oid and r.rulename = 'upsert'),
       array(
           select format('%I.%I', n.nspname, t.relname)
           from pg_class t join pg_namespace n on n.oid = t.relnamespace
           where t.oid <> v.oid and t.oid in (
               select d.refobjid from pg_rewrite r
               join pg_depend d on d.classid = 'pg_rewrite'::regclass and d.objid = r.oid
                    and d.refclassid = 'pg_class'::regclass
               where r.ev_class = v.oid
           )
       ),
       format('%I.%I', $3::text, ($4::text[])[array_position($2::text[], v.relname::text)]),
       v.relowner::regrole::text
from pg_class v
where v.relnamespace = $1::regnamespace and v.relkind = 'v' and v.relname = any($2::text[])
"""


async def inspect(connection: Connection, pod: str, collections: Sequence[Collection]) -> Inspection:
    """What is wrong on the pod and with these collections, which are placed there; nothing is changed.

    Further objects of a pod, such as exposures, are compared here too, each kind by a function of its own.
    """
    where = pod_place(pod)
    [(version, schema)] = await (await connection.execute(_VECTOR)).fetchall()
    drifts = await _preparation(connection, where)
    if not any(drift.remedy == PREPARE for drift in drifts):  # else some of what follows cannot be looked at
        drifts += await _control(connection, where)
        for start in range(0, len(collections), COLLECTIONS_AT_A_TIME):
            drifts += await _collections(connection, where, collections[start : start + COLLECTIONS_AT_A_TIME])
            await asyncio.sleep(0)
    return Inspection(drifts=tuple(drifts), extensions={where: Extension(version, schema)})


async def mend(connection: Connection, drifts: Iterable[Drift]) -> None:
    """Runs the steps of what was found on the pod, each drift in a transaction of its own; one may fail."""
    for drift in drifts:
        if drift.steps:
            try:
                async with connection.transaction():
                    await begin(connection)
                    for step in drift.steps:
                        await connection.execute(step.statement)
            except psycopg.Error as error:
                if connection.closed:
                    raise
                _log.warning("%s: %s was not mended: %s", drift.where, drift.thing, error)


async def _preparation(connection: Connection, where: str) -> list[Drift]:
    """Roles, schemas and the rights on them."""
    rows = await (await connection.execute(_ROLES, ([OWNER, READER],))).fetchall()
    roles: dict[str, bool] = dict(rows)
    missing = [name for name in (OWNER, READER) if name not in roles]
    if missing:
        return [Drift(where=where, thing=f"role {name}", problem="is missing", remedy=PREPARE) for name in missing]
    drifts = []
    if not roles[OWNER]:
        problem = "the router's role is no member of it"
        drifts.append(Drift(where=where, thing=f"role {OWNER}", problem=problem, remedy=PREPARE))
    rows = await (await connection.execute(_SCHEMAS, ([COLLECTIONS, POD_OBJECTS], OWNER, READER))).fetchall()
    schemas = {row[0]: row[1:] for row in rows}
    for name in (COLLECTIONS, POD_OBJECTS):
        drifts += _schema(where, name, schemas.get(name))
    return drifts


def _schema(where: str, name: str, row: Row | None) -> Iterator[Drift]:
    thing = f"schema {name}"
    if row is None:
        yield Drift(where=where, thing=thing, problem="is missing", remedy=PREPARE)
        return
    owner, owner_may, reader_may, is_owned = row
    if name == POD_OBJECTS and owner != OWNER:
        yield Drift(where=where, thing=thing, problem=f"belongs to {owner}", remedy=PREPARE)
    if not owner_may:
        yield Drift(where=where, thing=thing, problem=f"{OWNER} may not use it, or not create there", remedy=PREPARE)
    if name == COLLECTIONS and not reader_may:
        grant = sql.SQL("grant usage on schema {} to {}").format(sql.Identifier(name), sql.Identifier(READER))
        yield Drift(
            where=where,
            thing=thing,
            problem=f"{READER} may not use it",
            steps=plain_steps(grant.as_string()) if is_owned else (),
            remedy=f"as administrator: {grant.as_string()}",
        )


async def _control(connection: Connection, where: str) -> list[Drift]:
    """The view that settings go through on the FDW path."""
    arguments = (POD_OBJECTS, CONTROL_VIEW, CONTROL_FUNCTION)
    rows = await (await connection.execute(_CONTROL, arguments)).fetchall()
    [(view_owner, function_owner, body, has_trigger)] = rows
    view, function = f"view {POD_OBJECTS}.{CONTROL_VIEW}", f"function {POD_OBJECTS}.{CONTROL_FUNCTION}()"
    owners = {view: view_owner, function: function_owner}
    foreign = {thing: owner for thing, owner in owners.items() if owner not in (None, OWNER)}
    if foreign:  # not podroute's to replace
        return [
            Drift(where=where, thing=thing, problem=f"belongs to {owner}", remedy=PREPARE)
            for thing, owner in foreign.items()
        ]
    problems = [(thing, "is missing") for thing, owner in owners.items() if owner is None]
    if body not in (None, control_body()):
        problems.append((function, "is not that of this version"))
    if not problems and not has_trigger:
        problems.append((f"trigger {CONTROL_FUNCTION} of {view}", "is missing or disabled"))
    steps = plain_steps(*(statement.as_string() for statement in control_objects()))
    return [Drift(where=where, thing=thing, problem=problem, steps=steps) for thing, problem in problems]


async def _collections(connection: Connection, where: str, collections: Sequence[Collection]) -> list[Drift]:
    """Tables, rights on them, views and indexes."""
    drifts: list[Drift] = []
    by_schema: dict[str, list[Collection]] = {}
    for collection in collections:
        by_schema.setdefault(collection.placement.schema, []).append(collection)
    for schema, placed in by_schema.items():
        names = [each.placement.table for each in placed]
        rows = await (await connection.execute(_TABLES, (schema, names, OWNER, READER))).fetchall()
        tables = {row[0]: row[1:] for row in rows}
        arguments = (POD_OBJECTS, [each.name for each in placed], schema, names)
        rows = await (await connection.execute(_VIEWS, arguments)).fetchall()
        views = {row[0]: row[1:] for row in rows}
        indexed: dict[str, list[bool]] = {}
        for standing in await index_facts.read(connection, schema, names):
            if standing.index.metric is not None:
                indexed.setdefault(standing.table, []).append(standing.index.valid)
        for each in placed:
            row = tables.get(each.placement.table)
            if row is None or not row[0]:
                drifts.append(_lost(where, each, "is missing" if row is None else "is no table"))
                continue
            drifts += _table(where, each, row[1:])
            drifts += _view(where, each, views.get(each.name))
            drifts += _indexes(where, each, indexed.get(each.placement.table, []))
    return drifts


def _lost(where: str, collection: Collection, problem: str) -> Drift:
    return Drift(
        where=where,
        thing=_thing(collection),
        problem=problem,
        remedy=f"restore it from a backup, or: podroute collections delete {collection.name}",
    )


def _table(where: str, collection: Collection, row: Row) -> Iterator[Drift]:
    type_name, modifier, is_owned, reader_may, missing = row
    if type_name != "vector" or modifier != collection.dimension:
        found = f"has vectors of {modifier} components" if type_name == "vector" else "has no column vec of type vector"
        yield _lost(where, collection, f"{found}, the catalog says {collection.dimension}")
    text, owner = table(collection).identifier.as_string(), sql.Identifier(OWNER).as_string()
    if missing:
        rights = ", ".join(missing)
        yield Drift(
            where=where,
            thing=_thing(collection),
            problem=f"{OWNER} may not {rights}",
            remedy=f"as administrator: grant {rights} on {text} to {owner}",
        )
    if is_owned and not reader_may:
        grant = sql.SQL("grant select on {} to {}").format(table(collection).identifier, sql.Identifier(READER))
        yield Drift(
            where=where,
            thing=_thing(collection),
            problem=f"{READER} may not read it",
            steps=plain_steps(grant.as_string()),
        )


def _view(where: str, collection: Collection, row: Row | None) -> Iterator[Drift]:
    problem = None
    if row is None:
        problem = "is missing"
    else:
        has_rule, over, wanted, owner = row
        if owner != OWNER:
            problem = f"belongs to {owner}"
        elif over != [wanted]:
            problem = f"is over {', '.join(over) or 'no table'}, should be over {wanted}"
        elif not has_rule:
            problem = "has no rule that upserts"
    if problem is not None:
        thing = f"view {POD_OBJECTS}.{collection.name}"
        yield Drift(where=where, thing=thing, problem=problem, steps=plain_steps(*upsert_view_statements(collection)))


def _indexes(where: str, collection: Collection, validity: Sequence[bool]) -> Iterator[Drift]:
    if True in validity:
        return
    problem = "has an invalid index of its vectors only" if validity else "has no index of its vectors"
    yield Drift(
        where=where,
        thing=_thing(collection),
        problem=f"{problem}: every query reads all records",
        remedy=f"podroute collections index {collection.name}",
        is_note=True,
    )


def _thing(collection: Collection) -> str:
    return f"table {collection.placement.schema}.{collection.placement.table}"
