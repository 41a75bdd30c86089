"""The FDW backend: collections through the primary, over a pool of primary sessions for each pod."""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from typing import NoReturn

from podroute_router.backend import PreparedQuery
from podroute_router.config import Config, Database
from podroute_router.domain import (
    Collection,
    Deadline,
    Explainable,
    Explanation,
    MetadataUpdate,
    PlainQuery,
    Query,
    QueryResult,
    Record,
    ScannedRecord,
    ScanPage,
    Selection,
    UpsertMode,
)
from podroute_router.drift import PRIMARY, Drift, Inspection, database_drift, silent_database
from podroute_router.errors import PodrouteError, Unavailable
from podroute_router.exposures import Exposed, ExposingFacts, Exposure
from podroute_router.filters import Filter
from podroute_router.measures import Measures, MeasuresOf, PoolFacts, unmeasured
from podroute_router.postgres import exposed_view
from podroute_router.postgres.access import LATENCY_SETTINGS, LOCAL_SETTINGS, SESSION_SETTINGS, Relations, TableAccess
from podroute_router.postgres.doubt import ASK
from podroute_router.postgres.extension import ready
from podroute_router.postgres.guard import PushdownGuard
from podroute_router.postgres.pool import Pool
from podroute_router.shard_map import ShardMap
from podroute_router.sql.statements import Relation
from psycopg import sql
from psycopg.errors import DatatypeMismatch, UndefinedTable

from podroute_fdw import exposing, exposure_drift, objects
from podroute_fdw.agenda import Agenda
from podroute_fdw.inspection import PREPARE, inspect
from podroute_fdw.reconcile import reconcile
from podroute_fdw.watch import Facts, server_facts, watch_servers

INSPECTION_SHARE = 0.8
"""The primary has that part of the time for its inspection, so that where it hangs the pods' answers are not lost."""

_log = logging.getLogger(__name__)

MEND_INTERVAL_S = 30.0
"""Between two comparisons of all foreign tables: one of an earlier version may put its own back each time."""
MEND_S = 60.0
"""Bound on one of them."""

LINGER_S = 60.0
"""A session of the primary that waits for a frozen pod keeps its place, so that one pod cannot take all sessions."""

FOREIGN_SETTINGS = {
    # With these a query is always ordered and limited on the pod. The planner's own choice rests on estimates, and a
    # plan made while a collection was small would be kept, and ship every row, when it is large.
    "enable_sort": "off",
    "plan_cache_mode": "force_generic_plan",
}


class FdwBackend:
    """Serves collections through the primary database.

    Each pod has primary sessions of its own: postgres_fdw keeps a connection to the pod behind each, and a pod in
    trouble must not take the sessions of others.
    """

    def __init__(self, config: Config, primary: Database, measures: MeasuresOf = unmeasured) -> None:
        self._config = config
        self._primary = primary
        self._newest: ShardMap | None = None
        self._agenda = Agenda()
        self._exposed: dict[tuple[str, str], Exposed] | None = None
        """By name, as they were brought to the primary."""
        self._left: dict[tuple[str, str], Exposure] = {}
        """Those that are to be made, changed or dropped still."""
        self._follows = asyncio.Lock()
        self._watch: asyncio.Task[NoReturn] | None = None
        self._mending: asyncio.Task[None] | None = None
        self._mended_at = -math.inf
        places = config.limits.fdw_connections_per_pod
        lanes = places // 2
        self._pools = {name: self._open_pool(name, places - lanes, measures(name)) for name in config.pods}
        self._lanes = {name: pool.lanes(lanes) for name, pool in self._pools.items()}
        self._access = {
            name: TableAccess(
                pool,
                self._lanes[name],
                exact_pass_s=config.timeouts.exact_pass_s,
                guard=None if config.is_on_primary(name) else PushdownGuard({"pod": name, "path": "fdw"}),
            )
            for name, pool in self._pools.items()
        }
        facts = {"path": "fdw"}
        # Beside the others, which calls may have taken. A session for each look, so that the primary connects anew.
        self._looks = {
            name: Pool(
                primary,
                size=1,
                linger_s=LINGER_S,
                connect_timeout_s=config.timeouts.connect_s,
                facts={"pod": name, "path": "fdw"},
            )
            for name in config.pods
        }
        self._admin = Pool(
            primary,
            size=1,
            linger_s=LINGER_S,
            connect_timeout_s=config.timeouts.connect_s,
            facts=facts,
            setup=partial(ready, settings=LATENCY_SETTINGS, facts=facts),
        )

    leaves_at_once = True
    """See `backend.Backend`."""

    async def upsert(
        self,
        collection: Collection,
        records: Sequence[Record],
        deadline: Deadline,
        mode: UpsertMode = UpsertMode.REPLACE,
    ) -> int:
        """See `backend.Backend`."""
        try:
            return await self._of(collection).upsert(self._relations(collection), records, deadline, mode)
        except Unavailable as error:
            if isinstance(error.__cause__, DatatypeMismatch) and not self._config.is_on_primary(
                collection.placement.pod
            ):
                self._mend_soon(collection)
            raise

    async def query(self, collection: Collection, query: Query, deadline: Deadline) -> QueryResult:
        """See `backend.Backend`."""
        return await self._of(collection).query(self._relations(collection), query, deadline)

    def prepare_query(self, collection: Collection, query: PlainQuery) -> PreparedQuery | None:
        """See `backend.QueryPreparer`."""
        return self._of(collection).prepare_query(self._relations(collection), query)

    def pools(self) -> list[PoolFacts]:
        """See `backend.PoolHolder`."""
        return [pool.facts(name, self._lanes[name]) for name, pool in self._pools.items()]

    async def fetch(self, collection: Collection, ids: Sequence[str], deadline: Deadline) -> list[Record]:
        """See `backend.Backend`."""
        return await self._of(collection).fetch(self._relations(collection), ids, deadline)

    async def delete(self, collection: Collection, selection: Selection, deadline: Deadline) -> int:
        """See `backend.Backend`."""
        return await self._of(collection).delete(self._relations(collection), selection, deadline)

    async def delete_returning(
        self, collection: Collection, selection: Selection, most_bytes: int, deadline: Deadline
    ) -> list[str]:
        """See `backend.Backend`."""
        relations = self._relations(collection)
        return await self._of(collection).delete_returning(relations, selection, most_bytes, deadline)

    async def count(self, collection: Collection, filter: Filter | None, deadline: Deadline) -> int:
        """See `backend.Backend`."""
        return await self._of(collection).count(self._relations(collection), filter, deadline)

    async def update_metadata(self, collection: Collection, update: MetadataUpdate, deadline: Deadline) -> int:
        """See `backend.Backend`."""
        return await self._of(collection).update_metadata(self._relations(collection), update, deadline)

    async def scan(self, collection: Collection, page: ScanPage, deadline: Deadline) -> list[ScannedRecord]:
        """See `backend.Backend`."""
        return await self._of(collection).scan(self._relations(collection), page, deadline)

    async def explain(
        self, collection: Collection, asked: Explainable, deadline: Deadline, *, analyze: bool = False
    ) -> Explanation:
        """See `backend.Backend`."""
        return await self._of(collection).explain(self._relations(collection), asked, deadline, analyze=analyze)

    async def probe(self, pod: str, deadline: Deadline) -> None:
        """See `backend.PodProbe`. Where the pod's objects are not made yet the primary answers, and calls say so."""
        statement = "select 1" if self._config.is_on_primary(pod) else objects.probe(pod)
        async with self._looks[pod].connection(deadline) as connection:
            with suppress(UndefinedTable):
                await connection.execute(statement)
            await connection.close()

    async def follow(self, shard_map: ShardMap, deadline: Deadline) -> None:
        """See `backend.MapFollower`.

        A map older than one that another router has followed is passed over. What it has changed is done with the next.
        """
        self._newest = shard_map
        async with self._follows:
            await self._follow_newest(deadline)

    async def inspect(self, shard_map: ShardMap, deadline: Deadline) -> Inspection:
        """See `backend.Inspector`."""
        patience_s = INSPECTION_SHARE * deadline.remaining_s()
        try:
            async with asyncio.timeout(patience_s), self._admin.connection(deadline) as connection:
                return await inspect(connection, self._config, self._primary, shard_map)
        except TimeoutError:
            return Inspection(drifts=(silent_database(PRIMARY, patience_s),))
        except PodrouteError as error:
            return Inspection(drifts=(database_drift(PRIMARY, error, PREPARE),))

    async def mend(self, shard_map: ShardMap, deadline: Deadline) -> None:
        """See `backend.Inspector`."""
        async with self._follows, self._admin.connection(deadline) as connection:
            await reconcile(connection, self._config, self._primary, Agenda(), shard_map)

    async def look_for_exposure(self, exposed: Exposed, deadline: Deadline) -> ExposingFacts:
        """See `backend.Exposer`."""
        async with self._admin.connection(deadline) as connection:
            return await exposing.look(connection, exposed.exposure)

    async def make_exposure(
        self,
        exposed: Exposed,
        others: Sequence[Exposed],  # noqa: ARG002 - each has a foreign table of its own
        deadline: Deadline,
    ) -> None:
        """See `backend.Exposer`."""
        async with self._admin.connection(deadline, writes=True) as connection:
            await exposing.make(connection, self._config, self._primary, exposed)

    async def check_exposure_removable(self, exposed: Exposed, deadline: Deadline) -> None:
        """See `backend.Exposer`."""
        async with self._admin.connection(deadline) as connection:
            await exposed_view.check_removable(connection, exposed.exposure)

    async def remove_exposure(
        self,
        exposed: Exposed,
        others: Sequence[Exposed],  # noqa: ARG002 - as above
        deadline: Deadline,
    ) -> None:
        """See `backend.Exposer`."""
        async with self._admin.connection(deadline, writes=True) as connection:
            await exposing.remove(connection, exposed.exposure)

    async def inspect_exposures(self, exposures: Sequence[Exposed], deadline: Deadline) -> list[Drift]:
        """See `backend.ExposureInspector`."""
        patience_s = INSPECTION_SHARE * deadline.remaining_s()
        try:
            async with asyncio.timeout(patience_s), self._admin.connection(deadline) as connection:
                return await exposure_drift.inspect(connection, self._config, self._primary, exposures)
        except TimeoutError:
            return [silent_database(PRIMARY, patience_s)]
        except PodrouteError as error:
            return [database_drift(PRIMARY, error, PREPARE)]

    async def mend_exposures(self, exposures: Sequence[Exposed], revision: int, deadline: Deadline) -> None:
        """See `backend.ExposureInspector`."""
        async with self._follows, self._admin.connection(deadline) as connection:
            if not await exposing.is_prepared(connection):
                return
            known = {each.exposure.name for each in exposures}
            gone = [each for each in await exposing.standing(connection) if each.name not in known]
            left = await exposing.follow(
                connection, self._config, self._primary, changed=exposures, gone=gone, revision=revision
            )
        for name, error in left.held_up.items():
            _log.warning("the primary's view %s was not mended: %s", ".".join(name), error)

    async def follow_exposures(self, exposures: Sequence[Exposed], revision: int, deadline: Deadline) -> None:
        """See `backend.ExposureFollower`.

        What is left for a newer map, or is held up, is done with the next call.
        """
        wanted = {each.exposure.name: each for each in exposures}
        async with self._follows:
            if wanted == self._exposed and not self._left:
                return
            async with self._admin.connection(deadline) as connection:
                if self._exposed is None:
                    before = {each.name: each for each in await exposing.standing(connection)}
                    made = await exposing.as_wanted(connection, self._config, self._primary, exposures)
                    changed = [each for name, each in wanted.items() if name not in made]
                else:
                    before = self._left | {name: each.exposure for name, each in self._exposed.items()}
                    changed = [each for name, each in wanted.items() if self._exposed.get(name) != each]
                gone = {name: exposure for name, exposure in before.items() if name not in wanted}
                passed_over, held_up = await exposing.follow(
                    connection, self._config, self._primary, changed=changed, gone=gone.values(), revision=revision
                )
            left = passed_over | held_up.keys()
            self._exposed = {name: each for name, each in wanted.items() if name not in left}
            self._left = {each.exposure.name: each.exposure for each in changed if each.exposure.name in left}
            self._left |= {name: exposure for name, exposure in gone.items() if name in left}
        if held_up:
            name, error = next(iter(held_up.items()))
            raise Unavailable(
                "LOCKED", f"{len(held_up)} views on the primary are not as exposed, such as {'.'.join(name)}"
            ) from error

    async def close(self) -> None:
        """See `backend.Backend`."""
        for task in (self._watch, self._mending):
            if task is not None:
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)
        for lanes in self._lanes.values():
            await lanes.close()
        for pool in (*self._pools.values(), *self._looks.values(), self._admin):
            await pool.close()

    async def _follow_newest(self, deadline: Deadline) -> None:
        if self._newest is None or self._agenda.is_done(self._newest):
            return
        async with self._admin.connection(deadline) as connection:
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
            self._watch = asyncio.create_task(watch_servers(self._admin, self._access, known))

    def _mend_soon(self, collection: Collection) -> None:
        """A table has the columns of another version: a router of that version has made it, and others, it seems."""
        if self._mending is None or self._mending.done():
            self._mending = asyncio.create_task(self._mend(collection))

    async def _mend(self, collection: Collection) -> None:
        await asyncio.sleep(self._mended_at + MEND_INTERVAL_S - time.monotonic())
        self._mended_at = time.monotonic()
        _log.warning(
            "the foreign table for upserts of collection %s is one of another version: comparing all of them",
            collection.name,
        )
        try:
            async with asyncio.timeout(MEND_S), self._follows:
                self._agenda.begin_anew(first=collection.name)
                await self._follow_newest(Deadline.after(MEND_S))
        except Exception as error:  # noqa: BLE001  (what is left is done with the next map, or the next call that fails)
            trace = None if isinstance(error, PodrouteError) else error
            _log.warning("comparing the foreign tables failed: %s (%r)", error, error.__cause__, exc_info=trace)

    def _open_pool(self, pod: str, size: int, measures: Measures) -> Pool:
        facts = {"pod": pod, "path": "fdw"}
        settings = (
            LATENCY_SETTINGS
            | {
                "statement_timeout": f"{math.ceil(self._config.timeouts.statement_s * 1000)}ms",
            }
            | (SESSION_SETTINGS if self._config.is_on_primary(pod) else FOREIGN_SETTINGS)
        )
        return Pool(
            self._primary,
            size=size,
            linger_s=LINGER_S,
            connect_timeout_s=self._config.timeouts.connect_s,
            facts=facts,
            setup=partial(ready, settings=settings, facts=facts),
            question=ASK if self._config.is_on_primary(pod) else _question(pod),
            measures=measures,
        )

    def _of(self, collection: Collection) -> TableAccess:
        pod = collection.placement.pod
        if pod not in self._access:
            raise Unavailable("POD_UNCONFIGURED", f"this router has no address for pod {pod!r}", facts={"pod": pod})
        return self._access[pod]

    def _relations(self, collection: Collection) -> Relations:
        place = collection.placement
        if self._config.is_on_primary(place.pod):
            table = Relation(place.schema, place.table)
            return Relations(read=table, upsert=table, upsert_as_text=False, apply_settings=LOCAL_SETTINGS)
        return Relations(
            read=objects.read_table(collection.name),
            upsert=objects.upsert_table(collection.name),
            upsert_as_text=True,
            apply_settings=_apply_settings(place.pod),
        )


def _question(pod: str) -> str:
    """Reaches the pod over the connection behind the session, and reads nothing there."""
    return sql.SQL("select from {} limit 0").format(objects.control_table(pod).identifier).as_string()


def _apply_settings(pod: str) -> str:
    statement = sql.SQL(
        "insert into {} (name, value) select name, value from unnest($1::text[], $2::text[]) as s (name, value)"
    )
    return statement.format(objects.control_table(pod).identifier).as_string()
