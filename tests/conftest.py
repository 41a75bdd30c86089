"""What the suites share: one cluster, one router and its clients for the session."""

from __future__ import annotations

import os

os.environ.setdefault("GRPC_VERBOSITY", "NONE")  # before grpc is imported: it writes to the stderr of forked children

from collections.abc import AsyncIterator, Iterator

import podroute
import pytest
import pytest_asyncio
from podroute_router.config import Config, make_config
from podroute_router.embedded import Cluster
from podroute_router.server import Router
from servers import prepared_cluster, router_values


def pytest_addoption(parser: pytest.Parser) -> None:
    chaos = parser.getgroup("chaos", "tests/chaos")
    chaos.addoption("--chaos", choices=("quick", "full"), default="quick", help="full takes minutes a test")
    chaos.addoption("--chaos-seed", type=int, default=20_261_123, help="of all that is drawn at random")
    chaos.addoption("--chaos-minutes", type=float, default=2.0, help="how long tests of endurance go on in a full run")
    chaos.addoption("--chaos-publish", action="store_true", help="write results.json and docs/reliability.md")


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    """A primary and two pods."""
    with prepared_cluster() as started:
        yield started


@pytest.fixture(scope="session")
def cluster_config(cluster: Cluster) -> Config:
    """The configuration of a router of the cluster."""
    return make_config(router_values(cluster))


@pytest_asyncio.fixture(scope="session")
async def router(cluster_config: Config) -> AsyncIterator[Router]:
    """A router that serves the cluster."""
    started = await Router.start(cluster_config)
    yield started
    await started.stop()


@pytest_asyncio.fixture(scope="session")
async def client(router: Router) -> AsyncIterator[podroute.AsyncClient]:
    """A client of the router."""
    async with podroute.AsyncClient(router.address) as opened:
        yield opened
