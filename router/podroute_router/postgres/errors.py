"""The one place where errors of psycopg and PostgreSQL become ours: SQLSTATE to error, documented in docs/errors.md."""

from __future__ import annotations

from collections.abc import Mapping

import psycopg

from podroute_router.errors import (
    Aborted,
    DeadlineExceeded,
    FailedPrecondition,
    Internal,
    InvalidArgument,
    PodrouteError,
    ResourceExhausted,
    Unavailable,
    Unreachable,
)

RETRY_AFTER_S = 0.1
"""When a database that did not serve a call may serve the next."""

CONFLICTS = (psycopg.errors.SerializationFailure, psycopg.errors.DeadlockDetected)
"""The transaction was rolled back because of another one, and can be run again."""

STALE_SESSION = ("25006", "08001", "0A000")
"""After these a new connection may fare better: the host is a standby by now, and the next connection finds the
primary; postgres_fdw cannot log in to the pod with the password that this session was opened with; or a prepared
statement's table has changed."""

_GONE = ("08", "57P")
"""Connection exceptions; the server shuts down, crashed, or is not yet ready."""

_REFUSED_DATA = ("22", "23", "54", "P0001")
"""Data exceptions; constraints, and triggers that raise, which a table that was adopted may have; program limits, such
as the nesting of JSON."""


def unreachable(error: Exception, facts: Mapping[str, object]) -> PodrouteError:
    """The error of a connection that could not be made: nothing was sent."""
    if isinstance(error, psycopg.OperationalError) and error.pgconn is not None and error.pgconn.used_password:
        # libpq gives no SQLSTATE here; but the server asked for a password, and said no after that.
        return Unreachable(
            "SESSION_REFUSED",
            "the database refuses the session: password, role, database, no free connection, or not the host asked for",
            facts=facts,
            retry_after_s=RETRY_AFTER_S,
        )
    return Unreachable("UNREACHABLE", "the database cannot be reached", facts=facts, retry_after_s=RETRY_AFTER_S)


def translate(error: psycopg.Error, facts: Mapping[str, object], *, writes: bool, lost: bool) -> PodrouteError:
    """The error of a statement.

    Args:
        error: what psycopg raised.
        facts: which database and collection.
        writes: the statement writes, so that a lost answer leaves its outcome unknown.
        lost: the connection is gone.
    """
    state = error.sqlstate or ""
    if state == "08001":  # postgres_fdw could not connect to the pod, so nothing was sent there
        return Unavailable(
            "POD_UNREACHABLE_FROM_PRIMARY",
            "the primary cannot reach the pod",
            facts=facts,
            retry_after_s=RETRY_AFTER_S,
        )
    if lost or not state or state.startswith(_GONE):
        if writes:
            return Unavailable(
                "OUTCOME_UNKNOWN",
                "the connection was lost before the answer; the write may or may not have been committed",
                facts=facts,
                retry_after_s=RETRY_AFTER_S,
            )
        return Unavailable("CONNECTION_LOST", "the connection was lost", facts=facts, retry_after_s=RETRY_AFTER_S)
    if isinstance(error, CONFLICTS):
        return Aborted("WRITE_CONFLICT", "lost against concurrent writes", facts=facts, retry_after_s=RETRY_AFTER_S)
    if state == "57014":
        return DeadlineExceeded("STATEMENT_TIMEOUT", "the database ended the statement", facts=facts)
    if state in ("0A000", "42804"):  # the latter: a foreign table of another version, which the FDW backend makes anew
        return Unavailable(
            "STALE_PLAN", "the collection's table has changed its layout", facts=facts, retry_after_s=RETRY_AFTER_S
        )
    if state == "55P03":
        return Unavailable("LOCKED", "a lock was not had in time", facts=facts, retry_after_s=1.0)
    if state == "25006":
        return Unavailable("READ_ONLY", "the database accepts no writes", facts=facts, retry_after_s=RETRY_AFTER_S)
    if state == "42P01":
        return Unavailable(
            "TABLE_MISSING",
            "the collection has no table on this path (yet, or no more)",
            facts=facts,
            retry_after_s=RETRY_AFTER_S,
        )
    if state == "42501":
        return FailedPrecondition(
            "NOT_PREPARED", "the router's role lacks a privilege; run `podroute pods prepare`", facts=facts
        )
    if state.startswith("53"):
        return ResourceExhausted(
            "DATABASE_RESOURCES", "the database is out of a resource", facts=facts, retry_after_s=1.0
        )
    if state.startswith(_REFUSED_DATA):
        return InvalidArgument("DATA_REFUSED", "request", "the database refuses a value", **facts, sqlstate=state)
    return Internal("DATABASE_ERROR", "the database reported an error; the router's log has it", facts=facts)
