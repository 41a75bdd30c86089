"""The PostgreSQL servers of the test session, prepared as users prepare theirs: ordinary roles, SCRAM, no superuser."""

from __future__ import annotations

import itertools
import os
import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from typing import Any

import psycopg
from collation import dictionary_locale
from podroute_router.embedded import Cluster, Server
from podroute_router.postgres.prepare import prepare
from podroute_router.postgres.scram import verifier

PODS = ("alpha", "beta")
POD_ON_PRIMARY = "home"

SECRETS: set[str] = set()
"""Passwords and verifiers of this session's servers: nothing that is printed, logged or kept may hold one."""

BEFORE_STOP: list[Callable[[Cluster], None]] = []
"""Called with each cluster that is about to end."""

_numbers = itertools.count(1)


@contextmanager
def prepared_cluster(*, pods: Sequence[str] = PODS, fsync: bool = False) -> Iterator[Cluster]:
    """A primary, which can be a pod too, and two pods. They sort text as a dictionary does, not as C.

    Without fsync: the machine does not lose power in a test.
    """
    with (
        dictionary_locale() as locale,
        Cluster(
            pods=pods,
            ephemeral=True,
            fsync=fsync,
            locale=locale.name,
            environment=locale.environment,
            settings={"shared_buffers": "64MB"},  # each dropped table has a session look through all of it
        ) as cluster,
    ):
        SECRETS.add(cluster.admin_password_file.read_text(encoding="utf-8").strip())
        for server in cluster.servers.values():
            _prepare(cluster, server.admin_conninfo(server.database), primary=server is cluster.primary)
        yield cluster
        for look in BEFORE_STOP:
            look(cluster)
        for server in cluster.servers.values():
            os.kill(server.pid, signal.SIGQUIT)  # at once: what a checkpoint would write is thrown away


def new_database(server: Server, *, template: str = "template1") -> str:
    """Another database on the server: its name. It goes with the server, at the session's end.

    Dropping one waits for every session of the server to answer, also for one that is about to log in from this very
    process: whose event loop may stand still meanwhile, for as long as a login may take.
    """
    name = f"database_{next(_numbers)}"
    with psycopg.connect(server.admin_conninfo(), autocommit=True) as admin:
        admin.execute(f"create database {name} template {template}".encode())
    return name


def separate_primary(cluster: Cluster) -> str:
    """Another database on the primary's server, prepared as primary and pod: its name.

    For those who bring shard maps of their own; they would quarrel with the session's router over one primary.
    """
    return new_database(cluster.primary, template=_prepared_database(cluster))


@cache
def _prepared_database(cluster: Cluster) -> str:
    """A database that nobody uses: a copy takes a quarter of the time that a preparation does."""
    name = new_database(cluster.primary)
    _prepare(cluster, cluster.primary.admin_conninfo(name), primary=True)
    return name


@cache
def kept_verifier(role: str, password: str) -> str:
    """The role's verifier, computed once: it takes a fifth of a second, on purpose. It is as secret as the password."""
    made = verifier(role, password)
    SECRETS.update([password, made])
    return made


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
    secret = kept_verifier(cluster.router_role, cluster.router_password_file.read_text(encoding="utf-8").strip())
    prepare(admin_conninfo, role=cluster.router_role, verifier=secret, pod=True, primary=primary)
