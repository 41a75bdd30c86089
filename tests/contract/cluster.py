"""The PostgreSQL servers of the contract suite: a primary that is also a pod, and a pod apart, prepared as users do."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
from collation import dictionary_locale
from podroute_router.config import Config, make_config
from podroute_router.embedded import Cluster
from podroute_router.postgres.prepare import preparation
from podroute_router.postgres.scram import verifier

POD_APART = "apart"
POD_ON_PRIMARY = "home"


@contextmanager
def prepared_cluster() -> Iterator[Config]:
    """Starts the servers; gives the configuration of a router of theirs. They sort text as a dictionary does, not as C.

    The router's role is an ordinary one.
    """
    with (
        dictionary_locale() as locale,
        Cluster(
            pods=[POD_APART], ephemeral=True, fsync=False, locale=locale.name, environment=locale.environment
        ) as cluster,
    ):
        password = cluster.router_password_file.read_text(encoding="utf-8").strip()
        for server in cluster.servers.values():
            statements = preparation(
                role=cluster.router_role,
                verifier=verifier(cluster.router_role, password),
                pod=True,
                primary=server is cluster.primary,
            )
            with psycopg.connect(server.admin_conninfo(server.database)) as connection:
                for statement in statements:
                    connection.execute(statement)
        values = cluster.config_values()
        values["pods"][POD_ON_PRIMARY] = {"on_primary": True}
        yield make_config(values)
