"""Holds the shard map that the router routes by, and keeps it the catalog's: notified, polled, saved on disk."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Callable
from pathlib import Path

from podroute_router.catalog import saved_map
from podroute_router.catalog.listener import Listener
from podroute_router.catalog.saved_map import Encoder, SavedMapError, catalog_mark
from podroute_router.catalog.store import CatalogStore
from podroute_router.config import Database, Timeouts
from podroute_router.domain import Deadline
from podroute_router.errors import DeadlineExceeded, Internal, PodrouteError, ResourceExhausted, Unavailable
from podroute_router.shard_map import ShardMap

MIN_LOAD_INTERVAL_S = 0.05
"""Between the starts of two loads, however many changes are notified."""

MIN_SAVE_INTERVAL_S = 1.0
"""Between two savings of the map."""

_log = logging.getLogger(__name__)

Subscriber = Callable[[ShardMap], None]


class ShardMapSource:
    """The router's shard map. It is swapped whole; one load runs at a time, so that none overtakes a later one.

    Args:
        database: the catalog's, for the connection that listens.
        store: the catalog.
        timeouts: bounds and intervals.
        saved_map: the file that keeps the last map; None keeps none.
    """

    def __init__(
        self, *, database: Database, store: CatalogStore, timeouts: Timeouts, saved_map: Path | None = None
    ) -> None:
        self._store = store
        self._timeouts = timeouts
        self._path = saved_map
        self._current = ShardMap()
        self._confirmed_at: float | None = None
        self._subscribers: list[Subscriber] = []
        self._migrated = False
        self._full = True
        self._wanted: asyncio.Future[PodrouteError | None] | None = None
        self._wake = asyncio.Event()
        self._unsaved = asyncio.Event()
        self._saved: ShardMap | None = None
        self._saving = threading.Lock()
        self._catalog = catalog_mark(database)
        self._encoder = Encoder(self._catalog)
        self._failing = False
        self._closed = False
        self._tasks: list[asyncio.Task[None]] = []
        self._listener = Listener(
            database, timeouts, on_connected=self._on_listening, on_revision=self._on_revision_notified
        )

    @property
    def current(self) -> ShardMap:
        """The map to route by."""
        return self._current

    @property
    def revision(self) -> int:
        """Revision of the current map."""
        return self._current.revision

    @property
    def age_s(self) -> float | None:
        """Seconds since the catalog was last asked and had this map; None where it was never reached."""
        return None if self._confirmed_at is None else time.monotonic() - self._confirmed_at

    def subscribe(self, callback: Subscriber) -> None:
        """Calls back with every new map from now on, in the event loop; the callback must not block."""
        self._subscribers.append(callback)

    async def start(self, timeout_s: float) -> None:
        """Gets the first map, from the catalog or, where that does not serve in time, from disk; then follows it.

        Raises:
            Unavailable: the catalog does not serve, and there is no saved map (DeadlineExceeded and ResourceExhausted
                likewise).
            FailedPrecondition: the catalog is not prepared, or needs a later router.
            saved_map.SavedMapError: the catalog does not serve, and the saved map cannot be used.
        """
        try:
            await self._load(Deadline.after(timeout_s))
        except (Unavailable, DeadlineExceeded, ResourceExhausted) as error:
            try:
                saved = await asyncio.to_thread(saved_map.load, self._path, self._catalog) if self._path else None
            except SavedMapError as damage:
                raise SavedMapError(f"the catalog does not serve ({error.message}), and {damage}") from error
            if saved is None:
                raise
            _log.warning(
                "the catalog does not serve (%s); starting from the saved shard map, revision %d",
                error.message,
                saved.revision,
            )
            self._saved = saved
            self._adopt(saved)
        runs = [self._keep_loading(), self._keep_polling(), self._listener.run()]
        if self._path is not None:
            runs.append(self._keep_saving(self._path))
        self._tasks = [asyncio.create_task(run) for run in runs]

    async def refresh(self, deadline: Deadline) -> ShardMap:
        """The map as the catalog had it after this call began.

        Raises:
            DeadlineExceeded: the catalog did not answer in time.
            Unavailable: it does not serve.
        """
        if self._closed:
            raise _shutting_down()
        wanted = self._request()
        await asyncio.wait({wanted}, timeout=deadline.remaining_s())
        if not wanted.done():
            raise DeadlineExceeded("CATALOG_TIMEOUT", "the catalog did not answer in time")
        error = wanted.result()
        if error is not None:
            raise error
        return self._current

    async def close(self) -> None:
        """Stops following, and saves the map where that is due."""
        self._closed = True
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._wanted is not None:
            self._wanted.set_result(_shutting_down())
            self._wanted = None
        if self._path is not None and self._confirmed_at is not None and self._saved is not self._current:
            await self._save(self._path)

    def _request(self) -> asyncio.Future[PodrouteError | None]:
        """Asks for a load that begins from now on; callers until it begins share it."""
        if self._wanted is None:
            self._wanted = asyncio.get_running_loop().create_future()
            self._wake.set()
        return self._wanted

    def _on_listening(self, after_outage: bool) -> None:
        # After an outage the catalog may be one restored from a backup, and changes since may have brought that to the
        # revision held here: only a full load shows what differs.
        self._full = self._full or after_outage
        self._request()

    def _on_revision_notified(self, revision: int) -> None:
        if self._full or revision > self.revision:
            self._request()

    async def _keep_loading(self) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            wanted, self._wanted = self._wanted, None
            if wanted is None:
                continue
            outcome: PodrouteError | None = _shutting_down()
            began = time.monotonic()
            try:
                await self._load(Deadline.after(self._timeouts.default_s))
                outcome = None
                if self._failing:
                    _log.info("the catalog serves again; shard map at revision %d", self.revision)
                self._failing = False
            except PodrouteError as error:
                outcome = error
                if not self._failing:  # once an outage
                    _log.warning("the shard map cannot be loaded (%s); serving from revision %d", error, self.revision)
                self._failing = True
            except Exception:  # noqa: BLE001
                _log.exception("loading the shard map failed")
                outcome = Internal("CATALOG_LOAD_FAILED", "the shard map could not be loaded")
                self._failing = True
            finally:
                wanted.set_result(outcome)
            await asyncio.sleep(max(0.0, began + MIN_LOAD_INTERVAL_S - time.monotonic()))

    async def _keep_polling(self) -> None:
        while True:
            await asyncio.sleep(self._timeouts.poll_interval_s)
            self._request()

    async def _keep_saving(self, path: Path) -> None:
        await self._look_at_saved(path)
        while True:
            await self._unsaved.wait()
            saved = await self._save(path)
            await asyncio.sleep(MIN_SAVE_INTERVAL_S if saved else self._timeouts.poll_interval_s)

    async def _load(self, deadline: Deadline) -> None:
        if not self._migrated or self._full:  # it may be one restored from a backup of an earlier version
            await self._store.migrate(deadline)
            self._migrated = True
        full, self._full, began = self._full, False, time.monotonic()
        try:
            loaded = await self._store.load(self._current, deadline, full=full)
        except BaseException:
            self._full = self._full or full
            raise
        is_first, self._confirmed_at = self._confirmed_at is None, began
        is_new = loaded is not self._current and loaded != self._current
        if is_new:
            self._adopt(loaded)
        if is_new or is_first:
            self._unsaved.set()

    def _adopt(self, shard_map: ShardMap) -> None:
        self._current = shard_map
        for subscriber in self._subscribers:
            try:
                subscriber(shard_map)
            except Exception:  # noqa: BLE001
                _log.exception("a subscriber to the shard map failed")

    async def _look_at_saved(self, path: Path) -> None:
        """Tells of a saved map that would have been of no use, before it is written anew."""
        if self._saved is None:
            try:
                await asyncio.to_thread(saved_map.load, path, self._catalog)
            except SavedMapError as error:
                _log.warning("%s; the catalog serves, and its map takes that one's place", error)

    async def _save(self, path: Path) -> bool:
        self._unsaved.clear()
        try:
            self._saved = await asyncio.to_thread(self._write, path)
        except OSError as error:
            _log.warning("the shard map cannot be saved to %s: %s", path, error.strerror)
            self._unsaved.set()
            return False
        return True

    def _write(self, path: Path) -> ShardMap:
        with self._saving:  # a saving whose task was cancelled goes on; the one after it must write the later map
            shard_map = self._current
            saved_map.save(shard_map, path, self._encoder)
            return shard_map


def _shutting_down() -> Unavailable:
    return Unavailable("SHUTTING_DOWN", "the router is shutting down")
