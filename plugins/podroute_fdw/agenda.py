"""What a router has yet to compare on the primary with the shard map. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from podroute_router.shard_map import ShardMap


class Agenda:
    """All that may stand otherwise than the shard map has it; everything at first.

    A map adds what it has otherwise than the one before, and what has been brought to a map is struck off. So work that
    was passed over, failed, or was cut short is still there with the next map, and goes on where it ended.
    """

    def __init__(self) -> None:
        self._map: ShardMap | None = None
        self.servers = True
        """Servers and user mappings."""
        self.unknown_tables = True
        """Foreign tables of which the agenda knows no name, because their collection or pod went before it began."""
        self._pods: dict[str, None] = {}
        self._collections: dict[str, None] = {}

    @property
    def pods(self) -> list[str]:
        """Pods whose control table is to be compared."""
        return list(self._pods)

    @property
    def collections(self) -> list[str]:
        """Names of the collections whose tables are to be compared, in the order in which they came."""
        return list(self._collections)

    def is_done(self, shard_map: ShardMap) -> bool:
        """Whether everything has been brought to this very map."""
        outstanding = self.servers or self.unknown_tables or self._pods or self._collections
        return self._map is shard_map and not outstanding

    def begin_anew(self, *, first: str) -> None:
        """Everything is to be compared again with the next map taken up, the collection of that name first."""
        self._map = None
        self._pods = {}
        self._collections = {first: None}

    def take_up(self, shard_map: ShardMap) -> None:
        """Adds what the map has otherwise than the one taken up before."""
        before, self._map = self._map, shard_map
        if before is None:
            self.servers = self.unknown_tables = True
            self._pods |= dict.fromkeys(shard_map.pods)
            self._collections |= dict.fromkeys(shard_map.collections)
        elif before is not shard_map:
            self.servers = self.servers or before.pods != shard_map.pods
            self._pods |= dict.fromkeys(before.pods ^ shard_map.pods)
            self._collections |= dict.fromkeys(shard_map.changed_names(before))

    def strike_pods(self, names: Iterable[str]) -> None:
        """The control tables of these pods are as the map has them."""
        for name in names:
            self._pods.pop(name, None)

    def strike_collections(self, names: Iterable[str]) -> None:
        """The tables of these collections are as the map has them."""
        for name in names:
            self._collections.pop(name, None)

    def strike_all(self) -> None:
        """Everything is as the map has it."""
        self.servers = self.unknown_tables = False
        self._pods.clear()
        self._collections.clear()
