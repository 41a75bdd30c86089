"""An administrator's sessions on pod alpha, beside what the router does there, and the events of an index build."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing, contextmanager
from typing import Any

import psycopg
from podroute_router.domain import Index, IndexProgress
from podroute_router.embedded import Cluster


@contextmanager
def old_snapshot(cluster: Cluster, collection: str) -> Iterator[None]:
    """A transaction that a concurrent build has to wait for."""
    alpha = cluster.pods["alpha"]
    with psycopg.connect(alpha.admin_conninfo(alpha.database)) as holder:
        holder.execute("set transaction isolation level repeatable read")
        holder.execute(f"select from vecs.{collection}".encode())
        yield
        holder.rollback()


def ask(cluster: Cluster, statement: str, *values: object) -> list[Any]:
    alpha = cluster.pods["alpha"]
    with psycopg.connect(alpha.admin_conninfo(alpha.database), autocommit=True) as admin:
        cursor = admin.execute(statement.encode(), values)
        return cursor.fetchall() if cursor.description else []


def builds(cluster: Cluster, collection: str) -> int:
    """How many builds of the collection's indexes the pod runs."""
    [(count,)] = ask(
        cluster,
        "select count(*) from pg_stat_activity where state = 'active' and query like 'create index%%' and query ~ %s",
        collection,
    )
    return int(count)


async def until_builds(cluster: Cluster, collection: str, wanted: int) -> None:
    async with asyncio.timeout(5):
        while await asyncio.to_thread(builds, cluster, collection) != wanted:
            await asyncio.sleep(0.02)


async def last(events: AsyncGenerator[IndexProgress | Index]) -> IndexProgress | Index | None:
    async with aclosing(events):
        return [event async for event in events][-1]
