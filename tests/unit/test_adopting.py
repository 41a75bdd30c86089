"""What a table is adopted as, and by which backends."""

from __future__ import annotations

from collections.abc import Sequence
from types import MappingProxyType

import pytest
from podroute_memory.backend import MemoryBackend
from podroute_router.adopting import Adopting
from podroute_router.domain import Collection, Deadline, FoundTable, Hnsw, Index, Metric
from podroute_router.errors import Unsupported
from podroute_router.shard_map import ShardMap


class Maps:
    current = ShardMap(revision=1, pods=frozenset({"alpha"}), collections=MappingProxyType({}))

    async def refresh(self, deadline: Deadline) -> ShardMap:
        return self.current


class Registry:
    """Keeps what is registered."""

    def __init__(self) -> None:
        self.added: list[Collection] = []

    async def add_collection(self, collection: Collection, deadline: Deadline) -> Collection:
        self.added.append(collection)
        return collection


class Adopter:
    """Has one table."""

    def __init__(self, *indexes: Index) -> None:
        self.table = FoundTable(name="docs", dimension=3, record_estimate=7, indexes=indexes)
        self.readied: list[Collection] = []

    async def find_tables(self, pod: str, names: Sequence[str] | None, deadline: Deadline) -> list[FoundTable]:
        return [self.table]

    async def adopt_collection(self, collection: Collection, deadline: Deadline) -> None:
        self.readied.append(collection)


async def announce(deadline: Deadline) -> None:
    pass


def adopting(store: object, registry: Registry | None = None) -> Adopting:
    return Adopting(maps=Maps(), catalog=registry or Registry(), store=store, announce=announce)


def soon() -> Deadline:
    return Deadline.after(5)


def index(metric: Metric | None, *, valid: bool = True) -> Index:
    return Index(name="i", metric=metric, method=Hnsw(m=16, ef_construction=64), size_bytes=1, valid=valid)


async def test_a_backend_that_adopts_no_tables_says_so() -> None:
    for call in (
        adopting(MemoryBackend()).tables("alpha", soon()),
        adopting(MemoryBackend()).adopt("alpha", "docs", None, None, soon(), dry_run=False),
    ):
        with pytest.raises(Unsupported) as refused:
            await call
        assert refused.value.reason == "ADOPTION_UNSUPPORTED"


@pytest.mark.parametrize(
    ("indexes", "asked", "expected"),
    [
        ((), None, Metric.COSINE),
        ((index(Metric.L2), index(Metric.L2), index(None)), None, Metric.L2),
        ((index(Metric.L2), index(Metric.L1)), None, Metric.COSINE),
        ((index(Metric.L2, valid=False),), None, Metric.COSINE),
        ((index(Metric.L2),), Metric.INNER_PRODUCT, Metric.INNER_PRODUCT),
    ],
)
async def test_the_metric_is_the_one_that_the_indexes_agree_on(
    indexes: tuple[Index, ...], asked: Metric | None, expected: Metric
) -> None:
    registry, store = Registry(), Adopter(*indexes)
    for dry_run in (True, False):
        adopted = await adopting(store, registry).adopt("alpha", "docs", None, asked, soon(), dry_run=dry_run)
        assert adopted.collection.metric is expected
    assert registry.added == store.readied == [adopted.collection]
