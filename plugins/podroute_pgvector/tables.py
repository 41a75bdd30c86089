"""Makes, drops and describes a collection's objects on its pod: the table of the vecs layout, the upsert view."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from podroute_router.backend import Confirm, Register
from podroute_router.domain import Collection
from podroute_router.errors import AlreadyExists, FailedPrecondition
from podroute_router.postgres.connection import Connection
from podroute_router.postgres.prepare import OWNER, POD_OBJECTS
from podroute_router.sql.statements import Relation, vector_type
from psycopg import errors, sql

_STANDS = "select from pg_class where relnamespace = $1::regnamespace and relname = $2"
_IS_OURS = """
select from pg_class c
where c.relnamespace = $1::regnamespace and c.relname = $2 and c.relkind = 'r' and c.relowner = $3::regrole
  and not exists (select from pg_rewrite where ev_class = c.oid)
  and not exists (select from pg_trigger where tgrelid = c.oid)
"""  # what another role made could hold code of its own, which would run as the router
_LOCK = sql.SQL("lock table {} in access exclusive mode")
_LOCK_LIGHTLY = sql.SQL("lock table {} in share update exclusive mode")
_LOCK_TIMEOUT = "select set_config('lock_timeout', $1, true)"
PATIENCE = "2s"
"""For a lock: more than deadlock_timeout, after which autovacuum gives way."""
TRIES = ("250ms", "250ms", "500ms")
"""For a lock that others queue up behind. Statements that take longer than the last, one after the other, keep it."""
PAUSE_S = 0.25
"""Between two tries."""
_HELD_BY_A_FROZEN_ROUTER = "set local idle_in_transaction_session_timeout = '10s'"
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


async def create(connection: Connection, collection: Collection, register: Register | None = None) -> None:
    """Makes table and view in one transaction.

    A table of ours that is empty, left by a call that was cut off, is made anew. For `register` see
    `backend.CollectionStore`: with it no table stands that the catalog does not know. A router with an older map, which
    has the collection here still, would write to such a one, and acknowledge what nobody else will ever see.

    Raises:
        AlreadyExists: a table of that name is not ours, or holds records; or another call is making it.
    """
    try:
        async with connection.transaction():
            await begin(connection)
            await _drop_leftover(connection, collection)
            await connection.execute(_create_table(connection, collection))
            await create_upsert_view(connection, collection)
            if register is not None:
                await connection.execute(_HELD_BY_A_FROZEN_ROUTER)
                await register()
    except (errors.UniqueViolation, errors.DuplicateObject, errors.DuplicateTable) as error:
        raise AlreadyExists(
            "COLLECTION_EXISTS", f"another call is making collection {collection.name!r}", facts=_facts(collection)
        ) from error
    except errors.DependentObjectsStillExist as error:  # such as the upsert view of a collection of another name
        where = table(collection)
        raise AlreadyExists(
            "TABLE_EXISTS",
            f"the pod has a table {where.schema}.{where.name} that something rests on",
            facts=_facts(collection),
        ) from error


def _create_table(connection: Connection, collection: Collection) -> str:
    # Sorted by code point: a scan reads the index of the key in its order, which is the same on every pod.
    return (
        sql.SQL(
            'create table {} (id text collate pg_catalog."C" primary key, vec {}({}) not null, '
            "metadata jsonb not null default '{{}}'::jsonb)"
        )
        .format(table(collection).identifier, vector_type(connection.vector_schema), sql.Literal(collection.dimension))
        .as_string()
    )


async def drop(connection: Connection, collection: Collection, confirm: Confirm | None = None) -> None:
    """Drops view and table; what is gone already is no error. For `confirm` see `backend.CollectionStore`.

    Raises:
        Unavailable: someone keeps reading it.
        FailedPrecondition: something rests on the table; or it was adopted, and podroute has not its owner's rights.
    """
    try:
        with needing_its_owner(collection):
            await _drop(connection, collection, confirm)
    except errors.DependentObjectsStillExist as error:
        raise FailedPrecondition(
            "TABLE_HAS_DEPENDENTS",
            "views or other objects rest on the collection's table; drop them first (the view of an exposure that was "
            "cut off: expose the collection so again, then unexpose it)",
            facts=_facts(collection),
        ) from error


@contextmanager
def needing_its_owner(collection: Collection) -> Iterator[None]:
    """Around what only the owner of a table may do; one that was adopted may be another's."""
    try:
        yield
    except errors.InsufficientPrivilege as error:
        raise FailedPrecondition(
            "TABLE_NOT_OWNED",
            "podroute has not the rights of the table's owner, which indexing and deleting need",
            facts=_facts(collection),
        ) from error


async def _drop(connection: Connection, collection: Collection, confirm: Confirm | None) -> None:
    async with connection.transaction():
        await begin(connection)
        # Locked first: what stands now is then what is dropped. Else a deletion that was held up here could drop the
        # table of a collection that was deleted and made anew meanwhile, with records that were acknowledged.
        standing = [each for each in (upsert_view(collection), table(collection)) if await _stands(connection, each)]
        await connection.execute(_HELD_BY_A_FROZEN_ROUTER)
        if standing:
            await _lock_in_tries(connection, standing)
        if confirm is not None and not (standing and await confirm()):
            return
        for statement in _drops(collection):
            await connection.execute(statement)


async def _lock_in_tries(connection: Connection, standing: Sequence[Relation]) -> None:
    """Locks what is in use, and holds others up for a moment at a time.

    Calls on the collection queue up behind the lock while it is waited for, and fill the pool, so that calls on other
    collections wait for a place too. They go on between two tries.
    """
    # No call waits for this one. It conflicts with maintenance: autovacuum, which gives way, or a build of an index.
    await connection.execute(_statement(_LOCK_LIGHTLY, standing[-1]))
    for number, timeout in enumerate(TRIES, start=1):
        try:
            async with connection.transaction():
                await connection.execute(_LOCK_TIMEOUT, (timeout,))
                for each in standing:  # the view first, as a write through it does
                    await connection.execute(_statement(_LOCK, each))
        except errors.LockNotAvailable:
            if number == len(TRIES):
                raise
            await asyncio.sleep(PAUSE_S)
        else:
            break
    # A try that went well leaves its own; and what is dropped has a TOAST table, which autovacuum may be at.
    await connection.execute(_LOCK_TIMEOUT, (PATIENCE,))


async def record_estimate(connection: Connection, schema: str) -> int:
    """About how many records the schema's tables hold, from statistics."""
    row = await (await connection.execute(_ESTIMATE, (schema,))).fetchone()
    return int(row[0]) if row is not None else 0


async def begin(connection: Connection) -> None:
    """Acts as the owner until the transaction ends, and waits for locks with patience of its own."""
    await connection.execute(_LOCK_TIMEOUT, (PATIENCE,))
    await connection.execute(sql.SQL("set local role {}").format(sql.Identifier(OWNER)).as_string())


async def _drop_leftover(connection: Connection, collection: Collection) -> None:
    """Drops an empty table of ours that stands in the way; raises AlreadyExists where it is not that."""
    where = table(collection)
    if not await _stands(connection, where):
        return
    if not (await connection.execute(_IS_OURS, (where.schema, where.name, OWNER))).rowcount:
        raise AlreadyExists(
            "TABLE_EXISTS",
            f"the pod has a table {where.schema}.{where.name} that podroute did not make",
            facts=_facts(collection),
        )
    # Locked first: another call may be making the same collection, and records may be on their way.
    await connection.execute(_statement(_LOCK, where))
    found = await connection.execute(sql.SQL("select from {} limit 1").format(where.identifier).as_string())
    if found.rowcount:
        raise AlreadyExists(
            "TABLE_EXISTS",
            f"the pod has a table {where.schema}.{where.name} that holds records",
            facts=_facts(collection),
        )
    for statement in _drops(collection):
        await connection.execute(statement)


async def _stands(connection: Connection, where: Relation) -> bool:
    return bool((await connection.execute(_STANDS, (where.schema, where.name))).rowcount)


def _statement(template: sql.SQL, where: Relation) -> str:
    return template.format(where.identifier).as_string()


def _drops(collection: Collection) -> list[str]:
    return [
        sql.SQL("drop view if exists {}").format(upsert_view(collection).identifier).as_string(),
        sql.SQL("drop table if exists {}").format(table(collection).identifier).as_string(),
    ]


def _facts(collection: Collection) -> dict[str, str]:
    return {"collection": collection.name, "pod": collection.placement.pod}


async def create_upsert_view(connection: Connection, collection: Collection) -> None:
    """Makes the view anew, whatever it was over."""
    for statement in upsert_view_statements(collection):
        await connection.execute(statement)


def upsert_view_statements(collection: Collection) -> tuple[str, ...]:
    """What makes the view anew."""
    view, base = upsert_view(collection), table(collection)
    return (
        sql.SQL("drop view if exists {}").format(view.identifier).as_string(),
        sql.SQL("create view {} as select id::text as id, vec, metadata from {}")
        .format(view.identifier, base.identifier)
        .as_string(),
        sql.SQL(
            "create rule upsert as on insert to {} do instead "
            "insert into {} (id, vec, metadata) values (new.id, new.vec, new.metadata) "
            "on conflict (id) do update set vec = excluded.vec, metadata = excluded.metadata"
        )
        .format(view.identifier, base.identifier)
        .as_string(),
    )
