"""A primary of a test's own, backends and collections to be followed there."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import NamedTuple

import numpy as np
import psycopg
from podroute_fdw.backend import FdwBackend
from podroute_pgvector.backend import PgvectorBackend
from podroute_router.config import Config
from podroute_router.domain import Collection, Deadline, Metric, Placement, Record
from podroute_router.embedded import Cluster
from podroute_router.shard_map import Change, ShardMap
from servers import kept_verifier

_numbers = itertools.count()


def deadline() -> Deadline:
    return Deadline.after(20)


class Primary(NamedTuple):
    """A primary of the test's own: another database on the primary's server."""

    name: str
    config: Config
    admin: psycopg.Connection

    def foreign_tables(self) -> dict[str, int]:
        """Their names and object ids."""
        return dict(
            self.admin.execute(
                "select relname, oid::int from pg_class "
                "where relnamespace = 'podroute_fdw'::regnamespace and relkind = 'f'"
            ).fetchall()
        )

    def server_options(self, pod: str) -> dict[str, str]:
        [(options,)] = self.admin.execute(
            "select srvoptions from pg_foreign_server where srvname = %s", (f"podroute_{pod}",)
        ).fetchall()
        return dict(option.split("=", 1) for option in options)


@asynccontextmanager
async def fdw(config: Config) -> AsyncIterator[FdwBackend]:
    assert config.primary is not None
    backend = FdwBackend(config, config.primary)
    yield backend
    await backend.close()


@asynccontextmanager
async def collection(store: PgvectorBackend, pod: str = "alpha") -> AsyncIterator[Collection]:
    name = f"reconciled_{next(_numbers)}"
    made = Collection(name=name, dimension=3, metric=Metric.L2, placement=Placement(pod=pod, schema="vecs", table=name))
    await store.create_collection(made, deadline())
    yield made
    await store.drop_collection(made, deadline())


def shard_map(revision: int, *collections: Collection) -> ShardMap:
    changes = [Change(known.name, known) for known in collections]
    return ShardMap().changed(revision, ["alpha", "beta"], changes)


def followed(primary: Primary) -> int:
    """The revision that the foreign tables were brought to."""
    [(revision,)] = primary.admin.execute('select revision from podroute_fdw."followed:revision"').fetchall()
    return int(revision)


def several(name: str, number: int) -> list[Collection]:
    """Collections in the map only: foreign tables of theirs can be made, and not used."""
    return [
        Collection(name=each, dimension=3, metric=Metric.L2, placement=Placement(pod="beta", schema="vecs", table=each))
        for each in (f"{name}_{n}" for n in range(number))
    ]


def tables_of(*collections: Collection) -> set[str]:
    return {name for each in collections for name in (each.name, f"{each.name}:upsert")}


CONTROLS = {"alpha:control", "beta:control"}
RECORD = Record(id="a", vector=np.ones(3, dtype=np.float32))


def set_password(cluster: Cluster, password: str) -> None:
    secret = kept_verifier(cluster.router_role, password)
    for server in (cluster.primary, cluster.pods["beta"]):
        with psycopg.connect(server.admin_conninfo(), autocommit=True) as admin:
            admin.execute(f"alter role podroute password '{secret}'".encode())
