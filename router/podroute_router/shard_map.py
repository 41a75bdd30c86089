"""The shard map: an immutable value that says which pods there are and which collection lives where."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from types import MappingProxyType

from podroute_router.domain import Collection
from podroute_router.errors import NotFound


@dataclass(frozen=True, slots=True)
class Change:
    """What the catalog says of one collection as of a revision; `collection` is None where it was deleted."""

    name: str
    collection: Collection | None


@dataclass(frozen=True, slots=True, weakref_slot=True)
class ShardMap:
    """Pods and collections as of one revision. Two maps of one revision are equal. Swapped whole, never edited."""

    revision: int = 0
    pods: frozenset[str] = frozenset()
    collections: MappingProxyType[str, Collection] = field(default_factory=lambda: MappingProxyType({}))

    def collection(self, name: str) -> Collection:
        """The collection of that name; raises NotFound."""
        found = self.collections.get(name)
        if found is None:
            raise NotFound(
                "COLLECTION_NOT_FOUND",
                f"there is no collection {name!r}",
                facts={"collection": name},
            )
        return found

    def changed(self, revision: int, pods: Iterable[str], changes: Iterable[Change]) -> ShardMap:
        """The map of a later revision: these pods, and this map's collections with the changes applied."""
        collections = self.collections.copy()
        for change in changes:
            if change.collection is None:
                collections.pop(change.name, None)
            else:
                collections[change.name] = change.collection
        return ShardMap(revision, frozenset(pods), MappingProxyType(collections))

    def changed_names(self, before: ShardMap) -> list[str]:
        """Names of the collections that this map has otherwise than the map before, or has not any more.

        What a change leaves alone is the same object in both maps, so that this takes little even of large ones.
        """
        known = before.collections
        changed = [name for name, collection in self.collections.items() if known.get(name) is not collection]
        return changed + [name for name in known if name not in self.collections]

    def collection_counts(self) -> Counter[str]:
        """How many collections each pod holds."""
        return Counter(c.placement.pod for c in self.collections.values())
