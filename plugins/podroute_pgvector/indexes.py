"""Builds, replaces and drops indexes while reads and writes go on, and tells how far a build is."""

from __future__ import annotations

import asyncio
import hashlib
import math
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager, suppress

from podroute_router.domain import (
    Collection,
    Deadline,
    Hnsw,
    Index,
    IndexMethod,
    IndexProgress,
    IvfFlat,
    Metric,
    VectorIndex,
)
from podroute_router.errors import Aborted, AlreadyExists, FailedPrecondition, NotFound, Unavailable
from podroute_router.postgres.connection import Connection
from podroute_router.postgres.pool import Pool
from podroute_router.sql.statements import OPERATOR_CLASSES, Relation
from psycopg import errors, sql

from podroute_pgvector import index_facts
from podroute_pgvector.index_facts import DEFAULT_EF_CONSTRUCTION, DEFAULT_M, Standing
from podroute_pgvector.tables import table

PROGRESS_INTERVAL_S = 1.0
"""Between two messages of progress."""
SWAP_LOCK_TIMEOUT = "250ms"
"""Calls queue up behind a swap that waits for its lock, so it waits shortly, and again after a second."""
OTHERS_LOCK_TIMEOUT = "2s"
"""Longer than autovacuum takes to give way; a build by others keeps its lock for longer."""
LEAST_LISTS = 10
MOST_LISTS = 32_768

_LOCK = "select pg_try_advisory_lock(hashtextextended($1, 0))"
_UNLOCK = "select pg_advisory_unlock(hashtextextended($1, 0))"
_PROGRESS = "select phase, blocks_done, blocks_total from pg_stat_progress_create_index where pid = $1"
_LOCK_TIMEOUT = "select set_config('lock_timeout', $1, true)"


def index_name(collection: Collection, metric: Metric, method: IndexMethod) -> str:
    """The name that vecs would give it: operator class and parameters, and seven characters that make it unique."""
    match method:
        case Hnsw():
            m, ef_construction = method.m or DEFAULT_M, method.ef_construction or DEFAULT_EF_CONSTRUCTION
            kind = f"hnsw_m{m}_efc{ef_construction}"
        case IvfFlat():
            kind = f"ivfflat_nl{method.lists}"
    return f"ix_{OPERATOR_CLASSES[metric]}_{kind}_{_unique(collection)}"


def lists_for(record_count: int) -> int:
    """How many lists an IVFFlat index of so many records has, as pgvector advises."""
    wanted = record_count // 1000 if record_count <= 1_000_000 else math.isqrt(record_count)
    return min(max(wanted, LEAST_LISTS), MOST_LISTS)


async def build(
    builds: Pool, looks: Pool, collection: Collection, index: VectorIndex, deadline: Deadline
) -> AsyncGenerator[IndexProgress | Index]:
    """Builds the index concurrently with writes; progress about once a second, then the index.

    A valid one of the same metric and parameters is left as it is, unless it is to be replaced. Invalid ones, left by
    builds that were ended, are dropped first.

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
    async with builds.connection(deadline) as builder:
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
    async with _alone(connection, collection):
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
        await _drop_concurrently(connection, collection, name)


async def _read(connection: Connection, collection: Collection) -> list[Standing]:
    return await index_facts.read(connection, collection.placement.schema, [collection.placement.table])


async def _progress(looks: Pool, pid: int, deadline: Deadline) -> IndexProgress | None:
    """How far the build is; None where that cannot be told, which is no reason to end it."""
    try:
        async with looks.connection(deadline) as connection:
            row = await (await connection.execute(_PROGRESS, (pid,))).fetchone()
    except Unavailable:
        return None
    return None if row is None else IndexProgress(phase=row[0], blocks_done=row[1] or 0, blocks_total=row[2] or 0)


@asynccontextmanager
async def _alone(connection: Connection, collection: Collection) -> AsyncIterator[None]:
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


async def _build(connection: Connection, collection: Collection, index: VectorIndex) -> Index:
    async with _alone(connection, collection):
        await _drop_leftovers(connection, collection)
        same_metric = [
            each.index
            for each in await _read(connection, collection)
            if each.index.metric is index.metric and not each.is_constraint
        ]
        if same_metric and not index.replace:
            return _fitting(same_metric, collection, index)
        method = await _settled(connection, collection, index.method)
        name = index_name(collection, index.metric, method)
        if same_metric:
            beside = _beside(collection)
            await connection.execute(_create(connection, collection, index.metric, method, beside))
            await _swap(connection, collection, [each.name for each in same_metric], beside, name)
        else:
            await connection.execute(_create(connection, collection, index.metric, method, name))
        return next(each.index for each in await _read(connection, collection) if each.index.name == name)


def _fitting(valid: list[Index], collection: Collection, index: VectorIndex) -> Index:
    """The index that stands and is as wanted; raises AlreadyExists where none is."""
    for each in valid:
        match index.method, each.method:
            case Hnsw(m=m, ef_construction=efc), Hnsw() as has:
                if (m or DEFAULT_M, efc or DEFAULT_EF_CONSTRUCTION) == (has.m, has.ef_construction):
                    return each
            case IvfFlat(lists=lists), IvfFlat() as has:
                if lists in (None, has.lists):
                    return each
    raise AlreadyExists(
        "INDEX_EXISTS",
        "the collection has an index of this metric that is of another kind or has other parameters; it can be replaced",
        facts={"collection": collection.name, "index": valid[0].name},
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
    except errors.LockNotAvailable as error:
        raise _running(collection) from error
    for name in names:
        await _drop_concurrently(connection, collection, name)


def _leftovers(found: list[Standing], collection: Collection) -> list[str]:
    beside = _beside(collection)
    return [
        each.index.name
        for each in found
        if not each.is_constraint and (not each.index.valid or each.index.name == beside)
    ]


async def _drop_concurrently(connection: Connection, collection: Collection, name: str) -> None:
    index = Relation(collection.placement.schema, name)
    await connection.execute(sql.SQL("drop index concurrently if exists {}").format(index.identifier).as_string())


async def _settled(connection: Connection, collection: Collection, method: IndexMethod) -> IndexMethod:
    """The method with every parameter that the records decide."""
    if isinstance(method, Hnsw) or method.lists is not None:
        return method
    counted = await connection.execute(sql.SQL("select count(*) from {}").format(table(collection).identifier).as_string())
    row = await counted.fetchone()
    return IvfFlat(lists=lists_for(row[0] if row is not None else 0))


async def _swap(connection: Connection, collection: Collection, old: list[str], beside: str, name: str) -> None:
    """Puts the new index in the place of the old ones, as soon as nobody keeps the table open."""
    schema = collection.placement.schema
    drops = [sql.SQL("drop index {}").format(Relation(schema, each).identifier).as_string() for each in old]
    rename = sql.SQL("alter index {} rename to {}").format(Relation(schema, beside).identifier, sql.Identifier(name))
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


def _create(connection: Connection, collection: Collection, metric: Metric, method: IndexMethod, name: str) -> str:
    match method:
        case Hnsw():
            kind = sql.SQL("hnsw")
            options = sql.SQL("m = {}, ef_construction = {}").format(
                sql.Literal(method.m or DEFAULT_M), sql.Literal(method.ef_construction or DEFAULT_EF_CONSTRUCTION)
            )
        case IvfFlat():
            kind, options = sql.SQL("ivfflat"), sql.SQL("lists = {}").format(sql.Literal(method.lists))
    statement = sql.SQL("create index concurrently {} on {} using {} (vec {}) with ({})").format(
        sql.Identifier(name),
        table(collection).identifier,
        kind,
        sql.Identifier(connection.vector_schema, OPERATOR_CLASSES[metric]),
        options,
    )
    return statement.as_string()


def _beside(collection: Collection) -> str:
    """The name of an index until it takes the place of another one. vecs does not take it for an index."""
    return f"podroute_building_{_unique(collection)}"


def _unique(collection: Collection) -> str:
    return hashlib.sha256(collection.placement.table.encode()).hexdigest()[:7]
