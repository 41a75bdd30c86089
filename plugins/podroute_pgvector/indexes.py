"""Builds, replaces and drops indexes while reads and writes go on, and tells how far a build is."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import replace

from podroute_router.domain import Collection, Deadline, Index, IndexProgress, IvfFlat, MetadataGin, WantedIndex
from podroute_router.errors import Aborted, AlreadyExists, FailedPrecondition, NotFound, PodrouteError
from podroute_router.postgres.connection import Connection
from podroute_router.postgres.pool import Pool
from podroute_router.sql.statements import Relation
from psycopg import errors, sql

from podroute_pgvector import index_facts
from podroute_pgvector.index_facts import Standing
from podroute_pgvector.index_statements import create_index, index_name, is_as_wanted, lists_for, name_beside
from podroute_pgvector.tables import needing_its_owner, table

PROGRESS_INTERVAL_S = 1.0
"""Between two messages of progress."""
SWAP_LOCK_TIMEOUT = "250ms"
"""Calls queue up behind a swap that waits for its lock, so it waits shortly, and again after a second."""
OTHERS_LOCK_TIMEOUT = "2s"
"""Longer than autovacuum takes to give way; a build by others keeps its lock for longer."""

_LOCK = "select pg_try_advisory_lock(hashtextextended($1, 0))"
_UNLOCK = "select pg_advisory_unlock(hashtextextended($1, 0))"
_PROGRESS = "select phase, blocks_done, blocks_total from pg_stat_progress_create_index where pid = $1"
_LOCK_TIMEOUT = "select set_config('lock_timeout', $1, true)"


async def build(
    builds: Pool, looks: Pool, collection: Collection, index: WantedIndex, deadline: Deadline
) -> AsyncGenerator[IndexProgress | Index]:
    """Builds the index concurrently with writes; progress about once a second, then the index.

    A valid one of the same metric (or of the metadata) and parameters is left as it is, unless it is to be replaced.
    Invalid ones, left by builds that were ended, are dropped first.

    Args:
        builds: connections without a statement timeout.
        looks: connections to look how far the build is.
        collection: whose vectors.
        index: what to build.
        deadline: the call's.

    Raises:
        AlreadyExists: the metric has a valid index of another kind or with other parameters.
        Aborted: the collection is being indexed already.
    """
    async with builds.connection(deadline, writes=True) as builder:
        task = asyncio.create_task(_build(builder, collection, index))
        try:
            while not (await asyncio.wait({task}, timeout=PROGRESS_INTERVAL_S))[0]:
                progress = await _progress(looks, builder.info.backend_pid, deadline)
                if progress is not None:
                    yield progress
            built = await task
        finally:
            if not task.done():
                task.cancel()
                with suppress(asyncio.CancelledError):
                    await task
    yield built


async def standing(connection: Connection, collection: Collection) -> list[Index]:
    """The collection's indexes by name, without those of constraints."""
    return [each.index for each in await _read(connection, collection) if not each.is_constraint]


async def drop(connection: Connection, collection: Collection, name: str) -> None:
    """Drops an index of the collection while reads and writes go on.

    Raises:
        NotFound: the collection has none of that name.
        FailedPrecondition: a constraint rests on it.
        Aborted: the collection is being indexed.
    """
    async with alone(connection, collection):
        found = [each for each in await _read(connection, collection) if each.index.name == name]
        if not found:
            raise NotFound(
                "INDEX_NOT_FOUND",
                f"collection {collection.name!r} has no index {name!r}",
                facts={"collection": collection.name, "index": name},
            )
        if found[0].is_constraint:
            raise FailedPrecondition(
                "INDEX_OF_CONSTRAINT",
                "a constraint, such as the primary key, rests on the index",
                facts={"collection": collection.name, "index": name},
            )
        with needing_its_owner(collection):
            await _drop_concurrently(connection, collection, name)


async def _read(connection: Connection, collection: Collection) -> list[Standing]:
    return await index_facts.read(connection, collection.placement.schema, [collection.placement.table])


async def _progress(looks: Pool, pid: int, deadline: Deadline) -> IndexProgress | None:
    """How far the build is; None where that cannot be told, which is no reason to end it."""
    try:
        async with asyncio.timeout(PROGRESS_INTERVAL_S), looks.connection(deadline) as connection:
            row = await (await connection.execute(_PROGRESS, (pid,))).fetchone()
    except (TimeoutError, PodrouteError):
        return None
    return None if row is None else IndexProgress(phase=row[0], blocks_done=row[1] or 0, blocks_total=row[2] or 0)


@asynccontextmanager
async def alone(connection: Connection, collection: Collection) -> AsyncIterator[None]:
    """One build a collection at a time: an index that another build is making looks invalid until it is done."""
    lock = (f"podroute index {table(collection).identifier.as_string()}",)
    row = await (await connection.execute(_LOCK, lock)).fetchone()
    if row is None or not row[0]:
        raise _running(collection)
    try:
        yield
    finally:
        if not connection.closed:
            await connection.execute(_UNLOCK, lock)


def _running(collection: Collection) -> Aborted:
    return Aborted(
        "INDEX_BUILD_RUNNING",
        "another index of the collection is being built",
        facts={"collection": collection.name},
        retry_after_s=PROGRESS_INTERVAL_S,
    )


async def _build(connection: Connection, collection: Collection, index: WantedIndex) -> Index:
    async with alone(connection, collection):
        with needing_its_owner(collection):
            return await _build_alone(connection, collection, index)


async def _build_alone(connection: Connection, collection: Collection, index: WantedIndex) -> Index:
    await _drop_leftovers(connection, collection)
    rivals = [
        each.index
        for each in await _read(connection, collection)
        if not each.is_constraint and _is_rival(each.index, index)
    ]
    if rivals and not index.replace:
        return _fitting(rivals, collection, index)
    settled = await _settled(connection, collection, index)
    name = index_name(collection, settled)
    built_as = name_beside(collection) if rivals else name
    await _create(connection, collection, settled, built_as)
    if rivals:
        await _swap(connection, collection, [each.name for each in rivals], name)
    return next(each.index for each in await _read(connection, collection) if each.index.name == name)


async def _create(connection: Connection, collection: Collection, index: WantedIndex, name: str) -> None:
    try:
        await connection.execute(create_index(collection, index, name, connection.vector_schema))
    except errors.ProgramLimitExceeded as error:
        raise FailedPrecondition(
            "INDEX_MEMORY",
            "the build needs more memory than the pod's builds have: raise pods.<name>.index_memory_mb, or ask for "
            "fewer lists",
            facts={"collection": collection.name, "pod": collection.placement.pod},
        ) from error


def _is_rival(standing: Index, wanted: WantedIndex) -> bool:
    """True where the one that stands serves what the wanted one would."""
    if isinstance(wanted.method, MetadataGin):
        return isinstance(standing.method, MetadataGin)
    return standing.metric is not None and standing.metric is wanted.metric


def _fitting(rivals: list[Index], collection: Collection, wanted: WantedIndex) -> Index:
    """The index that stands and is as wanted; raises AlreadyExists where none is."""
    for each in rivals:
        if is_as_wanted(wanted.method, each.method):
            return each
    raise AlreadyExists(
        "INDEX_EXISTS",
        "the collection has an index of this metric of another kind or with other parameters; it can be replaced",
        facts={"collection": collection.name, "index": rivals[0].name},
    )


async def _drop_leftovers(connection: Connection, collection: Collection) -> None:
    """Drops what builds left that were ended: invalid indexes, and one that was built and not put in its place.

    A build by others makes an invalid index too, but keeps a lock of the table that is asked for here.
    """
    if not _leftovers(await _read(connection, collection), collection):
        return
    try:
        async with connection.transaction():
            await connection.execute(_LOCK_TIMEOUT, (OTHERS_LOCK_TIMEOUT,))
            await connection.execute(
                sql.SQL("lock table {} in share update exclusive mode").format(table(collection).identifier).as_string()
            )
            names = _leftovers(await _read(connection, collection), collection)
    except (errors.LockNotAvailable, errors.DeadlockDetected) as error:  # the build may wait for this transaction, too
        raise _running(collection) from error
    for name in names:
        await _drop_concurrently(connection, collection, name)


def _leftovers(found: list[Standing], collection: Collection) -> list[str]:
    beside = name_beside(collection)
    return [
        each.index.name
        for each in found
        if not each.is_constraint and (not each.index.valid or each.index.name == beside)
    ]


async def _drop_concurrently(connection: Connection, collection: Collection, name: str) -> None:
    index = Relation(collection.placement.schema, name)
    await connection.execute(sql.SQL("drop index concurrently if exists {}").format(index.identifier).as_string())


async def _settled(connection: Connection, collection: Collection, index: WantedIndex) -> WantedIndex:
    """The index with every parameter that the records decide."""
    if not isinstance(index.method, IvfFlat) or index.method.lists is not None:
        return index
    count = sql.SQL("select count(*) from {}").format(table(collection).identifier)
    row = await (await connection.execute(count.as_string())).fetchone()
    return replace(index, method=IvfFlat(lists=lists_for(row[0] if row is not None else 0)))


async def _swap(connection: Connection, collection: Collection, old: list[str], name: str) -> None:
    """Puts the new index in the place of the old ones, as soon as nobody keeps the table open."""
    schema = collection.placement.schema
    drops = [sql.SQL("drop index if exists {}").format(Relation(schema, each).identifier).as_string() for each in old]
    beside = Relation(schema, name_beside(collection))
    rename = sql.SQL("alter index {} rename to {}").format(beside.identifier, sql.Identifier(name))
    while True:
        try:
            async with connection.transaction():
                await connection.execute(_LOCK_TIMEOUT, (SWAP_LOCK_TIMEOUT,))
                for statement in (*drops, rename.as_string()):
                    await connection.execute(statement)
        except errors.LockNotAvailable:
            await asyncio.sleep(PROGRESS_INTERVAL_S)
        else:
            return
