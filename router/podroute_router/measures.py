"""What a backend measures of a pod while it serves calls, and tells of its pools. Pure: the metrics count it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


def _ignore(*_: float) -> None:
    """Nobody asks."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Measures:
    """Whom to tell, for one pod over one access path. Each takes about a microsecond and never fails."""

    waited: Callable[[float], None] = _ignore
    """A call waited so many seconds for its turn at a connection."""
    served: Callable[[float], None] = _ignore
    """A call had a connection for so many seconds, connecting included, or its statement was so long on a lane."""
    conflicted: Callable[[], None] = _ignore
    """A write lost against a concurrent one; it is run anew while its deadline lasts."""
    lane_failed: Callable[[], None] = _ignore
    """A read got no answer from its lane, and takes a connection of its own."""


UNMEASURED = Measures()
"""Nobody asks."""

MeasuresOf = Callable[[str], Measures]
"""Those of a pod, by its name."""


def unmeasured(_: str) -> Measures:
    """Nobody asks of any pod."""
    return UNMEASURED


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolFacts:
    """A pod's connections for calls over one access path, as they are at a moment.

    Args:
        pod: the pod's name.
        size: connections that one call at a time may have.
        in_use: of them, those that calls have, or that a server has yet to end.
        idle: of them, those that stand ready.
        waiting: calls that wait for their turn.
        lanes: connections that several short reads share, as far as they are open.
        lanes_size: how many there may be.
        lane_depth: statements that are under way on all of them together.
    """

    pod: str
    size: int
    in_use: int
    idle: int
    waiting: int
    lanes: int
    lanes_size: int
    lane_depth: int
