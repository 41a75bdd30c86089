"""Administrators' sessions, and the two backends that make exposures."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest
import pytest_asyncio
from podroute_fdw.backend import FdwBackend
from podroute_pgvector.backend import PgvectorBackend
from podroute_router.config import Config
from podroute_router.embedded import Cluster

from integration.exposure_setup import Databases, databases


@pytest.fixture(scope="module")
def sql_side(cluster: Cluster) -> Iterator[Databases]:
    with databases(cluster) as found:
        yield found


@pytest_asyncio.fixture
async def store(cluster_config: Config) -> AsyncIterator[PgvectorBackend]:
    opened = PgvectorBackend(cluster_config)
    yield opened
    await opened.close()


@pytest_asyncio.fixture
async def fdw(cluster_config: Config) -> AsyncIterator[FdwBackend]:
    assert cluster_config.primary is not None
    opened = FdwBackend(cluster_config, cluster_config.primary)
    yield opened
    await opened.close()
