"""Writes that nobody commits but a caller who still waits for them.

A statement that commits by itself may lie before a server that stands still, or on a line that does, and be run long
after its caller gave it up: after the call that he made in its place, and after others that he wrote then over another
path or router, which it undoes. Here the COMMIT goes out when the statement's answer is in. Where that is not awaited
any more there is none. Where the COMMIT itself is late the records are locked meanwhile: the same write, repeated,
waits until it is done or taken back, and so does every other one, but for a deletion or an update of a record that only
the late one would make. Such a one finds nothing and goes by; for so long as a server lets a transaction stand
(`access.UNCOMMITTED_S`) the late one may follow it.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress

import psycopg
from psycopg import generators
from psycopg.abc import PQGen
from psycopg.errors import error_from_result
from psycopg.pq import ExecStatus, Format
from psycopg.pq.abc import PGresult

from podroute_router.postgres.arrays import Encoded
from podroute_router.postgres.connection import Connection

_DOUBTFUL = "a COMMIT was cancelled, which a pod behind the server may have done already"


@asynccontextmanager
async def transaction(connection: Connection) -> AsyncIterator[None]:
    """A transaction of several statements.

    Raises:
        psycopg.OperationalError: the server was asked to give up the COMMIT, which a pod behind it may have done.
    """
    is_committing = False
    try:
        async with connection.transaction():
            try:
                yield
            except asyncio.CancelledError:
                connection.abandon()  # psycopg would wait for a ROLLBACK, of a server that may be frozen
                raise
            is_committing = True
    except psycopg.errors.QueryCanceled as error:
        if not is_committing:
            raise
        raise psycopg.OperationalError(_DOUBTFUL) from error


async def write(connection: Connection, statement: str, parameters: Sequence[object]) -> int:
    """How many records one of the statements of a transaction wrote."""
    cursor = await connection.execute(statement, parameters, prepare=True, binary=True)
    return cursor.rowcount


async def write_alone(connection: Connection, statement: str, parameters: Sequence[Encoded]) -> int:
    """How many records a statement wrote, in a transaction of its own.

    In two turns, one less than psycopg takes for a transaction, as BEGIN and statement are sent together.

    Raises:
        psycopg.Error: as of a transaction.
    """
    return await connection.wait(_write_alone(connection, statement, parameters))


def _write_alone(connection: Connection, statement: str, parameters: Sequence[Encoded]) -> PQGen[int]:
    try:
        written = yield from _begun(connection, statement, parameters)
    except psycopg.errors.InvalidSqlStatementName:
        # psycopg has the server forget all of a connection's statements where one has dropped or rolled back something.
        connection.prepared_writes.forget_all()
        written = yield from _begun(connection, statement, parameters)
    connection.pgconn.send_query(b"commit")
    [ended] = yield from generators.execute(connection.pgconn)
    if ended.status == ExecStatus.FATAL_ERROR:
        error = error_from_result(ended)
        if isinstance(error, psycopg.errors.QueryCanceled):
            raise psycopg.OperationalError(_DOUBTFUL) from error
        raise error
    if ended.command_status != b"COMMIT":
        raise psycopg.OperationalError("the server did not commit")
    return written.command_tuples or 0


def _begun(connection: Connection, statement: str, parameters: Sequence[Encoded]) -> PQGen[PGresult]:
    """The statement's result, in a transaction that is open; where it failed there is none."""
    pgconn, prepared = connection.pgconn, connection.prepared_writes
    pgconn.enter_pipeline_mode()
    pgconn.send_query_params(b"begin", None)
    values, is_new = [parameter.data for parameter in parameters], statement not in prepared
    pgconn.send_query_prepared(prepared.name(statement), values, [Format.BINARY] * len(values))
    pgconn.pipeline_sync()
    yield from generators.send(pgconn)
    results = yield from _until_sync(connection)
    pgconn.exit_pipeline_mode()
    failed = next((result for result in results if result.status == ExecStatus.FATAL_ERROR), None)
    if failed is not None:
        if is_new:
            prepared.forget(statement)
        with suppress(psycopg.Error):  # the first error is the one that counts
            pgconn.send_query(b"rollback")
            yield from generators.execute(pgconn)
        raise error_from_result(failed)
    return results[-1]


def _until_sync(connection: Connection) -> PQGen[list[PGresult]]:
    """The results of all that was sent."""
    found: list[PGresult] = []
    while True:
        try:
            results = yield from generators.fetch_many(connection.pgconn)
            if not results:
                raise psycopg.OperationalError("the connection was lost")
        except psycopg.OperationalError as lost:
            told = next((result for result in found if result.status == ExecStatus.FATAL_ERROR), None)
            raise (lost if told is None else error_from_result(told)) from None
        if results[0].status == ExecStatus.PIPELINE_SYNC:
            return found
        found += results
