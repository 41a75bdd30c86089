"""How long a chaos test goes on: a moment in the fast suite, minutes in `make chaos`."""

from __future__ import annotations

import random
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Scale:
    """Size of a run.

    Args:
        full: `make chaos`; otherwise the fast suite, in which a test may take some seconds.
        seed: of everything that is drawn at random.
        minutes: how long tests of endurance go on in a full run.
    """

    full: bool
    seed: int
    minutes: float

    def pick(self, quick: float, full: float) -> float:
        """A number for the fast suite, and one for the full run."""
        return full if self.full else quick

    def random(self) -> random.Random:
        """A generator that starts from the seed."""
        return random.Random(self.seed)
