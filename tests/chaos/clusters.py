"""Clusters of a test's own, beside that of the session."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from podroute_router.embedded import Cluster, Server
from podroute_router.postgres.prepare import prepare
from servers import PODS, kept_verifier, prepared_cluster

CATALOG = "register"
"""A server for the catalog alone; it is among the cluster's pods, and in no router's configuration as one."""


@contextmanager
def cluster_with_catalog() -> Iterator[Cluster]:
    """A primary, two pods, and a server for the catalog, with fsync."""
    with prepared_cluster(pods=(*PODS, CATALOG), fsync=True) as started:
        server = catalog_server(started)
        secret = started.router_password_file.read_text(encoding="utf-8").strip()
        verifier = kept_verifier(started.router_role, secret)
        admin = server.admin_conninfo(server.database)
        prepare(admin, role=started.router_role, verifier=verifier, pod=False, primary=True)
        yield started


def catalog_server(cluster: Cluster) -> Server:
    """The server that a cluster has for its catalog."""
    return cluster.servers[CATALOG]
