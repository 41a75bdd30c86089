"""How long statements take on the server, so that slow ones do not stand before fast ones."""

from __future__ import annotations

import math

SHORT_S = 0.02
"""A statement that takes less may share a connection."""

STATEMENTS_MAX = 10_000
"""Statements that are remembered."""

_FORGETTING = 1.1


class Pace:
    """The least time that each statement took of late: what else it took was waiting, for a busy router or server.

    A statement that was never seen is not short.
    """

    def __init__(self) -> None:
        self._seconds: dict[str, float] = {}

    def is_short(self, statement: str) -> bool:
        """True where the statement is known to take little time."""
        seconds = self._seconds.get(statement)
        return seconds is not None and seconds < SHORT_S

    def stalled(self, statement: str) -> None:
        """The statement kept others waiting: it is not short until it is seen to be."""
        self._seconds[statement] = math.inf

    def forget(self) -> None:
        """No statement is known to be short, until it is seen again outside of lanes."""
        self._seconds.clear()

    def took_again(self, statement: str, seconds: float) -> None:
        """The statement took so long on a lane; where it was forgotten meanwhile, it stays so."""
        if statement in self._seconds:
            self.took(statement, seconds)

    def took(self, statement: str, seconds: float) -> None:
        """The statement took so long."""
        known = self._seconds.get(statement)
        if known is None and len(self._seconds) >= STATEMENTS_MAX:
            self._seconds.clear()
        self._seconds[statement] = seconds if known is None else min(seconds, known * _FORGETTING)
