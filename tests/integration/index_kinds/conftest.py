"""A backend, and a collection large enough for a build to be watched."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator

import numpy as np
import pytest
import pytest_asyncio
from podroute_pgvector import indexes
from podroute_pgvector.backend import PgvectorBackend
from podroute_router.config import make_config
from podroute_router.domain import (
    Collection,
    Metric,
    Placement,
    Record,
)
from podroute_router.embedded import Cluster
from servers import router_values

from .harness import COUNT, DIMENSION, soon


@pytest_asyncio.fixture
async def store(cluster: Cluster) -> AsyncIterator[PgvectorBackend]:
    opened = PgvectorBackend(make_config(router_values(cluster)))
    yield opened
    await opened.close()


@pytest_asyncio.fixture
async def collection(store: PgvectorBackend) -> AsyncIterator[Collection]:
    """A collection on pod alpha that is large enough for a build to be watched."""
    name = f"kinds_{uuid.uuid4().hex[:8]}"
    placement = Placement(pod="alpha", schema="vecs", table=name)
    made = Collection(name=name, dimension=DIMENSION, metric=Metric.L2, placement=placement)
    await store.create_collection(made, soon())
    vectors = np.random.default_rng(4).normal(size=(COUNT, DIMENSION)).astype(np.float32)
    records = [Record(id=str(i), vector=vectors[i], metadata=f'{{"n": {i}, "bin": {i % 50}}}') for i in range(COUNT)]
    await store.upsert(made, records, soon())
    yield made
    await store.drop_collection(made, soon())


@pytest.fixture
def frequent_progress(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(indexes, "PROGRESS_INTERVAL_S", 0.02)
