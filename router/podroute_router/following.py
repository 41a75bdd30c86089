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
RETRY_S = 2.0
"""Between two attempts."""

_log = logging.getLogger(__name__)

Action = Callable[[ShardMap, Deadline], Awaitable[None]]


class Following:
    """Runs actions for the newest map, one at a time; maps that came and went meanwhile are passed over.

    Args:
        actions: what to do, by the words that a failure is logged with.
    """

    def __init__(self, actions: dict[str, Action]) -> None:
        self._actions = actions
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
        while True:
            await self._changed.wait()
            self._changed.clear()
            if self._newest is not None and not await self._act(self._newest):
                await asyncio.sleep(RETRY_S)
                self._changed.set()

    async def _act(self, shard_map: ShardMap) -> bool:
        succeeded = True
        for words, action in self._actions.items():
            try:
                await action(shard_map, Deadline.after(ATTEMPT_S))
            except PodrouteError as error:
                _log.warning("%s failed for revision %d: %s (%r)", words, shard_map.revision, error, error.__cause__)
                succeeded = False
        return succeeded
