"""The backend that a contract test runs on."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from podroute_router.config import Config, make_config
from podroute_router.domain import Collection
from podroute_router.embedded import Cluster
from servers import router_values, separate_primary

from .harness import Harness, openings

OPENINGS = openings()


@pytest.fixture(scope="session")
def contract_config(cluster: Cluster) -> Config:
    """The configuration of a router with a primary of the suite's own; asked for by SQL backends only."""
    return make_config(router_values(cluster, primary=separate_primary(cluster)))


@pytest_asyncio.fixture(scope="session", params=list(OPENINGS))
async def harness(request: pytest.FixtureRequest) -> AsyncIterator[Harness]:
    """Each backend in turn, open for the session."""
    async with OPENINGS[request.param](request) as opened:
        yield opened


@pytest_asyncio.fixture
async def collection(harness: Harness) -> AsyncIterator[Collection]:
    """An empty collection of dimension 3."""
    async with harness.collection(3) as empty:
        yield empty
