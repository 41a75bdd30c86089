"""What can go wrong, as the router's callers are told of it.

    PodrouteError
    ├── InvalidArgument         the request can never work as it is; names the field
    ├── NotFound                the collection, record or pod does not exist
    ├── AlreadyExists           the name is taken
    ├── FailedPrecondition      the request does not fit the state of things
    ├── Unsupported             the chosen access path cannot do this
    ├── Aborted                 lost against concurrent calls; nothing was written
    ├── ResourceExhausted       a bound was reached; try later
    ├── DeadlineExceeded        the call's time ran out
    ├── Unavailable             a database did not serve the call
    │   └── Unreachable         ... and no statement was sent to it, so another path may be tried
    │       └── NobodyListens   ... as its port refused the connection, which costs nobody anything
    └── Internal                a fault of podroute's

Every error carries a reason (UPPER_SNAKE, stable), facts as data, and no SQL, DSN or server text. What a server said
is the exception's cause, which is logged and never sent.
"""

from __future__ import annotations

from collections.abc import Mapping


class PodrouteError(Exception):
    """An error that a caller is told of.

    Args:
        reason: stable UPPER_SNAKE name of what happened.
        message: one sentence for a person.
        facts: what it is about (pod, collection, limit), as strings.
        field: path of the request's field at fault, such as ``records[3].id``.
        retry_after_s: seconds after which a retry may help; None where none helps.
    """

    def __init__(
        self,
        reason: str,
        message: str,
        *,
        facts: Mapping[str, object] | None = None,
        field: str | None = None,
        retry_after_s: float | None = None,
    ) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message
        self.facts = {key: str(value) for key, value in (facts or {}).items()}
        self.field = field
        self.retry_after_s = retry_after_s


class InvalidArgument(PodrouteError):
    """The request can never work as it is."""

    def __init__(self, reason: str, field: str, problem: str, **facts: object) -> None:
        super().__init__(reason, f"{field}: {problem}", facts={"field": field, **facts}, field=field)
        self.problem = problem


class NotFound(PodrouteError):
    """The thing named does not exist."""


class AlreadyExists(PodrouteError):
    """The name is taken."""


class FailedPrecondition(PodrouteError):
    """The request does not fit the state of things."""


class Unsupported(PodrouteError):
    """The chosen access path cannot do this."""


class Aborted(PodrouteError):
    """The call lost against concurrent ones, and nothing was written."""


class ResourceExhausted(PodrouteError):
    """A bound was reached."""


class DeadlineExceeded(PodrouteError):
    """The call's time ran out; what it began may still happen."""


def deadline_passed(facts: Mapping[str, object] | None = None) -> DeadlineExceeded:
    """What a call ends with whose own deadline ran out."""
    return DeadlineExceeded("DEADLINE_EXCEEDED", "the call's deadline passed", facts=facts)


class Unavailable(PodrouteError):
    """A database did not serve the call."""


class Unreachable(Unavailable):
    """A database could not be reached, and no statement was sent."""


class NobodyListens(Unreachable):
    """A database's port refused the connection: that is known at once, and no server is harmed by asking."""


class Internal(PodrouteError):
    """A fault of podroute's."""
