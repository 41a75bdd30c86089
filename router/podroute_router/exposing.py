"""The control plane of exposures: has the views of collections made, listed and dropped."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from dataclasses import replace
from typing import Protocol

from podroute_router.backend import Exposer, ExposureFollower
from podroute_router.domain import Deadline
from podroute_router.errors import AlreadyExists, FailedPrecondition, NotFound, Unsupported
from podroute_router.exposures import (
    Exposed,
    ExposingFacts,
    Exposure,
    check_exposure,
    texts_sort_alike,
    with_collections,
)
from podroute_router.map_source import MapSource
from podroute_router.shard_map import ShardMap
from podroute_router.wrappers import within


class Registry(Protocol):
    """Where exposures are registered."""

    async def exposures(self, deadline: Deadline) -> tuple[int, list[Exposure]]:
        """The revision, and all exposures as of it, by schema and view."""
        ...

    async def put_exposure(self, exposure: Exposure, deadline: Deadline) -> None:
        """Adds it, or has it take the place of the collection's own of that name; raises AlreadyExists."""
        ...

    async def remove_exposure(self, exposure: Exposure, deadline: Deadline) -> bool:
        """Removes it; False where there was none."""
        ...


class Exposing:
    """Exposes collections.

    Args:
        maps: the shard map.
        catalog: where exposures are registered.
        store: makes views on pods, if it can.
        primary: makes views on the primary, if there is one and it can.
        is_on_primary: whether a pod is the primary itself.
        announce: called after a change of the catalog.
    """

    def __init__(
        self,
        *,
        maps: MapSource,
        catalog: Registry,
        store: object,
        primary: object,
        is_on_primary: Callable[[str], bool],
        announce: Callable[[Deadline], Awaitable[None]],
    ) -> None:
        self._maps = maps
        self._catalog = catalog
        self._store = store if isinstance(store, Exposer) else None
        self._primary = primary if isinstance(primary, Exposer) else None
        self._follower = primary if isinstance(primary, ExposureFollower) else None
        self._is_on_primary = is_on_primary
        self._announce = announce

    async def expose(self, exposure: Exposure, deadline: Deadline) -> Exposure:
        """Makes the exposure, or changes the one of that name to be so, and returns it as registered.

        Raises:
            InvalidArgument: there can be none such.
            NotFound: there is no such collection, schema or role.
            AlreadyExists: the name is someone else's, or another collection's.
            FailedPrecondition: podroute lacks a right, or columns change and something rests on the view.
        """
        return await within(deadline, self._expose(check_exposure(exposure), deadline))

    async def unexpose(self, collection: str, schema: str, view: str, deadline: Deadline) -> None:
        """Drops an exposure.

        Raises:
            NotFound: the collection has no exposure of that name.
            FailedPrecondition: something rests on the view.
        """
        await within(deadline, self._unexpose(Exposure(collection=collection, schema=schema, view=view), deadline))

    async def exposures(self, collection: str | None, deadline: Deadline) -> list[Exposure]:
        """The exposures of a collection, or all, by schema and view."""
        _, found = await within(deadline, self._catalog.exposures(deadline))
        return [each for each in found if collection in (None, each.collection)]

    async def check_unexposed(self, collection: str, deadline: Deadline) -> None:
        """Raises FailedPrecondition where the collection has exposures: others rely on them."""
        if found := await self.exposures(collection, deadline):
            names = ", ".join(f"{each.schema}.{each.view}" for each in found)
            raise FailedPrecondition(
                "COLLECTION_EXPOSED",
                f"collection {collection!r} is exposed as {names}; unexpose it first",
                facts={"collection": collection, "exposures": names},
            )

    async def exposed(self, shard_map: ShardMap, deadline: Deadline) -> list[Exposed]:
        """All exposures, with the collections of the map."""
        return self._with_collections(await self.exposures(None, deadline), shard_map)

    async def follow(self, shard_map: ShardMap, deadline: Deadline) -> None:
        """Makes the primary's views agree with the catalog."""
        if self._follower is None:
            return
        revision, exposures = await self._catalog.exposures(deadline)
        if any(each.collection not in shard_map.collections for each in exposures):
            return  # they are of a newer map, which follows; by this one, views of its collections would be dropped
        exposed = self._with_collections(exposures, shard_map)
        revision = min(revision, shard_map.revision)
        await within(deadline, self._follower.follow_exposures(exposed, revision, deadline))

    async def _expose(self, exposure: Exposure, deadline: Deadline) -> Exposure:
        store = self._exposer()
        shard_map = await self._maps.refresh(deadline)
        shard_map.collection(exposure.collection)
        [exposed] = self._with_collections([exposure], shard_map)
        others = await self._others(exposure, shard_map, deadline)
        of_pod = await store.look_for_exposure(exposed, deadline)
        primary = self._primary if exposed.is_foreign else None
        of_primary = None if primary is None else await primary.look_for_exposure(exposed, deadline)
        _check_facts(exposure, of_pod, of_primary)
        code_points = not texts_sort_alike(of_pod, of_primary)
        exposed = replace(exposed, exposure=replace(exposure, code_point_order=code_points))
        await store.make_exposure(exposed, others, deadline)
        try:
            await self._catalog.put_exposure(exposed.exposure, deadline)
        except AlreadyExists:  # another collection was first; a view that nothing knows of would keep the table
            await store.remove_exposure(exposed, others, deadline)
            raise
        await self._announce(deadline)
        if primary is not None:
            await primary.make_exposure(exposed, others, deadline)
        return exposed.exposure

    async def _unexpose(self, named: Exposure, deadline: Deadline) -> None:
        store = self._exposer()
        shard_map = await self._maps.refresh(deadline)
        shard_map.collection(named.collection)
        [exposed] = self._with_collections([named], shard_map)
        _, exposures = await self._catalog.exposures(deadline)
        if not any((each.name, each.collection) == (named.name, named.collection) for each in exposures):
            raise NotFound(
                "EXPOSURE_NOT_FOUND",
                f"collection {named.collection!r} is not exposed as {named.schema}.{named.view}",
                facts={"collection": named.collection, "schema": named.schema, "view": named.view},
            )
        others = await self._others(named, shard_map, deadline)
        # Nothing is dropped before all can be. The primary first: its view rests on that of the pod.
        hosts = [store] if self._primary is None or not exposed.is_foreign else [self._primary, store]
        for host in hosts:
            await host.check_exposure_removable(exposed, deadline)
        for host in hosts:
            await host.remove_exposure(exposed, others, deadline)
        await self._catalog.remove_exposure(named, deadline)
        await self._announce(deadline)

    async def _others(self, exposure: Exposure, shard_map: ShardMap, deadline: Deadline) -> list[Exposed]:
        """The collection's other exposures; raises AlreadyExists where another collection has one of that name."""
        _, exposures = await self._catalog.exposures(deadline)
        for each in exposures:
            if each.name == exposure.name and each.collection != exposure.collection:
                raise AlreadyExists(
                    "EXPOSURE_EXISTS",
                    f"{each.schema}.{each.view} is an exposure of collection {each.collection!r}",
                    facts={"collection": each.collection, "schema": each.schema, "view": each.view},
                )
        of_collection = [
            each for each in exposures if each.collection == exposure.collection and each.name != exposure.name
        ]
        return self._with_collections(of_collection, shard_map)

    def _with_collections(self, exposures: Iterable[Exposure], shard_map: ShardMap) -> list[Exposed]:
        return with_collections(exposures, shard_map, self._is_foreign)

    def _is_foreign(self, pod: str) -> bool:
        return self._primary is not None and not self._is_on_primary(pod)

    def _exposer(self) -> Exposer:
        if self._store is None:
            raise Unsupported("EXPOSURE_UNSUPPORTED", "the backend that serves DIRECT exposes no collections")
        return self._store


def _check_facts(exposure: Exposure, pod: ExposingFacts, primary: ExposingFacts | None) -> None:
    facts = {"collection": exposure.collection}
    if primary is not None and pod.vector_schema != primary.vector_schema:
        raise FailedPrecondition(
            "VECTOR_SCHEMAS_DIFFER",
            f"pgvector is in schema {pod.vector_schema!r} on the pod and in {primary.vector_schema!r} on the primary; "
            "PostgreSQL needs it in the same one",
            facts=facts,
        )
    asked = primary or pod
    if asked.missing_roles:
        raise NotFound(
            "ROLE_NOT_FOUND",
            f"there is no role {', '.join(map(repr, asked.missing_roles))} on the {'primary' if primary else 'pod'}",
            facts=facts | {"roles": ",".join(asked.missing_roles)},
        )
