"""The PostgreSQL servers of the test session, prepared as users prepare theirs: ordinary roles, SCRAM, no superuser."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
from collation import dictionary_locale
from podroute_router.embedded import Cluster
from podroute_router.postgres.prepare import preparation
from podroute_router.postgres.scram import verifier

PODS = ("alpha", "beta")
POD_ON_PRIMARY = "home"


@contextmanager
def prepared_cluster() -> Iterator[Cluster]:
    """A primary, which can be a pod too, and two pods. They sort text as a dictionary does, not as C.

    Without fsync: the machine does not lose power in a test.
    """
    with (
        dictionary_locale() as locale,
        Cluster(pods=PODS, ephemeral=True, fsync=False, locale=locale.name, environment=locale.environment) as cluster,
    ):
        secret = verifier(cluster.router_role, cluster.router_password_file.read_text(encoding="utf-8").strip())
        for server in cluster.servers.values():
            steps = preparation(role=cluster.router_role, verifier=secret, pod=True, primary=server is cluster.primary)
            with psycopg.connect(server.admin_conninfo(server.database)) as connection:
                for step in steps:
                    connection.execute(step)
        yield cluster


def router_values(cluster: Cluster) -> dict[str, Any]:
    """The configuration of a router of the cluster, with the primary as a third pod, on a free port."""
    values = cluster.config_values()
    values["pods"][POD_ON_PRIMARY] = {"on_primary": True}
    values["router"] = {"listen": "127.0.0.1:0"}
    return values
