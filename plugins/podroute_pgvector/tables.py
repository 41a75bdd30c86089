"""Makes, drops and describes a collection's objects on its pod: the table of the vecs layout, the upsert view."""

from __future__ import annotations

from podroute_router.domain import Collection
from podroute_router.errors import AlreadyExists
from podroute_router.postgres.connection import Connection
from podroute_router.postgres.prepare import OWNER, POD_OBJECTS
from podroute_router.sql.statements import Relation, vector_type
from psycopg import sql

_DESCRIBE = """
select a.atttypmod
from pg_class c
join pg_namespace n on n.oid = c.relnamespace
join pg_attribute a on a.attrelid = c.oid and a.attname = 'vec' and not a.attisdropped
where n.nspname = $1 and c.relname = $2
"""
_ESTIMATE = """
select coalesce(sum(greatest(s.n_live_tup, c.reltuples)), 0)::bigint
from pg_stat_user_tables s join pg_class c on c.oid = s.relid
where s.schemaname = $1
"""  # a crash empties the one, the other is of the last ANALYZE


def table(collection: Collection) -> Relation:
    """The collection's table."""
    return Relation(collection.placement.schema, collection.placement.table)


def upsert_view(collection: Collection) -> Relation:
    """The view whose rule upserts; what the FDW path writes through."""
    return Relation(POD_OBJECTS, collection.name)


async def create(connection: Connection, collection: Collection) -> None:
    """Makes table and view in one transaction.

    Raises:
        AlreadyExists: a table of that name stands there with records, or with another layout.
    """
    async with connection.transaction():
        await _as_owner(connection)
        await connection.execute(
            sql.SQL(
                "create table if not exists {} "
                "(id text primary key, vec {}({}) not null, metadata jsonb not null default '{{}}'::jsonb)"
            )
            .format(
                table(collection).identifier,
                vector_type(connection.vector_schema),
                sql.Literal(collection.dimension),
            )
            .as_string()
        )
        await _check_empty(connection, collection)
        await _create_upsert_view(connection, collection)


async def drop(connection: Connection, collection: Collection) -> None:
    """Drops view and table; what is gone already is no error."""
    async with connection.transaction():
        await _as_owner(connection)
        await connection.execute(
            sql.SQL("drop view if exists {}").format(upsert_view(collection).identifier).as_string()
        )
        await connection.execute(sql.SQL("drop table if exists {}").format(table(collection).identifier).as_string())


async def record_estimate(connection: Connection, schema: str) -> int:
    """About how many records the schema's tables hold, from statistics."""
    row = await (await connection.execute(_ESTIMATE, (schema,))).fetchone()
    return int(row[0]) if row is not None else 0


async def _as_owner(connection: Connection) -> None:
    await connection.execute(sql.SQL("set local role {}").format(sql.Identifier(OWNER)).as_string())


async def _check_empty(connection: Connection, collection: Collection) -> None:
    where = table(collection)
    facts = {"collection": collection.name, "pod": collection.placement.pod}
    row = await (await connection.execute(_DESCRIBE, (where.schema, where.name))).fetchone()
    if row is None or row[0] != collection.dimension:
        raise AlreadyExists(
            "TABLE_EXISTS",
            f"the pod has a table {where.schema}.{where.name} of another layout or dimension, perhaps of a call that was "
            "cut off; use its dimension, or drop it",
            facts=facts,
        )
    found = await connection.execute(sql.SQL("select from {} limit 1").format(where.identifier).as_string())
    if found.rowcount:
        raise AlreadyExists(
            "TABLE_EXISTS", f"the pod has a table {where.schema}.{where.name} that holds records", facts=facts
        )


async def _create_upsert_view(connection: Connection, collection: Collection) -> None:
    view, base = upsert_view(collection), table(collection)
    await connection.execute(sql.SQL("drop view if exists {}").format(view.identifier).as_string())
    await connection.execute(
        sql.SQL("create view {} as select id::text as id, vec, metadata from {}")
        .format(view.identifier, base.identifier)
        .as_string()
    )
    await connection.execute(
        sql.SQL(
            "create rule upsert as on insert to {} do instead "
            "insert into {} (id, vec, metadata) values (new.id, new.vec, new.metadata) "
            "on conflict (id) do update set vec = excluded.vec, metadata = excluded.metadata"
        )
        .format(view.identifier, base.identifier)
        .as_string()
    )
