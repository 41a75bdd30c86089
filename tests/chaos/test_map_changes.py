"""Collections are deleted and made anew elsewhere under load, and no call reaches the wrong pod, table or incarnation.

Control of the first test: without `confirm` in `CollectionStore.drop_collection` the second deletion drops the table of
the collection that was made anew, with its record (seen).
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any

import podroute
import pytest
import pytest_asyncio
from podroute_pgvector.backend import PgvectorBackend
from podroute_router.backend import Confirm
from podroute_router.config import make_config
from podroute_router.domain import Collection, Deadline
from podroute_router.embedded import Cluster
from podroute_router.server import Router
from servers import router_values

from .callers import NO_RETRIES
from .ledger import DIMENSION

NAME = "restless"


@pytest_asyncio.fixture
async def clients(cluster: Cluster) -> AsyncIterator[list[podroute.AsyncClient]]:
    """Of two routers."""
    async with AsyncExitStack() as stack:
        found = []
        for number in range(2):
            values = router_values(cluster)
            values["router"]["state_dir"] = str(cluster.state_folder / f"changes{number}")
            router = await Router.start(make_config(values))
            stack.push_async_callback(router.stop, grace_s=0)
            found.append(await stack.enter_async_context(podroute.AsyncClient(router.address, options=NO_RETRIES)))
        yield found


async def test_a_deletion_that_was_held_up_leaves_a_collection_made_anew_alone(
    clients: list[podroute.AsyncClient], monkeypatch: pytest.MonkeyPatch
) -> None:
    slow, fast = clients
    await fast.create_collection(NAME, DIMENSION, pod="alpha")
    real, reached, go_on = PgvectorBackend.drop_collection, asyncio.Event(), asyncio.Event()

    async def held_up(
        backend: PgvectorBackend, collection: Collection, deadline: Deadline, *rest: Any
    ) -> None:
        if not reached.is_set():
            reached.set()
            await go_on.wait()
        await real(backend, collection, deadline, *rest)

    monkeypatch.setattr(PgvectorBackend, "drop_collection", held_up)
    deleting = asyncio.create_task(slow.delete_collection(NAME))
    await reached.wait()
    await fast.delete_collection(NAME)
    await fast.create_collection(NAME, DIMENSION, pod="alpha")
    await fast.upsert(NAME, [("a", [1.0] * DIMENSION, {"life": 2})])
    go_on.set()
    await deleting
    try:
        assert [record.metadata for record in (await fast.fetch(NAME, ["a"])).records] == [{"life": 2}]
    finally:
        await fast.delete_collection(NAME)
