"""Every write of the data plane can be made twice, as clients do after OUTCOME_UNKNOWN: that changes nothing more."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import podroute
import pytest
import pytest_asyncio
from pod_sessions import ask
from podroute.service_config import SERVICE_CONFIG
from podroute_router.embedded import Cluster

NAME = "repeated"
BEFORE = [("a", [1.0, 2.0], {"k": 1, "old": True}), ("b", [3.0, 4.0], {"k": 2})]
WRITTEN = [("a", [9.0, 9.0], {"k": 7}), ("new", [9.0, 9.0], {"k": 7})]
UPDATE = {"k": 2, "more": [1]}

Write = Callable[[podroute.AsyncClient, Any], Awaitable[object]]

WRITES: dict[str, Write] = {
    "upsert": lambda client, path: client.upsert(NAME, WRITTEN, path=path),
    "insert only": lambda client, path: client.upsert(NAME, WRITTEN, mode="insert_only", path=path),
    "update only": lambda client, path: client.upsert(NAME, WRITTEN, mode="update_only", path=path),
    "delete by ids": lambda client, path: client.delete(NAME, ids=["a", "c"], path=path),
    "delete by filter": lambda client, path: client.delete(NAME, filter={"k": {"$eq": 1}}, path=path),
    "merge by ids": lambda client, path: client.update_metadata(NAME, UPDATE, ids=["a"], path=path),
    "merge by filter": lambda client, path: client.update_metadata(NAME, UPDATE, filter={"k": {"$eq": 1}}, path=path),
    "replace": lambda client, path: client.update_metadata(NAME, UPDATE, ids=["a"], mode="replace", path=path),
}


@pytest_asyncio.fixture(scope="module", autouse=True)
async def collection(client: podroute.AsyncClient) -> AsyncIterator[None]:
    await client.create_collection(NAME, dimension=2, pod="alpha")
    yield
    await client.delete_collection(NAME)


def contents(cluster: Cluster) -> list[object]:
    return ask(cluster, f"select id, vec::text, metadata::text from vecs.{NAME} order by id")


@pytest.mark.parametrize("path", ["direct", "fdw"])
@pytest.mark.parametrize("write", WRITES)
async def test_a_write_made_twice_leaves_what_one_leaves(
    client: podroute.AsyncClient, cluster: Cluster, write: str, path: str
) -> None:
    await client.delete(NAME, ids=["new"])
    await client.upsert(NAME, BEFORE)
    before = contents(cluster)
    await WRITES[write](client, path)
    once = contents(cluster)
    await WRITES[write](client, path)
    assert contents(cluster) == once
    assert once != before


def test_clients_repeat_by_code_and_only_what_was_not_served() -> None:
    policies = [each["retryPolicy"] for each in SERVICE_CONFIG["methodConfig"] if "retryPolicy" in each]
    assert [set(policy["retryableStatusCodes"]) for policy in policies] == [{"UNAVAILABLE", "CANCELLED"}]
    assert SERVICE_CONFIG["retryThrottling"]
