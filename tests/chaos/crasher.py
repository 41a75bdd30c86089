"""Kills at random, from a seed, and restores what it killed."""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from collections.abc import Sequence

from .fleet import Target

DOWN_S = (0.05, 1.0)
"""How long something stays dead."""
UP_S = (0.1, 1.2)
"""Between two kills."""
MOST_DOWN = 2
"""At a time."""


class Crasher:
    """Kills targets.

    Args:
        targets: what may be killed.
        generator: draws what, when and for how long.
    """

    def __init__(self, targets: Sequence[Target], generator: random.Random) -> None:
        self._targets = targets
        self._random = generator
        self._down: dict[str, asyncio.Task[None]] = {}
        self.kills: Counter[str] = Counter()
        """By kind."""

    async def one_of_each(self) -> None:
        """Kills one target of each kind, one shortly after the other."""
        kinds = list(dict.fromkeys(target.kind for target in self._targets))
        for kind in self._random.sample(kinds, len(kinds)):
            await self._kill(self._random.choice([target for target in self._targets if target.kind == kind]))
            await asyncio.sleep(self._random.uniform(*UP_S))
        await self._all_up()

    async def go_on(self, seconds: float) -> None:
        """Kills until the time is up, then waits until all serve."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if len(self._down) < MOST_DOWN:
                up = [target for target in self._targets if target.name not in self._down]
                kind = self._random.choice(list(dict.fromkeys(target.kind for target in up)))
                await self._kill(self._random.choice([target for target in up if target.kind == kind]))
            await asyncio.sleep(self._random.uniform(*UP_S))
        await self._all_up()

    async def _kill(self, target: Target) -> None:
        await target.kill()
        self.kills[target.kind] += 1
        self._down[target.name] = asyncio.create_task(self._restore(target, self._random.uniform(*DOWN_S)))

    async def _restore(self, target: Target, after_s: float) -> None:
        await asyncio.sleep(after_s)
        await target.restore()
        del self._down[target.name]

    async def _all_up(self) -> None:
        await asyncio.gather(*self._down.values())
