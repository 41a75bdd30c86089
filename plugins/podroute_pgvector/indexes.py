"""Builds HNSW indexes while writes go on, and tells how far a build is."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncGenerator
from contextlib import suppress

from podroute_router.domain import Collection, Deadline, HnswIndex, Index, IndexProgress
from podroute_router.errors import Aborted, AlreadyExists, Unavailable
from podroute_router.postgres.connection import Connection
from podroute_router.postgres.pool import Pool
from podroute_router.sql.statements import OPERATOR_CLASSES, Relation
from psycopg import sql

from podroute_pgvector.tables import table

PROGRESS_INTERVAL_S = 1.0
"""Between two messages of progress."""
DEFAULT_M = 16
DEFAULT_EF_CONSTRUCTION = 64

_EXISTING = """
select c.relname, i.indisvalid
from pg_index i
join pg_class c on c.oid = i.indexrelid
join pg_am a on a.oid = c.relam and a.amname = 'hnsw'
join pg_opclass o on o.oid = i.indclass[0] and o.opcname = $2
where i.indrelid = $1::regclass
"""
_LOCK = "select pg_try_advisory_lock(hashtextextended($1, 0))"
_UNLOCK = "select pg_advisory_unlock(hashtextextended($1, 0))"
_PROGRESS = "select phase, blocks_done, blocks_total from pg_stat_progress_create_index where pid = $1"


def index_name(collection: Collection, index: HnswIndex) -> str:
    """The name that vecs would give it: operator class and parameters, and seven characters that make it unique."""
    m, ef_construction = index.m or DEFAULT_M, index.ef_construction or DEFAULT_EF_CONSTRUCTION
    unique = hashlib.sha256(collection.placement.table.encode()).hexdigest()[:7]
    return f"ix_{OPERATOR_CLASSES[index.metric]}_hnsw_m{m}_efc{ef_construction}_{unique}"


async def build(
    builds: Pool, looks: Pool, collection: Collection, index: HnswIndex, deadline: Deadline
) -> AsyncGenerator[IndexProgress | Index]:
    """Builds the index concurrently with writes; progress about once a second, then the index.

    One that stands and is valid is left as it is. An invalid one, left by a build that was ended, is replaced.

    Args:
        builds: connections without a statement timeout.
        looks: connections to look how far the build is.
        collection: whose vectors.
        index: what to build.
        deadline: the call's.

    Raises:
        AlreadyExists: the metric has a valid index with other parameters.
    """
    name = index_name(collection, index)
    async with builds.connection(deadline) as builder:
        task = asyncio.create_task(_build(builder, collection, index, name))
        try:
            while not (await asyncio.wait({task}, timeout=PROGRESS_INTERVAL_S))[0]:
                progress = await _progress(looks, builder.info.backend_pid, deadline)
                if progress is not None:
                    yield progress
            await task
        finally:
            if not task.done():
                task.cancel()
                with suppress(asyncio.CancelledError):
                    await task
    yield Index(name=name, metric=index.metric)


async def _progress(looks: Pool, pid: int, deadline: Deadline) -> IndexProgress | None:
    """How far the build is; None where that cannot be told, which is no reason to end it."""
    try:
        async with looks.connection(deadline) as connection:
            row = await (await connection.execute(_PROGRESS, (pid,))).fetchone()
    except Unavailable:
        return None
    return None if row is None else IndexProgress(phase=row[0], blocks_done=row[1] or 0, blocks_total=row[2] or 0)


async def _build(connection: Connection, collection: Collection, index: HnswIndex, name: str) -> None:
    # One build a collection at a time: an index that another build is making looks invalid until it is done.
    lock = (f"podroute index {table(collection).identifier.as_string()}",)
    row = await (await connection.execute(_LOCK, lock)).fetchone()
    if row is None or not row[0]:
        raise Aborted(
            "INDEX_BUILD_RUNNING",
            "another index of the collection is being built",
            facts={"collection": collection.name},
            retry_after_s=PROGRESS_INTERVAL_S,
        )
    try:
        await _build_locked(connection, collection, index, name)
    finally:
        if not connection.closed:
            await connection.execute(_UNLOCK, lock)


async def _build_locked(connection: Connection, collection: Collection, index: HnswIndex, name: str) -> None:
    standing = await connection.execute(
        _EXISTING, (table(collection).identifier.as_string(), OPERATOR_CLASSES[index.metric])
    )
    rows = await standing.fetchall()
    for other, valid in rows:
        if valid and other != name:
            raise AlreadyExists(
                "INDEX_EXISTS",
                "the collection has an HNSW index of this metric with other parameters",
                facts={"collection": collection.name, "index": other},
            )
    if (name, True) in rows:
        return
    for other, _ in rows:
        invalid = Relation(collection.placement.schema, other)
        await connection.execute(sql.SQL("drop index concurrently if exists {}").format(invalid.identifier).as_string())
    await connection.execute(_create(connection, collection, index, name))


def _create(connection: Connection, collection: Collection, index: HnswIndex, name: str) -> str:
    statement = sql.SQL(
        "create index concurrently {} on {} using hnsw (vec {}) with (m = {}, ef_construction = {})"
    ).format(
        sql.Identifier(name),
        table(collection).identifier,
        sql.Identifier(connection.vector_schema, OPERATOR_CLASSES[index.metric]),
        sql.Literal(index.m or DEFAULT_M),
        sql.Literal(index.ef_construction or DEFAULT_EF_CONSTRUCTION),
    )
    return statement.as_string()
