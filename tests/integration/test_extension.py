"""Connections are readied for vectors, and leave nothing behind when they have gone."""

from __future__ import annotations

import gc

import numpy as np
from podroute_router.config import Database
from podroute_router.domain import Deadline
from podroute_router.embedded import Cluster
from podroute_router.postgres.connection import Connection
from podroute_router.postgres.extension import ready
from podroute_router.postgres.pool import Pool


async def use_a_connection(cluster: Cluster) -> None:
    async def setup(connection: Connection) -> None:
        await ready(connection, settings={}, facts={})

    dsn = cluster.pods["beta"].conninfo(cluster.router_role)
    pool = Pool(
        Database(dsn=dsn, password_file=cluster.router_password_file),
        size=1,
        linger_s=5,
        connect_timeout_s=2,
        facts={},
        setup=setup,
    )
    async with pool.connection(Deadline.after(5)) as connection:
        cursor = await connection.execute("select $1::vector", [np.array([1, 2, 3], np.float32)])
        [(vector,)] = await cursor.fetchall()
        assert vector.to_list() == [1, 2, 3]
    await pool.close()


def classes() -> int:
    gc.collect()
    return sum(isinstance(each, type) for each in gc.get_objects())


async def test_new_connections_leave_no_classes_behind(cluster: Cluster) -> None:
    """pgvector makes two for each connection that is registered with it, and psycopg never lets go of one."""
    await use_a_connection(cluster)
    before = classes()
    for _ in range(5):
        await use_a_connection(cluster)
    assert classes() == before
