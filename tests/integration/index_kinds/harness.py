"""What the tests of indexes share: their size, what is wanted, and a build to its end."""

from __future__ import annotations

from pod_sessions import last
from podroute_pgvector.backend import PgvectorBackend
from podroute_router.domain import (
    Collection,
    Deadline,
    Hnsw,
    Index,
    IndexMethod,
    IvfFlat,
    MetadataGin,
    Metric,
    WantedIndex,
)

DIMENSION = 8
COUNT = 2000


def soon() -> Deadline:
    return Deadline.after(30)


def wanted(method: IndexMethod, metric: Metric | None = Metric.L2, *, replace: bool = False) -> WantedIndex:
    return WantedIndex(metric=None if isinstance(method, MetadataGin) else metric, method=method, replace=replace)


async def built(store: PgvectorBackend, collection: Collection, index: WantedIndex) -> Index:
    event = await last(store.create_index(collection, index, soon()))
    assert isinstance(event, Index)
    return event


OF_HNSW = [
    (Hnsw(), Hnsw(m=16, ef_construction=64), r"ix_vector_\w+_ops_hnsw_m16_efc64_[0-9a-f]{7}"),
    (Hnsw(m=4, ef_construction=20), Hnsw(m=4, ef_construction=20), r"ix_vector_\w+_ops_hnsw_m4_efc20_[0-9a-f]{7}"),
]
OF_IVFFLAT = [
    (IvfFlat(), IvfFlat(lists=10), r"ix_vector_\w+_ops_ivfflat_nl10_[0-9a-f]{7}"),
    (IvfFlat(lists=33), IvfFlat(lists=33), r"ix_vector_\w+_ops_ivfflat_nl33_[0-9a-f]{7}"),
]
