"""Keeps the primary's foreign tables as the newest shard map has them, and its plans under watch."""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import Mapping
from typing import NoReturn

from podroute_router.config import Config, Database
from podroute_router.domain import Collection, Deadline
from podroute_router.errors import PodrouteError
from podroute_router.postgres.access import TableAccess
from podroute_router.postgres.pool import Pool
from podroute_router.shard_map import ShardMap

from podroute_fdw.agenda import Agenda
from podroute_fdw.reconcile import reconcile
from podroute_fdw.watch import Facts, server_facts, watch_servers

MEND_S = 60.0
"""Bound on one comparison of all foreign tables."""

_log = logging.getLogger(__name__)


class MapFollowing:
    """What follows from the shard map on the primary.

    Args:
        config: the router's.
        primary: the database.
        pool: connections to it for this.
        access: to each pod over the primary; it forgets its plans where something changed.
        turn: held while something is changed there.
        mend_interval_s: between two comparisons of all tables because of one of another version.
    """

    def __init__(
        self,
        *,
        config: Config,
        primary: Database,
        pool: Pool,
        access: Mapping[str, TableAccess],
        turn: asyncio.Lock,
        mend_interval_s: float,
    ) -> None:
        self._config = config
        self._primary = primary
        self._pool = pool
        self._access = access
        self._turn = turn
        self._mend_interval_s = mend_interval_s
        self._newest: ShardMap | None = None
        self._agenda = Agenda()
        self._watch: asyncio.Task[NoReturn] | None = None
        self._mending: asyncio.Task[None] | None = None
        self._mended_at = -math.inf

    async def follow(self, shard_map: ShardMap, deadline: Deadline) -> None:
        """See `backend.MapFollower`.

        A map older than one that another router has followed is passed over. What it has changed is done with the next.
        """
        self._newest = shard_map
        async with self._turn:
            await self._follow_newest(deadline)

    def mend_soon(self, collection: Collection) -> None:
        """A table has the columns of another version: a router of that version has made it, and others, it seems."""
        if self._mending is None or self._mending.done():
            self._mending = asyncio.create_task(self._mend(collection))

    async def stop(self) -> None:
        """Ends what goes on beside the calls."""
        for task in (self._watch, self._mending):
            if task is not None:
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)

    async def _follow_newest(self, deadline: Deadline) -> None:
        if self._newest is None or self._agenda.is_done(self._newest):
            return
        async with self._pool.connection(deadline) as connection:
            try:
                await reconcile(connection, self._config, self._primary, self._agenda, self._newest)
            except Exception:
                self._begin_watch({})  # this may go on for long; nothing is known yet, so the first look forgets all
                raise
            if self._watch is None:
                self._begin_watch(await server_facts(connection, self._access))

    def _begin_watch(self, known: Facts) -> None:
        if self._watch is None:
            for access in self._access.values():
                access.forget_plans()
            self._watch = asyncio.create_task(watch_servers(self._pool, self._access, known))

    async def _mend(self, collection: Collection) -> None:
        await asyncio.sleep(self._mended_at + self._mend_interval_s - time.monotonic())
        self._mended_at = time.monotonic()
        _log.warning(
            "the foreign table for upserts of collection %s is one of another version: comparing all of them",
            collection.name,
        )
        try:
            async with asyncio.timeout(MEND_S), self._turn:
                self._agenda.begin_anew(first=collection.name)
                await self._follow_newest(Deadline.after(MEND_S))
        except Exception as error:  # noqa: BLE001  (what is left is done with the next map, or the next call that fails)
            trace = None if isinstance(error, PodrouteError) else error
            _log.warning("comparing the foreign tables failed: %s (%r)", error, error.__cause__, exc_info=trace)
