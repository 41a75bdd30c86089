"""Calls that fail: what the error tells, which calls are made again, and when they end."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import grpc
import grpc.aio
import podroute
import pytest

from .router import UNAVAILABLE, Either, Opener, Router, failure


async def test_an_error_carries_reason_and_facts(client: Either, router: Router) -> None:
    router.failures = [failure(grpc.StatusCode.NOT_FOUND, "COLLECTION_NOT_FOUND")]
    with pytest.raises(podroute.NotFound, match="pod docs is down") as failed:
        await client.ask("count", "docs")
    assert (failed.value.reason, failed.value.metadata) == ("COLLECTION_NOT_FOUND", {"pod": "docs"})
    assert isinstance(failed.value.__cause__, grpc.RpcError)
    assert len(router.requests) == 1


@pytest.mark.parametrize(
    ("name", "args"),
    [
        ("upsert", ("docs", [("a", [1.0], {})])),
        ("query", ("docs", [1.0])),
        ("fetch", ("docs", ["a"])),
        ("count", ("docs",)),
        ("get_collection", ("docs",)),
        ("shard_map", ()),
        ("pods", ()),
    ],
)
async def test_a_call_that_can_be_made_again_is_made_again(
    client: Either, router: Router, name: str, args: tuple[Any, ...]
) -> None:
    router.failures = [UNAVAILABLE, UNAVAILABLE]
    await client.ask(name, *args)
    assert len(router.requests) == 3
    assert router.requests[0] == router.requests[2]


@pytest.mark.parametrize(
    ("name", "args"),
    [("create_collection", ("docs", 2)), ("delete_collection", ("docs",)), ("create_index", ("docs",))],
)
async def test_a_call_that_changes_the_shard_map_is_made_once(
    client: Either, router: Router, name: str, args: tuple[Any, ...]
) -> None:
    router.failures = [UNAVAILABLE]
    with pytest.raises(podroute.Unavailable):
        await client.ask(name, *args)
    assert len(router.requests) == 1


async def test_a_large_upsert_is_made_again_as_well(client: Either, router: Router) -> None:
    router.failures = [UNAVAILABLE]
    vector = [0.5] * 1000
    await client.ask("upsert", "docs", [(str(i), vector, {}) for i in range(2000)])
    sizes = [request.ByteSize() for request in router.requests]
    assert len(sizes) == 2
    assert sizes[0] == sizes[1] > 8_000_000


async def test_five_attempts_are_all(client: Either, router: Router) -> None:
    router.failures = [UNAVAILABLE] * 6
    with pytest.raises(podroute.Unavailable) as failed:
        await client.ask("count", "docs")
    assert len(router.requests) == 5
    assert failed.value.reason == "POD_DOWN"


async def test_the_deadline_of_the_client_and_of_the_call_are_sent(opener: Opener, router: Router) -> None:
    client = opener(router.address, timeout_s=5.0)
    await client.ask("count", "docs")
    await client.ask("count", "docs", timeout=60)
    await opener(router.address).ask("count", "docs")
    # gRPC rounds a deadline by up to one percent on the wire.
    assert router.seconds_left == pytest.approx([5.0, 60.0, 10.0], rel=0.1)


async def test_a_call_ends_at_its_deadline(client: Either, router: Router) -> None:
    router.delay_s = 5.0
    began = time.monotonic()
    with pytest.raises(podroute.DeadlineExceeded):
        await client.ask("count", "docs", timeout=0.2)
    assert 0.15 < time.monotonic() - began < 1.0


async def test_a_cancelled_task_stays_cancelled(router: Router) -> None:
    router.delay_s = 5.0
    async with podroute.AsyncClient(router.address) as client:
        task = asyncio.create_task(client.count("docs"))
        await asyncio.sleep(0.1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
