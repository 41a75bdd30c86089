"""Where the shard map comes from, and how a collection is looked up in it."""

from __future__ import annotations

from typing import Protocol

from podroute_router.domain import Collection, Deadline
from podroute_router.shard_map import ShardMap


class MapSource(Protocol):
    """Where the shard map comes from."""

    @property
    def current(self) -> ShardMap:
        """The newest map known."""
        ...

    async def refresh(self, deadline: Deadline) -> ShardMap:
        """The newest map there is."""
        ...


async def find_collection(maps: MapSource, name: str, deadline: Deadline) -> tuple[Collection, ShardMap]:
    """A collection and the map that has it; asks the catalog before it says that there is none.

    Raises:
        NotFound: there is no collection of that name, as far as can be known.
    """
    shard_map = maps.current
    if name not in shard_map.collections:  # another router may just have made it
        shard_map = await maps.refresh(deadline)
    return shard_map.collection(name), shard_map
