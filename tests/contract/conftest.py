"""The backend that a contract test runs on."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest
import pytest_asyncio
from podroute_router.config import Config
from podroute_router.domain import Collection

from .cluster import prepared_cluster
from .harness import Harness, openings

OPENINGS = openings()


@pytest.fixture(scope="session")
def cluster_config() -> Iterator[Config]:
    """The configuration of a router of the suite's PostgreSQL servers; they run only where a backend asks for them."""
    with prepared_cluster() as config:
        yield config


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
