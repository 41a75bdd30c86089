"""A password file that cannot be read for a while costs no call: the router goes on with what it read before."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from pathlib import Path

import pytest
from podroute_router.config import Database
from podroute_router.domain import Deadline
from podroute_router.embedded import Cluster
from podroute_router.errors import Unreachable
from podroute_router.postgres.connector import trust_no_schema
from podroute_router.postgres.pool import Pool

CALLS = 4


def pool(database: Database) -> Pool:
    return Pool(database, size=CALLS, linger_s=1, connect_timeout_s=5, facts={"pod": "alpha"}, setup=trust_no_schema)


async def call(connections: Pool) -> None:
    async with connections.connection(Deadline.after(20)) as connection:
        await connection.execute("select pg_sleep(0.2)")


def _as_folder(file: Path) -> None:
    file.unlink()
    file.mkdir()


@pytest.mark.parametrize(
    "spoil",
    [Path.unlink, lambda file: file.write_text(""), lambda file: file.write_text("\n"), _as_folder],
    ids=["missing", "empty", "no first line", "no file"],
)
async def test_new_connections_are_made_with_the_password_that_was_read_before(
    cluster: Cluster, tmp_path: Path, spoil: Callable[[Path], object], caplog: pytest.LogCaptureFixture
) -> None:
    file = tmp_path / "password"
    right = cluster.router_password_file.read_text(encoding="utf-8")
    file.write_text(right, encoding="utf-8")
    dsn = cluster.pods["alpha"].conninfo(cluster.router_role, cluster.pods["alpha"].database)
    connections = pool(Database(dsn=dsn, password_file=file))
    await call(connections)
    spoil(file)
    with caplog.at_level(logging.WARNING):
        await asyncio.gather(*(call(connections) for _ in range(CALLS)))  # of which one finds a connection
    assert len([line for line in caplog.messages if "the password that was read before" in line]) == 1
    assert right.strip() not in caplog.text
    await connections.close()
    fresh = pool(Database(dsn=dsn, password_file=file))  # as at a start: there is nothing to go on with
    with pytest.raises(Unreachable):
        await call(fresh)
