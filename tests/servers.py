"""The PostgreSQL servers of the test session, prepared as users prepare theirs: ordinary roles, SCRAM, no superuser."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
from collation import dictionary_locale
from podroute_router.embedded import Cluster
from podroute_router.postgres.prepare import prepare
from podroute_router.postgres.scram import verifier

PODS = ("alpha", "beta")
POD_ON_PRIMARY = "home"

_numbers = itertools.count(1)


@contextmanager
def prepared_cluster() -> Iterator[Cluster]:
    """A primary, which can be a pod too, and two pods. They sort text as a dictionary does, not as C.

    Without fsync: the machine does not lose power in a test.
    """
    with (
        dictionary_locale() as locale,
        Cluster(pods=PODS, ephemeral=True, fsync=False, locale=locale.name, environment=locale.environment) as cluster,
    ):
        for server in cluster.servers.values():
            _prepare(cluster, server.admin_conninfo(server.database), primary=server is cluster.primary)
        yield cluster


@contextmanager
def separate_primary(cluster: Cluster) -> Iterator[str]:
    """Another database on the primary's server, prepared as primary and pod: its name.

    For those who bring shard maps of their own; they would quarrel with the session's router over one primary.
    """
    name = f"primary_{next(_numbers)}"
    with psycopg.connect(cluster.primary.admin_conninfo(), autocommit=True) as admin:
        admin.execute(f"create database {name}".encode())
        _prepare(cluster, cluster.primary.admin_conninfo(name), primary=True)
        yield name
        admin.execute(f"drop database {name} with (force)".encode())


def router_values(cluster: Cluster, *, primary: str | None = None) -> dict[str, Any]:
    """The configuration of a router of the cluster, with the primary as a third pod, on a free port.

    primary: another database on the primary's server.
    """
    values = cluster.config_values()
    if primary is not None:
        values["primary"]["dsn"] = cluster.primary.conninfo(cluster.router_role, primary)
    values["pods"][POD_ON_PRIMARY] = {"on_primary": True}
    values["router"] = {"listen": "127.0.0.1:0"}
    return values


def _prepare(cluster: Cluster, admin_conninfo: str, *, primary: bool) -> None:
    secret = verifier(cluster.router_role, cluster.router_password_file.read_text(encoding="utf-8").strip())
    prepare(admin_conninfo, role=cluster.router_role, verifier=secret, pod=True, primary=primary)
