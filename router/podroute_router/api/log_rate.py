"""How many lines of a kind the log gets: calls that fail by the thousand must neither fill disks nor take time."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

MOST: Final = 20
"""Of one kind in `EACH_S`."""

EACH_S: Final = 1.0


class LogRate:
    """Lets some lines of each kind through.

    Args:
        clock: seconds since some time in the past.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._kinds: dict[str, tuple[float, int]] = {}
        """Of each: since when lines are counted, and how many there were."""

    def not_shown(self, kind: str) -> int | None:
        """How many lines were held back since the last that was let through; None where this one is, too.

        Args:
            kind: one of a few: all of them are kept.
        """
        now = self._clock()
        since, count = self._kinds.get(kind, (now, 0))
        if now - since < EACH_S:
            self._kinds[kind] = since, count + 1
            return 0 if count < MOST else None
        self._kinds[kind] = now, 1
        return max(0, count - MOST)
