"""Compares what stands in the databases with what the shard map implies, and has it mended."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Container, Iterable, Iterator, Mapping, Sequence

from podroute_router.backend import Backend, ExposureInspector, Inspector
from podroute_router.domain import Deadline
from podroute_router.drift import PRIMARY, Drift, Extension, pod_place
from podroute_router.errors import PodrouteError
from podroute_router.exposures import Exposed
from podroute_router.map_source import MapSource
from podroute_router.shard_map import ShardMap
from podroute_router.wrappers import within

FIRST_LOOK_S = 10.0
"""Bound on the look at a router's start; what follows from changes of the map waits for it."""
LOOKS_MAX = 3
"""Where each found drift, and a newer map after it."""
LINES_MAX = 20
"""Of drift that such a look logs: a database that was lost has some for each collection."""

_log = logging.getLogger(__name__)


async def examine(
    backends: Iterable[Backend],
    shard_map: ShardMap,
    pods: Container[str],
    deadline: Deadline,
    *,
    exposures: Sequence[Exposed] = (),
) -> list[Drift]:
    """Everything that is not as it should be: the primary first, then the pods by name, notes last.

    Args:
        backends: those that are `Inspector`s are asked, all at once.
        shard_map: what is wanted.
        pods: those that the configuration has an address for.
        deadline: bound on the whole.
        exposures: what is wanted, too; backends that are `ExposureInspector`s are asked.
    """
    asked = list(backends)
    # All at once: one database that hangs takes its own time only.
    inspections, of_exposures = await asyncio.gather(
        asyncio.gather(
            *(within(deadline, each.inspect(shard_map, deadline)) for each in asked if isinstance(each, Inspector))
        ),
        asyncio.gather(
            *(
                within(deadline, each.inspect_exposures(exposures, deadline))
                for each in asked
                if isinstance(each, ExposureInspector)
            )
        ),
    )
    found = [drift for each in inspections for drift in each.drifts]
    found += (drift for drifts in of_exposures for drift in drifts)
    found += extension_drifts({where: facts for each in inspections for where, facts in each.extensions.items()})
    found += (_unconfigured(pod) for pod in shard_map.pods if pod not in pods)
    distinct = dict.fromkeys(found)  # a database that does not answer is told twice
    return sorted(distinct, key=lambda drift: (drift.is_note, drift.where != PRIMARY, drift.where, drift.thing))


async def mend(
    backends: Iterable[Backend], shard_map: ShardMap, deadline: Deadline, *, exposures: Sequence[Exposed] = ()
) -> None:
    """Runs the steps of all that is found; what has none is left to a person."""
    asked = list(backends)
    for backend in asked:
        if isinstance(backend, Inspector):
            await within(deadline, backend.mend(shard_map, deadline))
    for backend in asked:  # last, as they may have indexes to build
        if isinstance(backend, ExposureInspector):
            await within(deadline, backend.mend_exposures(exposures, shard_map.revision, deadline))


class FirstLook:
    """Logs, once in a router's life, what has drifted. It changes nothing, and never fails.

    Args:
        backends, pods: as of `examine`.
        maps: where a newer map would be: what was found by an older one may only be what changed meanwhile.
        exposures: reads them; None where there are none.
    """

    def __init__(
        self,
        backends: Iterable[Backend],
        pods: Container[str],
        maps: MapSource,
        exposures: Callable[[ShardMap, Deadline], Awaitable[Sequence[Exposed]]] | None = None,
    ) -> None:
        self._backends = backends
        self._exposures = exposures
        self._maps = maps
        self._pods = pods
        self._looks_left = LOOKS_MAX

    async def follow(self, shard_map: ShardMap, _: Deadline) -> None:
        """Looks, the first time; comes after what the router mends by itself."""
        if not self._looks_left:
            return
        self._looks_left -= 1
        try:
            deadline = Deadline.after(FIRST_LOOK_S)
            exposures = () if self._exposures is None else await self._exposures(shard_map, deadline)
            found = await examine(self._backends, shard_map, self._pods, deadline, exposures=exposures)
        except Exception as error:  # noqa: BLE001  (a look must keep nobody from what else follows from a map)
            self._looks_left = 0
            trace = None if isinstance(error, PodrouteError) else error
            _log.warning("the databases could not be compared with the shard map: %s", error, exc_info=trace)
            return
        drifts = [drift for drift in found if not drift.is_note]
        if drifts and self._looks_left and await self._has_newer(shard_map, deadline):
            return  # and another look follows, with the newer map
        self._looks_left = 0
        for drift in drifts[:LINES_MAX]:
            _log.warning("drift in %s: %s %s; mended by: %s", drift.where, drift.thing, drift.problem, drift.command)
        if len(drifts) > LINES_MAX:
            _log.warning("and %d more: podroute doctor tells of all", len(drifts) - LINES_MAX)

    async def _has_newer(self, shard_map: ShardMap, deadline: Deadline) -> bool:
        try:
            newest = await self._maps.refresh(deadline)
        except PodrouteError:  # the catalog does not serve; who holds the maps tells
            return False
        return newest.revision != shard_map.revision


def extension_drifts(extensions: Mapping[str, Extension]) -> Iterator[Drift]:
    """Where pgvector of a pod is not that of the primary, whose names postgres_fdw uses on the pod."""
    wanted = extensions.get(PRIMARY)
    if wanted is None:
        return
    for where, found in extensions.items():
        if found.schema != wanted.schema:
            yield Drift(
                where=where,
                thing="extension vector",
                problem=f"is in schema {found.schema}, on the primary in {wanted.schema}: FDW finds no operator",
                remedy=f"as administrator: alter extension vector set schema {wanted.schema}",
            )
        if found.version != wanted.version:
            behind = where if _parts(found.version) < _parts(wanted.version) else PRIMARY
            yield Drift(
                where=where,
                thing="extension vector",
                problem=f"is {found.version}, on the primary {wanted.version}",
                remedy=f"as administrator, in {behind}: alter extension vector update",
            )


def _unconfigured(pod: str) -> Drift:
    return Drift(
        where=pod_place(pod),
        thing="configuration",
        problem="has no address for it: it was not looked at",
        remedy=f"add [pods.{pod}]",
        is_note=True,
    )


def _parts(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split(".") if part.isdigit())
