"""What stands otherwise than the shard map implies, and the statements that mend it. Pure values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from podroute_router.errors import PodrouteError

RECONCILE = "podroute reconcile"
"""The command that runs the steps."""


@dataclass(frozen=True, slots=True)
class Step:
    """A statement that podroute's owner runs; `shown` is the same without secrets."""

    statement: str = field(repr=False)
    shown: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Drift:
    """Something that is not as it should be.

    Attributes:
        where: the database: `primary`, or `pod docs`.
        thing: the object.
        problem: what is wrong with it, in a few words.
        steps: what mends it, in this order, run as podroute's owner; empty where podroute may not or cannot.
        remedy: what a person has to do where there are no steps.
        is_note: everything works as it is.
    """

    where: str
    thing: str
    problem: str
    steps: tuple[Step, ...] = ()
    remedy: str = ""
    is_note: bool = False

    @property
    def command(self) -> str:
        """What mends it."""
        return RECONCILE if self.steps else self.remedy


@dataclass(frozen=True, slots=True)
class Extension:
    """pgvector as a database has it."""

    version: str
    schema: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Inspection:
    """What was found in the databases of a backend; `extensions`: pgvector of each that answers, by `Drift.where`."""

    drifts: tuple[Drift, ...] = ()
    extensions: Mapping[str, Extension] = field(default_factory=dict)


_DOWN = "docs/operations.md: a pod, or the primary, is down"

PRIMARY = "primary"
"""`Drift.where` of the primary."""


def pod_place(pod: str) -> str:
    """`Drift.where` of a pod."""
    return f"pod {pod}"


def database_drift(where: str, error: PodrouteError, prepare: str) -> Drift:
    """A database that cannot be looked at; `prepare`: the command that prepares one of its kind."""
    remedy = prepare if error.reason == "NOT_PREPARED" else _DOWN
    return Drift(where=where, thing="database", problem=f"{error.message} [{error.reason}]", remedy=remedy)


def silent_database(where: str, waited_s: float) -> Drift:
    """A database that did not answer in time."""
    return Drift(where=where, thing="database", problem=f"did not answer within {waited_s:.0f} s", remedy=_DOWN)


def plain_steps(*statements: str) -> tuple[Step, ...]:
    """Steps without secrets."""
    return tuple(Step(statement, statement) for statement in statements)
