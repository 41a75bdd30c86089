"""The one place where errors of psycopg and PostgreSQL become ours: SQLSTATE to error, documented in docs/errors.md."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Mapping
from typing import Final

import psycopg

from podroute_router.errors import (
    Aborted,
    DeadlineExceeded,
    FailedPrecondition,
    Internal,
    InvalidArgument,
    NobodyListens,
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


def _refused(facts: Mapping[str, object], state: str) -> PodrouteError:
    return InvalidArgument("DATA_REFUSED", "request", "the database refuses a value", **facts, sqlstate=state)


def _conflict(facts: Mapping[str, object], _: str) -> PodrouteError:
    return Aborted("WRITE_CONFLICT", "lost against concurrent writes", facts=facts, retry_after_s=RETRY_AFTER_S)


def _stale_plan(facts: Mapping[str, object], _: str) -> PodrouteError:
    return Unavailable(
        "STALE_PLAN", "the collection's table has changed its layout", facts=facts, retry_after_s=RETRY_AFTER_S
    )


Make = Callable[[Mapping[str, object], str], PodrouteError]
"""The error for facts (which database and collection) and SQLSTATE."""

TABLE: Final[Mapping[str, Make]] = {
    "08001": lambda facts, _: Unavailable(  # postgres_fdw could not connect to the pod, so nothing was sent there
        "POD_UNREACHABLE_FROM_PRIMARY", "the primary cannot reach the pod", facts=facts, retry_after_s=RETRY_AFTER_S
    ),
    "0A000": _stale_plan,
    "22": _refused,  # data exceptions
    "23": _refused,  # constraints, which a table that was adopted may have
    "25006": lambda facts, _: Unavailable(
        "READ_ONLY", "the database accepts no writes", facts=facts, retry_after_s=RETRY_AFTER_S
    ),
    "40001": _conflict,
    "40P01": _conflict,
    "42501": lambda facts, _: FailedPrecondition(
        "NOT_PREPARED", "the router's role lacks a privilege; run `podroute pods prepare`", facts=facts
    ),
    "42804": _stale_plan,  # a foreign table of another version, which the FDW backend makes anew
    "42P01": lambda facts, _: Unavailable(
        "TABLE_MISSING",
        "the collection has no table on this path (yet, or no more)",
        facts=facts,
        retry_after_s=RETRY_AFTER_S,
    ),
    "53": lambda facts, _: ResourceExhausted(
        "DATABASE_RESOURCES", "the database is out of a resource", facts=facts, retry_after_s=1.0
    ),
    "54": _refused,  # program limits, such as the nesting of JSON
    "55P03": lambda facts, _: Unavailable("LOCKED", "a lock was not had in time", facts=facts, retry_after_s=1.0),
    "57014": lambda facts, _: DeadlineExceeded("STATEMENT_TIMEOUT", "the database ended the statement", facts=facts),
    "P0001": _refused,  # a trigger of an adopted table
}
"""SQLSTATE, or its first characters, to error; the longest one that fits counts. docs/errors.md has the same table."""

GONE: Final = ("08", "57P")
"""Connection exceptions other than 08001; the server shuts down, crashed, or is not yet ready: the connection is lost,
as it is where there is no SQLSTATE at all.
"""

_REFUSES_LOGIN: Final = "password authentication failed"
"""In what postgres_fdw tells of a pod. It hands on no SQLSTATE; in other languages it is an unreachable pod."""


_NOT_REACHED: Final = "the database cannot be reached"
_REFUSED: Final = os.strerror(errno.ECONNREFUSED)


def is_refusal(error: Exception) -> bool:
    """True where the server asked for a password, and said no after that; libpq gives no SQLSTATE here."""
    return isinstance(error, psycopg.OperationalError) and error.pgconn is not None and error.pgconn.used_password


def nobody_listens(error: Exception) -> bool:
    """True where the port refused the connection, of all addresses that were tried.

    libpq gives the system's words for it, and no number; psycopg a line for each address, and what else there is.
    """
    if not isinstance(error, psycopg.OperationalError):
        return False
    told = [line for line in str(error).splitlines() if not line.startswith(("\t", "Multiple connection attempts"))]
    return bool(told) and all(_REFUSED in line for line in told)


def unreachable(error: Exception, facts: Mapping[str, object]) -> PodrouteError:
    """The error of a connection that could not be made: nothing was sent."""
    if is_refusal(error):
        return Unreachable(
            "SESSION_REFUSED",
            "the database refuses the session: password, role, database, no free connection, or not the host asked for",
            facts=facts,
            retry_after_s=RETRY_AFTER_S,
        )
    if nobody_listens(error):
        return NobodyListens("UNREACHABLE", _NOT_REACHED, facts=facts, retry_after_s=RETRY_AFTER_S)
    return Unreachable("UNREACHABLE", _NOT_REACHED, facts=facts, retry_after_s=RETRY_AFTER_S)


def translate(error: psycopg.Error, facts: Mapping[str, object], *, writes: bool, lost: bool) -> PodrouteError:
    """The error of a statement.

    Args:
        error: what psycopg raised.
        facts: which database and collection.
        writes: the statement writes, so that a lost answer leaves its outcome unknown.
        lost: the connection is gone.
    """
    state = error.sqlstate or ""
    if state == "08001" and _REFUSES_LOGIN in (error.diag.message_detail or ""):
        return Unavailable(
            "POD_REFUSES_PRIMARY",
            "the pod refuses the password that the primary comes with",
            facts=facts,
            retry_after_s=RETRY_AFTER_S,
        )
    if state != "08001" and (lost or not state or state.startswith(GONE)):
        if writes:
            return Unavailable(
                "OUTCOME_UNKNOWN",
                "the connection was lost before the answer; the write may or may not have been committed",
                facts=facts,
                retry_after_s=RETRY_AFTER_S,
            )
        return Unavailable("CONNECTION_LOST", "the connection was lost", facts=facts, retry_after_s=RETRY_AFTER_S)
    make = next((TABLE[state[:size]] for size in range(len(state), 1, -1) if state[:size] in TABLE), None)
    if make is None:
        return Internal("DATABASE_ERROR", "the database reported an error; the router's log has it", facts=facts)
    return make(facts, state)
