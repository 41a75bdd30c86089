"""A collection, a stream and each access path."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Any

import podroute
import pytest
import pytest_asyncio
from podroute_router.server import Router

from .harness import DIMENSION, PATHS, POD, _numbers, streaming


@pytest.fixture(params=PATHS)
def path(request: pytest.FixtureRequest) -> Any:
    return request.param


@pytest_asyncio.fixture
async def collection(client: podroute.AsyncClient) -> AsyncIterator[str]:
    name = f"stream_{next(_numbers)}"
    await client.create_collection(name, dimension=DIMENSION, pod=POD)
    yield name
    await client.delete_collection(name)


@pytest_asyncio.fixture
async def upsert_stream(router: Router) -> AsyncIterator[Callable[..., Any]]:
    async with streaming(router.address) as opened:
        yield opened
