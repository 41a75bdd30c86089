"""The FDW backend: collections through the primary, over a pool of primary sessions for each pod."""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Sequence
from contextlib import suppress
from functools import partial

from podroute_router.config import Config, Database
from podroute_router.domain import Collection, Deadline, Record, UpsertMode
from podroute_router.drift import PRIMARY, Drift, Inspection, database_drift, silent_database
from podroute_router.errors import PodrouteError, Unavailable, deadline_passed
from podroute_router.exposures import Exposed, ExposingFacts
from podroute_router.measures import Measures, MeasuresOf, PoolFacts, unmeasured
from podroute_router.postgres import exposed_view
from podroute_router.postgres.access import (
    LATENCY_SETTINGS,
    LOCAL_SETTINGS,
    SESSION_SETTINGS,
    Relations,
    TableAccess,
    call_settings,
)
from podroute_router.postgres.doubt import ASK
from podroute_router.postgres.extension import ready
from podroute_router.postgres.guard import PushdownGuard
from podroute_router.postgres.pool import Pool
from podroute_router.postgres.record_calls import RecordCalls
from podroute_router.shard_map import ShardMap
from podroute_router.sql.statements import Relation
from psycopg import sql
from psycopg.errors import DatatypeMismatch, QueryCanceled, UndefinedTable

from podroute_fdw import exposing, exposure_drift, objects
from podroute_fdw.agenda import Agenda
from podroute_fdw.exposure_following import ExposureFollowing
from podroute_fdw.following import MapFollowing
from podroute_fdw.inspection import PREPARE, inspect
from podroute_fdw.reconcile import reconcile

INSPECTION_SHARE = 0.8
"""The primary has that part of the time for its inspection, so that where it hangs the pods' answers are not lost."""

PROBE_SHARE = 0.9
"""The primary has that part of a probe's time to reach the pod."""

_STATEMENT_TIMEOUT = "select set_config('statement_timeout', $1, false)"

_log = logging.getLogger(__name__)

MEND_INTERVAL_S = 30.0
"""Between two comparisons of all foreign tables: one of an earlier version may put its own back each time."""

LINGER_S = 60.0
"""A session of the primary that waits for a frozen pod keeps its place, so that one pod cannot take all sessions."""

FOREIGN_SETTINGS = {
    # With these a query is always ordered and limited on the pod. The planner's own choice rests on estimates, and a
    # plan made while a collection was small would be kept, and ship every row, when it is large.
    "enable_sort": "off",
    "plan_cache_mode": "force_generic_plan",
}


class FdwBackend(RecordCalls):
    """Serves collections through the primary database.

    Each pod has primary sessions of its own: postgres_fdw keeps a connection to the pod behind each, and a pod in
    trouble must not take the sessions of others.
    """

    def __init__(self, config: Config, primary: Database, measures: MeasuresOf = unmeasured) -> None:
        self._config = config
        self._primary = primary
        self._turn = asyncio.Lock()
        """Held while something is changed on the primary."""
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
        # Beside the others, which calls may have taken. Closed after each answer, so that the primary connects anew.
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
        for name, look in self._looks.items():
            self._pools[name].look_by(look, self._admin)
            look.look_by(self._admin)
        if self._looks:
            self._admin.look_by(*self._looks.values())
        self._exposures = ExposureFollowing(config, primary)
        self._following = MapFollowing(
            config=config,
            primary=primary,
            pool=self._admin,
            access=self._access,
            turn=self._turn,
            mend_interval_s=MEND_INTERVAL_S,
        )

    async def upsert(
        self,
        collection: Collection,
        records: Sequence[Record],
        deadline: Deadline,
        mode: UpsertMode = UpsertMode.REPLACE,
    ) -> int:
        """See `backend.Backend`."""
        try:
            return await super().upsert(collection, records, deadline, mode)
        except Unavailable as error:
            if isinstance(error.__cause__, DatatypeMismatch) and not self._config.is_on_primary(
                collection.placement.pod
            ):
                self._following.mend_soon(collection)
            raise

    def pools(self) -> list[PoolFacts]:
        """See `backend.PoolHolder`."""
        return [pool.facts(name, self._lanes[name]) for name, pool in self._pools.items()]

    async def probe(self, pod: str, deadline: Deadline) -> None:
        """See `backend.PodProbe`. Where the pod's objects are not made yet the primary answers, and calls say so."""
        statement = "select 1" if self._config.is_on_primary(pod) else objects.probe(pod)
        async with self._looks[pod].connection(deadline) as connection:
            # From PostgreSQL 16 on the primary gives up by itself while it connects, and its session serves the next
            # probe: a login each time is a burden to calls on other pods.
            patience_s = PROBE_SHARE * deadline.remaining_s()
            await connection.execute(_STATEMENT_TIMEOUT, (f"{math.ceil(patience_s * 1000)}ms",))
            try:
                with suppress(UndefinedTable):
                    await connection.execute(statement)
            except QueryCanceled as error:
                raise deadline_passed({"pod": pod, "path": "fdw"}) from error
            await connection.close()

    async def follow(self, shard_map: ShardMap, deadline: Deadline) -> None:
        """See `backend.MapFollower`."""
        await self._following.follow(shard_map, deadline)

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
        async with self._turn, self._admin.connection(deadline) as connection:
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
        async with self._turn, self._admin.connection(deadline) as connection:
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
        async with self._turn:
            if self._exposures.is_done(exposures):
                return
            async with self._admin.connection(deadline) as connection:
                held_up = await self._exposures.follow(connection, exposures, revision)
        if held_up:
            name, error = next(iter(held_up.items()))
            raise Unavailable(
                "LOCKED", f"{len(held_up)} views on the primary are not as exposed, such as {'.'.join(name)}"
            ) from error

    async def close(self) -> None:
        """See `backend.Backend`."""
        await self._following.stop()
        for lanes in self._lanes.values():
            await lanes.close()
        for pool in (*self._pools.values(), *self._looks.values(), self._admin):
            await pool.close()

    def _open_pool(self, pod: str, size: int, measures: Measures) -> Pool:
        facts = {"pod": pod, "path": "fdw"}
        settings = call_settings(self._config.timeouts.statement_s) | (
            SESSION_SETTINGS if self._config.is_on_primary(pod) else FOREIGN_SETTINGS
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
