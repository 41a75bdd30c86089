"""Explain, as an administrator calls it: on either path, by each client and from the command line."""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import AsyncIterator

import podroute
import psycopg
import pytest
import pytest_asyncio
from click.testing import CliRunner
from podroute_router.cli.root import root
from podroute_router.config import Config
from podroute_router.postgres.access import LOCAL_SETTINGS
from podroute_router.postgres.connection import connect
from podroute_router.postgres.explaining import explain
from podroute_router.server import Router
from servers import POD_ON_PRIMARY


@pytest_asyncio.fixture(scope="module")
async def collection(client: podroute.AsyncClient) -> AsyncIterator[str]:
    """3,000 records with an index for cosine."""
    name = f"c_{uuid.uuid4().hex[:12]}"
    await client.create_collection(name, dimension=4, pod="alpha")
    await client.upsert(name, [(str(i), [float(i), 1, 2, 3], {"n": i}) for i in range(3000)])
    await client.create_index(name)
    yield name
    await client.delete_collection(name)


async def test_the_direct_path_shows_the_index(client: podroute.AsyncClient, collection: str) -> None:
    found = await client.explain(podroute.Query(collection, [1, 2, 3, 4], limit=5, path="direct"))
    assert f'from "vecs"."{collection}"' in found.sql
    assert "limit 5" in found.sql
    assert "Index Scan" in found.plan
    assert (found.remote_sql, found.findings) == ((), ())
    assert (found.route.path, found.route.pods) == ("direct", ("alpha",))


async def test_a_search_without_an_index_is_noted(client: podroute.AsyncClient, collection: str) -> None:
    found = await client.explain(podroute.Query(collection, [1, 2, 3, 4], exact=True, path="direct"))
    [finding] = found.findings
    assert (finding.reason, finding.blocking) == ("SEQUENTIAL_SCAN", False)


async def test_the_fdw_path_shows_what_the_primary_sends(client: podroute.AsyncClient, collection: str) -> None:
    asked = podroute.Query(collection, [1, 2, 3, 4], limit=5, filter={"n": {"$gte": 7}}, ef_search=55, path="fdw")
    found = await client.explain(asked)
    [remote] = found.remote_sql
    for part in (f"FROM vecs.{collection} WHERE (jsonb_path_exists(metadata", "ORDER BY", "LIMIT 5::bigint"):
        assert part in remote
    assert found.findings == ()
    assert found.settings == {"hnsw.ef_search": "55"}
    assert found.route.path == "fdw"


async def test_a_query_by_id_is_explained_as_it_is_run(client: podroute.AsyncClient, collection: str) -> None:
    found = await client.explain(podroute.Query(collection, id="7", limit=5))
    assert "limit 6" in found.sql  # it finds itself
    with pytest.raises(podroute.NotFound):
        await client.explain(podroute.Query(collection, id="not there"))


async def test_analyze_tells_what_each_step_took(client: podroute.AsyncClient, collection: str) -> None:
    for path in ("direct", "fdw"):
        plain = await client.explain(podroute.Count(collection, filter={"n": 7}, path=path))
        assert "actual time" not in plain.plan
        run = await client.explain(podroute.Count(collection, filter={"n": 7}, path=path), analyze=True)
        assert "actual time" in run.plan


async def test_a_deletion_is_explained_and_not_run(client: podroute.AsyncClient, collection: str) -> None:
    for path in ("direct", "fdw"):
        found = await client.explain(podroute.Delete(collection, filter={"n": {"$gte": 0}}, path=path))
        assert "delete from" in found.sql
    assert (await client.count(collection)).count == 3000
    with pytest.raises(podroute.InvalidArgument) as refused:
        await client.explain(podroute.Delete(collection, ids=["1"]), analyze=True)
    assert refused.value.reason == "ANALYZE"
    assert (await client.count(collection)).count == 3000


async def test_what_the_call_refuses_explain_refuses(client: podroute.AsyncClient, collection: str) -> None:
    with pytest.raises(podroute.InvalidArgument) as refused:
        await client.explain(podroute.Query(collection, [1, 2], path="fdw"))
    assert refused.value.reason == "DIMENSION_MISMATCH"
    with pytest.raises(podroute.NotFound):
        await client.explain(podroute.Count("not_there"))
    with pytest.raises(podroute.InvalidArgument) as refused:
        await client.explain("docs")  # type: ignore[arg-type]
    assert refused.value.reason == "ARGUMENT_TYPE"


async def test_a_statement_that_cannot_be_explained_leaves_nothing_prepared(cluster_config: Config) -> None:
    connection = await connect(cluster_config.pods["alpha"], timeout_s=5)
    with pytest.raises(psycopg.errors.DivisionByZero):
        await explain(connection, "select 1 / $1::int", (0,), LOCAL_SETTINGS, {"hnsw.ef_search": "7"}, analyze=True)
    found = await connection.execute("select name from pg_prepared_statements where from_sql")
    assert await found.fetchall() == []
    await connection.close()


async def test_a_pod_on_the_primary_has_no_remote_sql(client: podroute.AsyncClient) -> None:
    name = f"c_{uuid.uuid4().hex[:12]}"
    await client.create_collection(name, dimension=2, pod=POD_ON_PRIMARY)
    found = await client.explain(podroute.Query(name, [1, 2], path="fdw"))
    assert found.remote_sql == ()
    assert found.route.on_primary
    await client.delete_collection(name)


async def test_the_blocking_client_explains_too(router: Router, collection: str) -> None:
    def ask() -> podroute.Explanation:
        with podroute.Client(router.address) as client:
            return client.explain(podroute.Count(collection, path="fdw"))

    found = await asyncio.to_thread(ask)
    assert found.remote_sql == (f"SELECT count(*) FROM vecs.{collection}",)


async def test_the_command_prints_it(router: Router, collection: str) -> None:
    def run(*arguments: str) -> tuple[int, str]:
        outcome = CliRunner().invoke(root, ["explain", "--address", router.address, collection, *arguments])
        return outcome.exit_code, outcome.output

    code, printed = await asyncio.to_thread(run, "--vector", "[1,2,3,4]", "--filter", '{"n": 7}', "--path", "fdw")
    assert code == 0, printed
    assert "remote sql: SELECT id" in printed
    assert "all of it is pushed down to the pod" in printed
    code, printed = await asyncio.to_thread(run, "--count", "--path", "direct", "--json")
    assert code == 0, printed
    assert json.loads(printed)["findings"][0]["reason"] == "SEQUENTIAL_SCAN"
    code, printed = await asyncio.to_thread(run, "--vector", "[1,2")
    assert code == 2
    assert "is no JSON array of numbers" in printed
    code, printed = await asyncio.to_thread(run, "--count", "--delete")
    assert code == 2
