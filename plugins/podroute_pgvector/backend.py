"""The DIRECT backend: one pool of connections for each pod."""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import suppress
from functools import partial

from podroute_router.backend import Confirm, Register
from podroute_router.config import Config, Database, Pod
from podroute_router.domain import (
    Collection,
    Deadline,
    FoundTable,
    Index,
    IndexProgress,
    WantedIndex,
)
from podroute_router.drift import Drift, Inspection, database_drift, pod_place, silent_database
from podroute_router.errors import Aborted, AlreadyExists, FailedPrecondition, PodrouteError
from podroute_router.exposures import Exposed, ExposingFacts
from podroute_router.measures import UNMEASURED, Measures, MeasuresOf, PoolFacts, unmeasured
from podroute_router.postgres import exposed_view
from podroute_router.postgres.access import (
    LATENCY_SETTINGS,
    LOCAL_SETTINGS,
    SESSION_SETTINGS,
    Relations,
    TableAccess,
    call_settings,
)
from podroute_router.postgres.extension import ready
from podroute_router.postgres.lanes import Lanes
from podroute_router.postgres.pool import Pool
from podroute_router.postgres.prepare import COLLECTIONS
from podroute_router.postgres.record_calls import RecordCalls, of_pod
from podroute_router.shard_map import ShardMap

from podroute_pgvector import adoption, exposing, exposure_drift, indexes, inspection, tables

LINGER_S = 1.0
"""A pod that says nothing takes no new session either, so the place of a left statement is given on soon."""

INSPECTION_SHARE = 0.8
"""A pod has that part of the time for its inspection, so that one that hangs does not take the others' answers."""
MENDING_SHARE = 0.5
"""A pod has that part of the time to be mended."""

BUILDS_PER_POD = 2
"""Indexes built at a time; a further build waits."""

_log = logging.getLogger(__name__)


class PgvectorBackend(RecordCalls):
    """Serves collections over the router's own connections to their pods; also makes and indexes them."""

    def __init__(self, config: Config, measures: MeasuresOf = unmeasured) -> None:
        self._exposed_by = config.exposures.user if config.exposures is not None else None
        timeout = f"{math.ceil(config.timeouts.statement_s * 1000)}ms"
        self._calls: dict[str, Pool] = {}
        self._lanes: dict[str, Lanes] = {}
        self._builds: dict[str, Pool] = {}
        self._looks: dict[str, Pool] = {}
        for name in config.pods:
            database = config.pod_database(name)
            if database is None:
                continue
            open_pool = partial(_open_pool, config, database, {"pod": name, "path": "direct"})
            lanes = config.limits.connections_per_pod // 2
            calls = open_pool(
                config.limits.connections_per_pod - lanes,
                call_settings(config.timeouts.statement_s),
                measures=measures(name),
            )
            self._calls[name] = calls
            self._lanes[name] = calls.lanes(lanes)
            # A build may last longer than any call, and neither it nor a busy pod may hold up a look at the pod.
            self._builds[name] = open_pool(BUILDS_PER_POD, build_settings(config.pods[name]))
            self._looks[name] = open_pool(1, {"statement_timeout": timeout})
            for pool in (calls, self._builds[name]):
                pool.look_by(self._looks[name])
            self._looks[name].look_by(self._builds[name])
        self._access = {
            name: TableAccess(pool, self._lanes[name], exact_pass_s=config.timeouts.exact_pass_s)
            for name, pool in self._calls.items()
        }

    def pools(self) -> list[PoolFacts]:
        """See `backend.PoolHolder`."""
        return [pool.facts(name, self._lanes[name]) for name, pool in self._calls.items()]

    async def create_collection(
        self, collection: Collection, deadline: Deadline, register: Register | None = None
    ) -> None:
        """See `backend.CollectionStore`."""
        async with of_pod(collection.placement.pod, self._calls).connection(deadline, writes=True) as connection:
            await tables.create(connection, collection, register)

    async def drop_collection(self, collection: Collection, deadline: Deadline, confirm: Confirm | None = None) -> None:
        """See `backend.CollectionStore`."""
        async with of_pod(collection.placement.pod, self._calls).connection(deadline, writes=True) as connection:
            await tables.drop(connection, collection, confirm)

    def create_index(
        self, collection: Collection, index: WantedIndex, deadline: Deadline
    ) -> AsyncGenerator[IndexProgress | Index]:
        """See `backend.CollectionStore`."""
        pod = collection.placement.pod
        return indexes.build(of_pod(pod, self._builds), of_pod(pod, self._looks), collection, index, deadline)

    async def list_indexes(self, collection: Collection, deadline: Deadline) -> list[Index]:
        """See `backend.CollectionStore`."""
        async with of_pod(collection.placement.pod, self._calls).connection(deadline) as connection:
            return await indexes.standing(connection, collection)

    async def drop_index(self, collection: Collection, name: str, deadline: Deadline) -> None:
        """See `backend.CollectionStore`."""
        async with of_pod(collection.placement.pod, self._builds).connection(deadline, writes=True) as connection:
            await indexes.drop(connection, collection, name)

    async def find_tables(self, pod: str, names: Sequence[str] | None, deadline: Deadline) -> list[FoundTable]:
        """See `backend.TableAdopter`."""
        async with of_pod(pod, self._calls).connection(deadline) as connection:
            return await adoption.find(connection, names)

    async def adopt_collection(self, collection: Collection, deadline: Deadline) -> None:
        """See `backend.TableAdopter`."""
        async with of_pod(collection.placement.pod, self._calls).connection(deadline, writes=True) as connection:
            await adoption.adopt(connection, collection)

    async def look_for_exposure(self, exposed: Exposed, deadline: Deadline) -> ExposingFacts:
        """See `backend.Exposer`."""
        async with of_pod(exposed.collection.placement.pod, self._calls).connection(deadline) as connection:
            return await exposing.look(connection, exposed, self._exposed_by)

    async def make_exposure(self, exposed: Exposed, others: Sequence[Exposed], deadline: Deadline) -> None:
        """See `backend.Exposer`."""
        async with of_pod(exposed.collection.placement.pod, self._builds).connection(
            deadline, writes=True
        ) as connection:
            await exposing.make(connection, exposed, others)

    async def check_exposure_removable(self, exposed: Exposed, deadline: Deadline) -> None:
        """See `backend.Exposer`."""
        async with of_pod(exposed.collection.placement.pod, self._calls).connection(deadline) as connection:
            await exposed_view.check_removable(connection, exposed.exposure)

    async def remove_exposure(self, exposed: Exposed, others: Sequence[Exposed], deadline: Deadline) -> None:
        """See `backend.Exposer`."""
        async with of_pod(exposed.collection.placement.pod, self._builds).connection(
            deadline, writes=True
        ) as connection:
            await exposing.remove(connection, exposed, others)

    async def inspect_exposures(self, exposures: Sequence[Exposed], deadline: Deadline) -> list[Drift]:
        """See `backend.ExposureInspector`."""
        by_pod = _by_pod(exposures)
        found = await asyncio.gather(
            *(self._inspect_exposures_of(pod, by_pod[pod], deadline) for pod in by_pod if pod in self._calls)
        )
        return [drift for of_pod in found for drift in of_pod]

    async def mend_exposures(
        self,
        exposures: Sequence[Exposed],
        revision: int,  # noqa: ARG002 - nothing is dropped
        deadline: Deadline,
    ) -> None:
        """See `backend.ExposureInspector`."""
        by_pod = _by_pod(exposures)
        await asyncio.gather(
            *(self._mend_exposures_of(pod, by_pod[pod], deadline) for pod in by_pod if pod in self._builds)
        )

    async def record_estimate(self, pod: str, deadline: Deadline) -> int:
        """See `backend.CollectionStore`."""
        async with of_pod(pod, self._looks).connection(deadline) as connection:
            return await tables.record_estimate(connection, COLLECTIONS)

    async def probe(self, pod: str, deadline: Deadline) -> None:
        """See `backend.CollectionStore`."""
        async with of_pod(pod, self._looks).connection(deadline) as connection:
            await connection.execute("select 1")

    async def inspect(self, shard_map: ShardMap, deadline: Deadline) -> Inspection:
        """See `backend.Inspector`."""
        inspections = await asyncio.gather(
            *(self._inspect_pod(pod, shard_map, deadline) for pod in sorted(self._looks))
        )
        return Inspection(
            drifts=tuple(drift for each in inspections for drift in each.drifts),
            extensions={where: found for each in inspections for where, found in each.extensions.items()},
        )

    async def mend(self, shard_map: ShardMap, deadline: Deadline) -> None:
        """See `backend.Inspector`."""
        await asyncio.gather(*(self._mend_pod(pod, shard_map, deadline) for pod in sorted(self._looks)))

    async def _inspect_pod(self, pod: str, shard_map: ShardMap, deadline: Deadline) -> Inspection:
        placed = [each for each in shard_map.collections.values() if each.placement.pod == pod]
        patience_s = INSPECTION_SHARE * deadline.remaining_s()
        try:
            # Not with the connection of the probes: a pod with many collections would seem not to answer meanwhile.
            async with asyncio.timeout(patience_s), self._calls[pod].connection(deadline) as connection:
                return await inspection.inspect(connection, pod, placed)
        except TimeoutError:
            return Inspection(drifts=(silent_database(pod_place(pod), patience_s),))
        except PodrouteError as error:
            return Inspection(drifts=(database_drift(pod_place(pod), error, inspection.PREPARE),))

    async def _mend_pod(self, pod: str, shard_map: ShardMap, deadline: Deadline) -> None:
        """One that does not answer in time is left: what is wrong with it shows in the next inspection."""
        patience = Deadline.after(MENDING_SHARE * deadline.remaining_s())
        found = await self._inspect_pod(pod, shard_map, patience)
        if not any(drift.steps for drift in found.drifts):
            return
        try:
            async with asyncio.timeout(patience.remaining_s()), self._calls[pod].connection(patience) as connection:
                await inspection.mend(connection, found.drifts)
        except (TimeoutError, PodrouteError) as error:
            _log.warning("%s was not mended, or not all of it: %r", pod_place(pod), error)

    async def _inspect_exposures_of(self, pod: str, placed: Sequence[Exposed], deadline: Deadline) -> list[Drift]:
        patience_s = INSPECTION_SHARE * deadline.remaining_s()
        try:
            async with asyncio.timeout(patience_s), self._calls[pod].connection(deadline) as connection:
                return await exposure_drift.inspect(connection, pod, placed)
        except TimeoutError:
            return [silent_database(pod_place(pod), patience_s)]
        except PodrouteError as error:
            return [database_drift(pod_place(pod), error, inspection.PREPARE)]

    async def _mend_exposures_of(self, pod: str, placed: Sequence[Exposed], deadline: Deadline) -> None:
        try:
            async with (
                asyncio.timeout(MENDING_SHARE * deadline.remaining_s()),
                self._builds[pod].connection(deadline) as connection,
            ):
                for exposed in placed:
                    others = [each for each in placed if each.collection is exposed.collection and each is not exposed]
                    with suppress(AlreadyExists, FailedPrecondition, Aborted):  # a person has to see to these
                        await exposing.make(connection, exposed, others)
        except (TimeoutError, PodrouteError) as error:
            _log.warning("the exposures of %s were not mended, or not all of them: %r", pod_place(pod), error)

    def _relations(self, collection: Collection) -> Relations:
        base = tables.table(collection)
        return Relations(read=base, upsert=base, upsert_as_text=False, apply_settings=LOCAL_SETTINGS)

    async def close(self) -> None:
        """See `backend.Backend`."""
        for connections in (self._lanes, self._calls, self._builds, self._looks):
            for each in connections.values():
                await each.close()


def _by_pod(exposures: Sequence[Exposed]) -> dict[str, list[Exposed]]:
    found: dict[str, list[Exposed]] = {}
    for exposed in exposures:
        found.setdefault(exposed.collection.placement.pod, []).append(exposed)
    return found


def _open_pool(
    config: Config,
    database: Database,
    facts: Mapping[str, object],
    size: int,
    settings: Mapping[str, str],
    *,
    measures: Measures = UNMEASURED,
) -> Pool:
    return Pool(
        database,
        size=size,
        linger_s=LINGER_S,
        connect_timeout_s=config.timeouts.connect_s,
        facts=facts,
        setup=partial(ready, settings={**SESSION_SETTINGS, **LATENCY_SETTINGS, **settings}, facts=facts),
        measures=measures,
    )


def build_settings(pod: Pod) -> dict[str, str]:
    """Settings of a session that builds indexes on the pod."""
    settings = {"statement_timeout": "0"}
    if pod.index_memory_mb is not None:
        settings["maintenance_work_mem"] = f"{pod.index_memory_mb}MB"
    if pod.index_workers is not None:
        settings["max_parallel_maintenance_workers"] = str(pod.index_workers)
    return settings
