"""Carries what follows from a change of the shard map out in the background, and again where it failed."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import NoReturn

from podroute_router.domain import Deadline
from podroute_router.errors import PodrouteError
from podroute_router.shard_map import ShardMap

ATTEMPT_S = 60.0
"""Bound on one attempt; a first one may have thousands of foreign tables to make."""
FIRST_PAUSE_S = 1.0
LONGEST_PAUSE_S = 30.0
"""Between two attempts; twice as long after each."""

_log = logging.getLogger(__name__)

Action = Callable[[ShardMap, Deadline], Awaitable[None]]


class Following:
    """Runs actions for the newest map, one at a time; maps that came and went meanwhile are passed over.

    Args:
        actions: what to do, by the words that a failure is logged with, once until it succeeds again.
    """

    def __init__(self, actions: dict[str, Action]) -> None:
        self._actions = actions
        self._failing: set[str] = set()
        self._newest: ShardMap | None = None
        self._changed = asyncio.Event()
        self._task: asyncio.Task[NoReturn] | None = None

    def start(self) -> None:
        """Begins to act on the maps noticed."""
        self._task = asyncio.create_task(self._run())

    def notice(self, shard_map: ShardMap) -> None:
        """There is a new map."""
        self._newest = shard_map
        self._changed.set()

    async def close(self) -> None:
        """Stops acting."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _run(self) -> NoReturn:
        pause_s = FIRST_PAUSE_S
        while True:
            await self._changed.wait()
            self._changed.clear()
            if self._newest is None or await self._act(self._newest):
                pause_s = FIRST_PAUSE_S
                continue
            try:
                async with asyncio.timeout(pause_s):
                    await self._changed.wait()  # a newer map may fare better
            except TimeoutError:
                self._changed.set()
            pause_s = min(2 * pause_s, LONGEST_PAUSE_S)

    async def _act(self, shard_map: ShardMap) -> bool:
        for words, action in self._actions.items():
            try:
                await action(shard_map, Deadline.after(ATTEMPT_S))
            except Exception as error:  # noqa: BLE001  (this task must outlive any fault)
                self._tell(words, shard_map, error)
            else:
                self._failing.discard(words)
        return not self._failing

    def _tell(self, words: str, shard_map: ShardMap, error: Exception) -> None:
        if words not in self._failing:
            self._failing.add(words)
            trace = None if isinstance(error, PodrouteError) else error
            _log.warning(
                "%s failed for revision %d, and is tried again: %s (%r)",
                words,
                shard_map.revision,
                error,
                error.__cause__,
                exc_info=trace,
            )
