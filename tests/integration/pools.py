"""Pools of one of the cluster's pods."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import psycopg
from podroute_router.config import Database
from podroute_router.domain import Deadline
from podroute_router.embedded import Cluster
from podroute_router.postgres.pool import Pool


def database(cluster: Cluster, *, port: int | None = None) -> Database:
    """The pod, at its own port or another that leads to it."""
    server = cluster.pods["beta"]
    dsn = server.conninfo(cluster.router_role)
    if port is not None:
        dsn = dsn.replace(f"port={server.port}", f"port={port}")
    return Database(dsn=dsn, password_file=cluster.router_password_file)


@asynccontextmanager
async def pool(
    cluster: Cluster, *, size: int = 2, linger_s: float = 5.0, port: int | None = None
) -> AsyncIterator[Pool]:
    """A pool of the pod, until the end of the block."""
    opened = Pool(
        database(cluster, port=port), size=size, linger_s=linger_s, connect_timeout_s=2.0, facts={"pod": "beta"}
    )
    yield opened
    await opened.close()


async def backend_pid(opened: Pool) -> int:
    """The server's process behind a connection of the pool."""
    async with opened.connection(Deadline.after(5)) as connection:
        return connection.info.backend_pid


def end_backend(cluster: Cluster, pid: int) -> None:
    """Ends the process, as an administrator does."""
    with psycopg.connect(cluster.pods["beta"].admin_conninfo(), autocommit=True) as admin:
        admin.execute("select pg_terminate_backend(%s, 2000)", (pid,))


async def call_with(opened: Pool, seconds: float) -> None:
    """Asks for a connection and does nothing with it."""
    async with opened.connection(Deadline.after(seconds)):
        pass
