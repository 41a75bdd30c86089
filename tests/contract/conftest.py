"""The backend that a contract test runs on."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from podroute_router.domain import Collection

from .harness import Harness, openings

OPENINGS = openings()


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
