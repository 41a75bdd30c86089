"""What commands share that look into the databases themselves, with a router's configuration and without a router."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import NamedTuple

import click

from podroute_router.backend import Backend
from podroute_router.catalog.store import CatalogStore
from podroute_router.config import Config
from podroute_router.domain import Deadline
from podroute_router.exposures import Exposed, with_collections
from podroute_router.plugins import load_backend_factories
from podroute_router.postgres.pool import Pool
from podroute_router.server import open_backends
from podroute_router.shard_map import ShardMap

config_option = click.option(
    "--config",
    "config_file",
    type=click.Path(path_type=Path),
    envvar="PODROUTE_CONFIG",
    show_envvar=True,
    help="The TOML file of `podroute serve`; without it the configuration is the environment's alone.",
)
timeout_option = click.option(
    "--timeout",
    "timeout_s",
    type=click.FloatRange(min=1),
    default=60.0,
    show_default=True,
    help="Seconds for all of it.",
)


class Databases(NamedTuple):
    """The backends of a configuration, and the shard map and the exposures as the catalog has them."""

    backends: Sequence[Backend]
    shard_map: ShardMap
    exposures: Sequence[Exposed]


@asynccontextmanager
async def databases(config: Config, deadline: Deadline) -> AsyncIterator[Databases]:
    """Opens the backends and reads the catalog. Raises as starting a router does."""
    backends = open_backends(config, load_backend_factories()).values()
    catalog = Pool(
        config.catalog_database,
        size=1,
        linger_s=config.timeouts.connect_s,
        connect_timeout_s=config.timeouts.connect_s,
        facts={"database": "catalog"},
    )
    try:
        store = CatalogStore(catalog)
        await store.check(deadline)
        shard_map = await store.load(ShardMap(), deadline)
        _, exposures = await store.exposures(deadline)
        exposed = with_collections(exposures, shard_map, lambda pod: _is_foreign(config, pod))
        yield Databases(list(backends), shard_map, exposed)
    finally:
        for backend in backends:
            await backend.close()
        await catalog.close()


def _is_foreign(config: Config, pod: str) -> bool:
    return config.primary is not None and not config.is_on_primary(pod)
