"""The control plane: makes, finds, lists and deletes collections, and tells of the pods."""

from __future__ import annotations

import asyncio
import base64
import logging
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Protocol

from podroute_router.adopting import SCHEMA, Adopting
from podroute_router.backend import CollectionStore, MapFollower
from podroute_router.config import Config
from podroute_router.domain import Collection, Deadline, Metric, Placement
from podroute_router.errors import (
    AlreadyExists,
    DeadlineExceeded,
    InvalidArgument,
    NotFound,
    PodrouteError,
    Unavailable,
)
from podroute_router.exposing import Exposing, Registry
from podroute_router.indexing import Indexing
from podroute_router.map_source import MapSource, find_collection
from podroute_router.names import check_collection_name
from podroute_router.shard_map import ShardMap
from podroute_router.wrappers import within

DEFAULT_PAGE = 100

_ASKING_S = 5.0
"""Bound on asking the catalog while a pod's transaction is open."""
_FOLLOW_S = 5.0
"""Bound on readying the FDW path after a change."""

_log = logging.getLogger(__name__)


class PodState(Enum):
    """What this router knows of a pod."""

    UNKNOWN = "unknown"
    SERVING = "serving"
    UNREACHABLE = "unreachable"
    UNCONFIGURED = "unconfigured"


@dataclass(frozen=True, slots=True, kw_only=True)
class PodStatus:
    """A pod as this router sees it."""

    name: str
    state: PodState
    collection_count: int
    on_primary: bool


class Catalog(Registry, Protocol):
    """Where the shard map is kept, and the exposures."""

    async def add_collection(self, collection: Collection, deadline: Deadline) -> Collection:
        """Adds it, and returns it as stored; raises AlreadyExists."""
        ...

    async def remove_collection(self, name: str, deadline: Deadline, *, generation: int | None = None) -> bool:
        """Removes it, of that generation only where one is given; False where there was none."""
        ...


class Collections:
    """Serves the control plane.

    Args:
        config: which pods this router can reach.
        maps: the shard map.
        catalog: where changes of it are written.
        store: makes and drops tables on pods.
        primary: the backend that goes through the primary, if there is one.
        followers: backends whose objects follow the shard map.
        pod_states: what is known of each pod; kept by the prober.
    """

    def __init__(
        self,
        *,
        config: Config,
        maps: MapSource,
        catalog: Catalog,
        store: CollectionStore,
        primary: object = None,
        followers: Sequence[MapFollower],
        pod_states: Mapping[str, PodState],
    ) -> None:
        self._config = config
        self._maps = maps
        self._catalog = catalog
        self._store = store
        self._followers = followers
        self._pod_states = pod_states
        self.indexing = Indexing(maps, store)
        """Their indexes."""
        self.adopting = Adopting(maps=maps, catalog=catalog, store=store, announce=self._follow_now)
        """Tables that become collections."""
        self.exposing = Exposing(
            maps=maps,
            catalog=catalog,
            store=store,
            primary=primary,
            is_on_primary=config.is_on_primary,
            announce=self._follow_now,
        )
        """Their views for SQL."""
        self._named: ShardMap | None = None
        self._names: list[str] = []

    async def create(
        self, name: str, dimension: int, metric: Metric | None, pod: str | None, deadline: Deadline
    ) -> Collection:
        """Makes an empty collection on the pod named, or on the reachable one with the fewest records."""
        return await within(deadline, self._create(name, dimension, metric or Metric.COSINE, pod, deadline))

    async def get(self, name: str, deadline: Deadline) -> Collection:
        """The collection of that name."""
        found, _ = await find_collection(self._maps, check_collection_name(name, "name"), deadline)
        return found

    async def page(self, page_size: int, page_token: str, deadline: Deadline) -> tuple[list[Collection], str]:
        """A page of collections by name, and the token of the next page; empty on the last.

        The first page is of the newest map, the others of one that is no older than that of the page before.
        """
        since, after = _decode_token(page_token)
        shard_map = self._maps.current
        if not page_token or shard_map.revision < since:
            shard_map = await self._newest_map(deadline)
        names = self._names_of(shard_map)
        begin = bisect_right(names, after)
        end = begin + (page_size or DEFAULT_PAGE)
        token = _encode_token(shard_map.revision, names[end - 1]) if end < len(names) else ""
        return [shard_map.collections[name] for name in names[begin:end]], token

    async def delete(self, name: str, deadline: Deadline) -> None:
        """Deletes a collection with its records. First the table: where the rest fails, the call can be repeated."""
        check_collection_name(name, "name")
        await within(deadline, self._delete(name, deadline))

    def shard_map(self) -> ShardMap:
        """The map that this router routes by."""
        return self._maps.current

    def pods(self) -> list[PodStatus]:
        """The pods by name."""
        shard_map = self._maps.current
        counts = shard_map.collection_counts()
        return [
            PodStatus(
                name=pod,
                state=self._state(pod),
                collection_count=counts[pod],
                on_primary=self._config.is_on_primary(pod),
            )
            for pod in sorted(shard_map.pods)
        ]

    async def follow(self, shard_map: ShardMap, deadline: Deadline) -> None:
        """Readies on every path what follows from the map."""
        for follower in self._followers:
            await within(deadline, follower.follow(shard_map, deadline))

    def _names_of(self, shard_map: ShardMap) -> list[str]:
        """The names of the map's collections in code-point order; a caller who reads page after page has many."""
        if self._named is not shard_map:
            self._named, self._names = shard_map, sorted(shard_map.collections)
        return self._names

    async def _newest_map(self, deadline: Deadline) -> ShardMap:
        try:
            return await self._maps.refresh(Deadline.after(deadline.remaining_s() / 2))
        except (Unavailable, DeadlineExceeded):  # the catalog is down: the map that is served by is the newest there is
            return self._maps.current

    def _state(self, pod: str) -> PodState:
        if pod not in self._config.pods:
            return PodState.UNCONFIGURED
        return self._pod_states.get(pod, PodState.UNKNOWN)

    async def _create(
        self, name: str, dimension: int, metric: Metric, pod: str | None, deadline: Deadline
    ) -> Collection:
        shard_map = await self._maps.refresh(deadline)
        if name in shard_map.collections:
            raise _taken(name)
        if pod is not None and pod not in shard_map.pods:
            raise NotFound("POD_NOT_FOUND", f"there is no pod {pod!r}", facts={"pod": pod})
        chosen = pod or await self._place(shard_map, deadline)
        wanted = Collection(
            name=name,
            dimension=dimension,
            metric=metric,
            placement=Placement(pod=chosen, schema=SCHEMA, table=name),
        )
        stored = wanted

        async def register() -> None:
            nonlocal stored
            stored = await self._catalog.add_collection(wanted, _asking(deadline))

        await self._store.create_collection(wanted, deadline, register)
        await self._follow_now(deadline)
        return stored

    async def _delete(self, name: str, deadline: Deadline) -> None:
        # By the newest map: the collection may have been made anew elsewhere. And nothing is dropped while the catalog
        # is down.
        collection = (await self._maps.refresh(deadline)).collection(name)
        await self.exposing.check_unexposed(name, deadline)
        await self._store.drop_collection(collection, deadline, lambda: self._is_still(collection, deadline))
        await self._catalog.remove_collection(name, deadline, generation=collection.placement.generation)
        await self._follow_now(deadline)

    async def _is_still(self, collection: Collection, deadline: Deadline) -> bool:
        """True where the catalog has the collection as it was: not deleted, nor made anew."""
        newest = (await self._maps.refresh(_asking(deadline))).collections.get(collection.name)
        return newest is not None and newest.placement == collection.placement

    async def _follow_now(self, deadline: Deadline) -> None:
        """Knows the change at once, on every path, so that the caller's next call meets it.

        The change itself stands already, so a failure here is no failure of the call: the router goes on trying.
        """
        try:
            shard_map = await self._maps.refresh(deadline)
            await self.follow(shard_map, Deadline.after(min(_FOLLOW_S, deadline.remaining_s() / 2)))
        except PodrouteError as error:
            _log.warning("a change is not known on every path yet: %s (%r)", error, error.__cause__)

    async def _place(self, shard_map: ShardMap, deadline: Deadline) -> str:
        """The pod with the fewest records among those that answer; then the fewest collections; then by name."""
        pods = sorted(
            pod for pod in shard_map.pods if pod in self._config.pods and self._state(pod) is not PodState.UNREACHABLE
        )
        budget = Deadline.after(deadline.remaining_s() / 2)
        answers = await asyncio.gather(
            *(within(budget, self._store.record_estimate(pod, budget)) for pod in pods), return_exceptions=True
        )
        counts = shard_map.collection_counts()
        loads = [
            (answer, counts[pod], pod) for pod, answer in zip(pods, answers, strict=True) if isinstance(answer, int)
        ]
        if not loads:
            raise Unavailable("NO_POD", "no pod can be reached to place the collection on", retry_after_s=1.0)
        return min(loads)[2]


def _asking(deadline: Deadline) -> Deadline:
    """The catalog is asked while a table is locked."""
    return Deadline.after(min(_ASKING_S, deadline.remaining_s()))


def _taken(name: str) -> AlreadyExists:
    return AlreadyExists("COLLECTION_EXISTS", f"there is a collection {name!r} already", facts={"collection": name})


def _encode_token(revision: int, name: str) -> str:
    return base64.urlsafe_b64encode(f"{revision}:{name}".encode()).decode()


def _decode_token(token: str) -> tuple[int, str]:
    """The revision of the map that the page before was of, and the last name on it."""
    if not token:
        return 0, ""
    try:
        revision, _, name = base64.b64decode(token.encode(), altchars=b"-_", validate=True).decode().partition(":")
        return int(revision), name
    except ValueError as error:
        raise InvalidArgument("PAGE_TOKEN", "page_token", "is not one that this service gave out") from error
