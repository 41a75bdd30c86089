"""A router serves when it says so."""

from __future__ import annotations

from podroute_router.config import make_config
from podroute_router.embedded import Cluster
from podroute_router.server import Router
from servers import router_values, separate_primary


async def test_a_router_on_a_new_catalog_knows_its_pods_once_it_serves(cluster: Cluster) -> None:
    router = await Router.start(make_config(router_values(cluster, primary=separate_primary(cluster))))
    known = router._maps.current.pods  # before anything else had a turn
    await router.stop(grace_s=0)
    assert {"alpha", "beta"} <= set(known)
