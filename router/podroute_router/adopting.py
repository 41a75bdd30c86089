"""The control plane of adoption: makes collections of tables that stand on a pod already, such as those of vecs."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Protocol

from podroute_router.backend import TableAdopter
from podroute_router.domain import Collection, Deadline, Finding, FoundTable, Index, Metric, Placement
from podroute_router.errors import AlreadyExists, FailedPrecondition, InvalidArgument, NotFound, Unsupported
from podroute_router.map_source import MapSource
from podroute_router.names import check_collection_name
from podroute_router.shard_map import ShardMap
from podroute_router.wrappers import within

SCHEMA = "vecs"
"""Schema of collections' tables, as the vecs client has it."""


class Registry(Protocol):
    """Where collections are registered."""

    async def add_collection(self, collection: Collection, deadline: Deadline) -> Collection:
        """Adds it, and returns it as stored; raises AlreadyExists."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Adopted:
    """A collection as it was adopted, or as it would be, and the table it is made of."""

    collection: Collection
    table: FoundTable


class Adopting:
    """Adopts tables.

    Args:
        maps: the shard map.
        catalog: where collections are registered.
        store: finds tables, if it can.
        announce: called after a change of the shard map.
    """

    def __init__(
        self,
        *,
        maps: MapSource,
        catalog: Registry,
        store: object,
        announce: Callable[[Deadline], Awaitable[None]],
    ) -> None:
        self._maps = maps
        self._catalog = catalog
        self._store = store if isinstance(store, TableAdopter) else None
        self._announce = announce

    async def tables(self, pod: str, deadline: Deadline) -> list[FoundTable]:
        """The pod's tables that are no collections, by name, with what keeps each from being one."""
        return await within(deadline, self._tables(pod, deadline))

    async def adopt(
        self,
        pod: str,
        table: str,
        name: str | None,
        metric: Metric | None,
        deadline: Deadline,
        *,
        dry_run: bool,
    ) -> Adopted:
        """Makes a table a collection, without copying it.

        Args:
            pod: where it is.
            table: its name.
            name: the collection's; None takes the table's.
            metric: of queries that name none; None takes that of the table's indexes, where they have one.
            deadline: the call's.
            dry_run: only find out, and let findings that block be.

        Raises:
            InvalidArgument: the table's name is none for a collection, and no other is given.
            NotFound: there is no such pod or table.
            AlreadyExists: the collection's name is taken, or the table is a collection.
            FailedPrecondition: something has to be done to the table first.
        """
        return await within(deadline, self._adopt(pod, table, name, metric, deadline, dry_run=dry_run))

    async def _tables(self, pod: str, deadline: Deadline) -> list[FoundTable]:
        shard_map = await self._map_with(pod, deadline)
        taken = set(_tables_of(pod, shard_map))
        found = await self._adopter().find_tables(pod, None, deadline)
        return [
            replace(table, findings=(*_about_name(table.name, shard_map), *table.findings))
            for table in found
            if table.name not in taken
        ]

    async def _adopt(
        self, pod: str, table: str, name: str | None, metric: Metric | None, deadline: Deadline, *, dry_run: bool
    ) -> Adopted:
        wanted = check_collection_name(table if name is None else name, "name")
        shard_map = await self._map_with(pod, deadline)
        facts = {"collection": wanted, "pod": pod, "table": table}
        if wanted in shard_map.collections:
            raise AlreadyExists("COLLECTION_EXISTS", f"there is a collection {wanted!r} already", facts=facts)
        if table in _tables_of(pod, shard_map):
            raise AlreadyExists("TABLE_TAKEN", "the table belongs to another collection", facts=facts)
        found = await self._adopter().find_tables(pod, [table], deadline)
        if not found:
            raise NotFound("TABLE_NOT_FOUND", f"pod {pod!r} has no table {SCHEMA}.{table}", facts=facts)
        blocking = [finding for finding in found[0].findings if finding.blocking]
        placement = Placement(pod=pod, schema=SCHEMA, table=table, generation=0 if dry_run else 1)
        collection = Collection(
            name=wanted,
            dimension=found[0].dimension,
            metric=metric or _metric_of(found[0].indexes),
            placement=placement,
        )
        if dry_run:
            return Adopted(collection=collection, table=found[0])
        if blocking:
            raise FailedPrecondition(
                "NOT_ADOPTABLE",
                f"the table cannot be adopted as it is: {'; '.join(finding.message for finding in blocking)}",
                facts=facts | {"findings": ",".join(finding.reason for finding in blocking)},
            )
        await self._adopter().adopt_collection(collection, deadline)
        stored = await self._catalog.add_collection(collection, deadline)
        await self._announce(deadline)
        return Adopted(collection=stored, table=found[0])

    async def _map_with(self, pod: str, deadline: Deadline) -> ShardMap:
        """The newest map; raises NotFound where it does not have the pod."""
        shard_map = await self._maps.refresh(deadline)
        if pod not in shard_map.pods:
            raise NotFound("POD_NOT_FOUND", f"there is no pod {pod!r}", facts={"pod": pod})
        return shard_map

    def _adopter(self) -> TableAdopter:
        if self._store is None:
            raise Unsupported("ADOPTION_UNSUPPORTED", "the backend that serves DIRECT adopts no tables")
        return self._store


def _tables_of(pod: str, shard_map: ShardMap) -> Iterator[str]:
    """The pod's tables that are collections."""
    for collection in shard_map.collections.values():
        if collection.placement.pod == pod and collection.placement.schema == SCHEMA:
            yield collection.placement.table


def _about_name(table: str, shard_map: ShardMap) -> Iterator[Finding]:
    """What keeps the table from being adopted under its own name."""
    try:
        check_collection_name(table, "name")
    except InvalidArgument:
        yield Finding(
            reason="COLLECTION_NAME", message="no collection can be called so: give another name", blocking=True
        )
    else:
        if table in shard_map.collections:
            yield Finding(
                reason="COLLECTION_EXISTS",
                message="another collection is called so: give another name",
                blocking=True,
            )


def _metric_of(indexes: Iterable[Index]) -> Metric:
    """That of the valid indexes, if they have only one; else cosine, which queries of vecs have by default."""
    metrics = {index.metric for index in indexes if index.valid and index.metric is not None}
    return metrics.pop() if len(metrics) == 1 else Metric.COSINE
