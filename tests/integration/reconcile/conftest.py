"""A primary of the test's own, and the pods' backend."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import psycopg
import pytest
import pytest_asyncio
from podroute_pgvector.backend import PgvectorBackend
from podroute_router.config import Config, make_config
from podroute_router.embedded import Cluster
from servers import router_values, separate_primary

from .harness import Primary


@pytest.fixture
def primary(cluster: Cluster) -> Iterator[Primary]:
    name = separate_primary(cluster)
    with psycopg.connect(cluster.primary.admin_conninfo(name), autocommit=True) as admin:
        yield Primary(name, make_config(router_values(cluster, primary=name)), admin)


@pytest_asyncio.fixture
async def store(cluster_config: Config) -> AsyncIterator[PgvectorBackend]:
    opened = PgvectorBackend(cluster_config)
    yield opened
    await opened.close()
