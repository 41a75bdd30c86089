"""The real vecs beside podroute: its tables become collections, and it reads and writes podroute's tables."""

from __future__ import annotations

import asyncio
import subprocess
import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import podroute
import psycopg
import pytest
import pytest_asyncio
import vecs_sessions
from podroute_command import run
from podroute_router.config import make_config
from podroute_router.embedded import Cluster
from podroute_router.server import Router
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from servers import new_database, router_values, separate_primary
from vecs_sessions import need_vecs, url_of, vecs_as

PATHS = ("direct", "fdw")
POD = "old"
DIMENSION = 4
VECTORS = [[float(i == j) + i / 10 for j in range(DIMENSION)] for i in range(20)]


@dataclass(frozen=True)
class OldDatabase:
    """A database that only vecs has used, and a router that knows it as a pod."""

    admin_conninfo: str
    url: str
    address: str

    def vecs(self, *steps: dict[str, Any]) -> list[Any]:
        """What came of each step, done by vecs as the database's administrator."""
        return vecs_as(self.url, *steps)


def step(collection: str, call: str, **arguments: object) -> dict[str, Any]:
    return vecs_sessions.step(collection, call, **{"dimension": DIMENSION, **arguments})


def records(prefix: str) -> list[tuple[str, list[float], dict[str, object]]]:
    return [(f"{prefix}{i}", vector, {"n": i, "by": prefix}) for i, vector in enumerate(VECTORS)]


@pytest_asyncio.fixture(scope="module")
async def old(cluster: Cluster) -> AsyncIterator[OldDatabase]:
    need_vecs()
    server = cluster.pods["alpha"]
    admin = server.admin_conninfo(new_database(server))
    url = url_of(admin)
    vecs_as(
        url,
        step("docs", "upsert", records=records("vecs")),
        step(
            "docs",
            "create_index",
            method="hnsw",
            measure="l2_distance",
            index_arguments=["IndexArgsHNSW", {"m": 8, "ef_construction": 32}],
        ),
        step("images", "upsert", records=records("vecs")),
        step("images", "create_index", method="ivfflat", measure="cosine_distance"),
        step("Old-Notes", "upsert", records=records("vecs")),
        step("empty", "create_collection"),
    )
    values = router_values(cluster, primary=separate_primary(cluster))
    reached = values["pods"]["alpha"]
    database = conninfo_to_dict(admin)["dbname"]
    values["pods"] = {POD: reached | {"dsn": make_conninfo(reached["dsn"], dbname=database)}}
    prepared = run(
        "pods",
        "prepare",
        "--pod",
        "--adopt",
        "--password-file",
        str(cluster.router_password_file),
        PODROUTE_ADMIN_DSN=admin,
    )
    assert prepared.returncode == 0, prepared.stderr
    router = await Router.start(make_config(values))
    yield OldDatabase(admin_conninfo=admin, url=url, address=router.address)
    await router.stop()


@pytest_asyncio.fixture
async def client(old: OldDatabase) -> AsyncIterator[podroute.AsyncClient]:
    async with podroute.AsyncClient(old.address) as opened:
        yield opened


async def adopt(old: OldDatabase, *arguments: str) -> subprocess.CompletedProcess[str]:
    return await asyncio.to_thread(run, "collections", "adopt", "--pod", POD, *arguments, PODROUTE_ADDRESS=old.address)


async def test_the_tables_of_vecs_are_adopted_by_one_command(old: OldDatabase, client: podroute.AsyncClient) -> None:
    listed = await adopt(old)
    assert listed.returncode == 0, listed.stderr
    assert [line.split()[:3] for line in listed.stdout.splitlines()[2:]] == [
        ["Old-Notes", "4", "20"],
        ["docs", "4", "20"],
        ["empty", "4", "0"],
        ["images", "4", "20"],
    ]
    dry = await adopt(old, "--all", "--dry-run")
    assert dry.returncode == 1  # one table has a name that no collection can have
    assert "left Old-Notes" in dry.stdout
    assert "would adopt vecs.docs on pod old as docs (4 components, l2, about 20 records)" in dry.stdout
    assert [each.name async for each in client.list_collections()] == []
    for tables in (4, 1):  # once more: what is adopted is not listed again
        adopted = await adopt(old, "--all")
        assert adopted.returncode == 1
        assert f"1 of {tables} tables were left: Old-Notes" in adopted.stderr
    named = await adopt(old, "--table", "Old-Notes", "--as", "notes")
    assert named.returncode == 0, named.stderr
    assert [each.name async for each in client.list_collections()] == ["docs", "empty", "images", "notes"]
    [index] = await client.list_indexes("docs")
    assert (index.method, index.metric, index.m, index.ef_construction) == ("hnsw", "l2", 8, 32)
    [index] = await client.list_indexes("images")
    assert (index.method, index.metric) == ("ivfflat", "cosine")
    for path in PATHS:
        for name in ("docs", "images", "notes"):
            nearest = await client.query(name, VECTORS[3], limit=1, metric="l2", include_metadata=True, path=path)
            assert [(match.id, match.metadata) for match in nearest.matches] == [("vecs3", {"n": 3, "by": "vecs"})]
        assert (await client.count("empty", path=path)).count == 0


@pytest.mark.parametrize("path", PATHS)
async def test_vecs_and_podroute_read_what_the_other_wrote_in_a_table_of_vecs(
    old: OldDatabase, client: podroute.AsyncClient, path: podroute.Path
) -> None:
    name = f"shared_{uuid.uuid4().hex[:6]}"
    old.vecs(step(name, "upsert", records=records("vecs")))
    with psycopg.connect(old.admin_conninfo) as admin:
        admin.execute(f"grant select, insert, update, delete on vecs.{name} to podroute_owner".encode())
    await client.adopt_collection(POD, name)
    assert (await client.upsert(name, records("podroute"), path=path)).upserted_count == 20
    await client.upsert(name, [("vecs5", [9, 9, 9, 9], {"by": "podroute"})], path=path)
    await client.update_metadata(name, {"seen": True}, ids=["vecs6"], path=path)
    await client.delete(name, ids=["vecs7"], path=path)
    count, nearest, matching, fetched, _, deleted = old.vecs(
        step(name, "count"),
        step(name, "query", data=[9, 9, 9, 9], limit=1, measure="l2_distance", include_value=True),
        step(name, "query", data=VECTORS[0], limit=100, filters={"by": {"$eq": "podroute"}}),
        step(name, "fetch", ids=["vecs6", "vecs7"]),
        step(name, "upsert", records=[("late", [8, 8, 8, 8], {"by": "vecs"})]),
        step(name, "delete", filters={"n": {"$eq": 1}}),
    )
    assert count == 39
    assert nearest == [["vecs5", 0.0]]
    assert sorted(matching) == sorted(["vecs5", *(f"podroute{i}" for i in range(20))])
    assert fetched == [["vecs6", pytest.approx(VECTORS[6]), {"n": 6, "by": "vecs", "seen": True}]]
    assert sorted(deleted) == ["podroute1", "vecs1"]
    found = await client.query(name, [8, 8, 8, 8], limit=1, include_metadata=True, metric="l2", path=path)
    assert [(match.id, match.metadata) for match in found.matches] == [("late", {"by": "vecs"})]
    assert (await client.count(name, path=path)).count == 38


@pytest.mark.parametrize("path", PATHS)
async def test_vecs_and_podroute_read_what_the_other_wrote_in_a_table_of_podroute(
    old: OldDatabase, client: podroute.AsyncClient, path: podroute.Path
) -> None:
    """As an application's role, to which podroute's owner was granted."""
    name, role = f"made_{uuid.uuid4().hex[:6]}", f"app_{uuid.uuid4().hex[:6]}"
    with psycopg.connect(old.admin_conninfo) as admin:
        database = admin.info.dbname
        admin.execute(f"create role {role} login password 'secret'".encode())
        admin.execute(f"grant create on database {database} to {role}".encode())
        admin.execute(f"grant podroute_owner to {role}".encode())
    app = url_of(old.admin_conninfo, user=role, password="secret")
    await client.create_collection(name, dimension=DIMENSION, pod=POD)
    await client.upsert(name, records("podroute"), path=path)
    listed, count, nearest, _, both, deleted = vecs_as(
        app,
        {"call": "list_collections"},
        step(name, "count"),
        step(name, "query", data=VECTORS[2], limit=1, measure="l2_distance", include_value=True),
        step(name, "upsert", records=records("vecs")),
        step(name, "fetch", ids=["podroute4", "vecs4"]),
        step(name, "delete", ids=["podroute0"]),
    )
    assert name in listed
    assert (count, nearest) == (20, [["podroute2", 0.0]])
    assert sorted(record[0] for record in both) == ["podroute4", "vecs4"]
    assert deleted == ["podroute0"]
    assert (await client.count(name, path=path)).count == 39
    fetched = await client.fetch(name, ["vecs4"], path=path)
    assert [(record.id, record.metadata) for record in fetched.records] == [("vecs4", {"n": 4, "by": "vecs"})]
    await client.delete_collection(name)


async def test_each_knows_the_indexes_that_the_other_made(old: OldDatabase, client: podroute.AsyncClient) -> None:
    name = f"indexed_{uuid.uuid4().hex[:6]}"
    await client.create_collection(name, dimension=DIMENSION, pod=POD)
    await client.upsert(name, records("podroute"))
    for made in (
        await client.create_index(name, m=8, ef_construction=40),
        await client.create_index(name, method="ivfflat", lists=5, replace=True),
    ):
        assert made.valid
    index, covered, other = old.vecs(
        step(name, "index"),
        step(name, "is_indexed_for_measure", measure="cosine_distance"),
        step(name, "is_indexed_for_measure", measure="l2_distance"),
    )
    assert (index, covered, other) == (made.name, True, False)
    old.vecs(step(name, "create_index", method="hnsw", measure="cosine_distance", replace=True))
    [of_vecs] = await client.list_indexes(name)
    assert (of_vecs.method, of_vecs.metric, of_vecs.valid) == ("hnsw", "cosine", True)
    assert (await client.create_index(name)).name == of_vecs.name  # as wanted already
    replaced = await client.create_index(name, m=24, replace=True)
    assert await client.list_indexes(name) == (replaced,)
    assert old.vecs(step(name, "index")) == [replaced.name]
    await client.delete_collection(name)
