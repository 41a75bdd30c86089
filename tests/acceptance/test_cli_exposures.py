"""`podroute collections expose`, `unexpose` and `exposures`, and what an administrator does before."""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import AsyncIterator, Iterator

import podroute
import psycopg
import pytest
import pytest_asyncio
from click.testing import CliRunner, Result
from podroute_router.cli.root import root
from podroute_router.embedded import Cluster
from podroute_router.server import Router


async def invoke(router: Router, *arguments: str) -> Result:
    """Runs a command in a thread, as the router serves in this one."""
    environment = {"PODROUTE_ADDRESS": router.address}
    return await asyncio.to_thread(CliRunner().invoke, root, ("collections", *arguments), env=environment)


@pytest.fixture(scope="module")
def admin(cluster: Cluster) -> Iterator[psycopg.Connection]:
    """The primary, with the schema `shown` on all servers, prepared for exposures as users prepare it."""
    for server in cluster.servers.values():
        with psycopg.connect(server.admin_conninfo(server.database), autocommit=True) as connection:
            connection.execute("create schema shown")
        is_primary = server is cluster.primary
        prepared = CliRunner().invoke(
            root,
            ["pods", "prepare", "--primary" if is_primary else "--pod", "--expose-in", "shown"],
            env={
                "PODROUTE_ADMIN_DSN": server.admin_conninfo(server.database),
                "PODROUTE_ROUTER_PASSWORD": cluster.router_password_file.read_text(encoding="utf-8").strip(),
            },
        )
        assert prepared.exit_code == 0, prepared.output
    with psycopg.connect(cluster.primary.admin_conninfo(cluster.primary.database), autocommit=True) as connection:
        yield connection
    for server in cluster.servers.values():
        with psycopg.connect(server.admin_conninfo(server.database), autocommit=True) as connection:
            connection.execute("drop schema shown cascade")


@pytest_asyncio.fixture
async def collection(client: podroute.AsyncClient) -> AsyncIterator[str]:
    name = f"c_{uuid.uuid4().hex[:12]}"
    await client.create_collection(name, dimension=2, pod="beta")
    await client.upsert(name, [("a", [1.0, 2.0], {"url": "/a", "about": {"year": 2012}})])
    yield name
    await client.delete_collection(name)


async def test_a_collection_is_exposed_shown_and_unexposed(
    router: Router, admin: psycopg.Connection, collection: str
) -> None:
    made = await invoke(
        router,
        *("expose", collection, "--schema", "shown", "--column", "url", "--column", "year:bigint:about.year"),
        *("--index", "url", "--grant", "public"),
    )
    assert (made.exit_code, made.output) == (0, f"exposed {collection} as shown.{collection}\n")
    assert admin.execute(f"select id, url, year from shown.{collection}".encode()).fetchall() == [("a", "/a", 2012)]
    shown = await invoke(router, "exposures", collection)
    assert shown.output.splitlines()[-1].split() == [
        *(f"shown.{collection}", collection, "url", "text", "(indexed),", "year", "bigint", "public")
    ]
    [listed] = json.loads((await invoke(router, "exposures", "--json")).output)
    assert listed["columns"][1] == {"name": "year", "type": "bigint", "path": ["about", "year"], "indexed": False}
    dropped = await invoke(router, "unexpose", collection, "--schema", "shown")
    assert (dropped.exit_code, dropped.output) == (0, f"dropped shown.{collection}\n")
    again = await invoke(router, "unexpose", collection, "--schema", "shown")
    assert again.exit_code == 1
    assert "[EXPOSURE_NOT_FOUND]" in again.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--column", "year:number"), "'number' is none of text, bigint"),
        (("--column", "url", "--index", "link"), "there is no --column link"),
    ],
)
async def test_a_column_that_cannot_be_is_refused_before_any_call(
    router: Router, arguments: tuple[str, ...], said: str
) -> None:
    refused = await invoke(router, "expose", "docs", *arguments)
    assert refused.exit_code == 2
    assert said in refused.stderr


async def test_a_schema_that_was_not_prepared_is_named_with_what_to_run(
    router: Router, cluster: Cluster, collection: str
) -> None:
    pod = cluster.pods["beta"]
    with psycopg.connect(pod.admin_conninfo(pod.database), autocommit=True) as connection:
        connection.execute("create schema unprepared")
        refused = await invoke(router, "expose", collection, "--schema", "unprepared")
        connection.execute("drop schema unprepared")
    assert refused.exit_code == 1
    assert (
        'an administrator has to run on pod beta: grant usage, create on schema "unprepared" to podroute_owner; '
        'grant usage on schema "unprepared" to podroute_reader [SCHEMA_RIGHTS]'
    ) in refused.stderr
