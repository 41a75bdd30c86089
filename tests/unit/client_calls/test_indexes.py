"""The operations on indexes: what reaches the router, what comes back, and how a build is watched."""

from __future__ import annotations

import asyncio

import grpc
import grpc.aio
import podroute
import pytest
from podroute.v1 import collection_service_pb2 as collections

from .router import Either, Router, failure


async def test_indexes_are_listed_and_dropped(client: Either, router: Router) -> None:
    indexes = await client.ask("list_indexes", "docs")
    assert [(each.name, each.metric, each.method, each.m) for each in indexes] == [
        ("docs_l2", "l2", "hnsw", 8),
        ("by_year", "unknown", "unknown", None),
    ]
    assert await client.ask("drop_index", "docs", "by_year") is None
    assert router.requests == [
        collections.ListIndexesRequest(collection="docs"),
        collections.DropIndexRequest(collection="docs", name="by_year"),
    ]
    assert router.seconds_left[1] == pytest.approx(3600.0, rel=0.1)


@pytest.mark.parametrize(
    ("arguments", "field"),
    [({"method": "flat"}, "method"), ({"lists": 3}, "lists"), ({"method": "ivfflat", "m": 3}, "m")],
)
async def test_parameters_of_another_kind_of_index_are_refused(
    client: Either, arguments: dict[str, object], field: str
) -> None:
    with pytest.raises(podroute.InvalidArgument) as refused:
        await client.ask("create_index", "docs", **arguments)
    assert refused.value.violations[0].field == field


async def test_an_index_build_tells_its_progress_and_returns_the_index(client: Either, router: Router) -> None:
    seen: list[podroute.IndexProgress] = []
    index = await client.ask("create_index", "docs", metric="l2", m=8, on_progress=seen.append)
    assert index == podroute.Index(
        name="docs_l2", metric="l2", method="hnsw", m=8, ef_construction=64, size_bytes=8192, valid=True
    )
    assert [(each.blocks_done, each.blocks_total) for each in seen] == [(1, 2), (2, 2)]
    assert router.requests == [
        collections.CreateIndexRequest(collection="docs", hnsw={"m": 8}, metric="METRIC_L2"),
    ]
    assert router.seconds_left[0] == pytest.approx(3600.0, rel=0.1)
    assert await client.ask("create_index", "docs") == index


async def test_an_index_build_that_ends_without_an_index_is_an_error(client: Either) -> None:
    with pytest.raises(podroute.Internal, match="ended early"):
        await client.ask("create_index", "cut_short")


async def test_an_index_build_ends_with_what_its_watcher_raises(client: Either, router: Router) -> None:
    def watch(progress: podroute.IndexProgress) -> None:
        raise LookupError("enough")

    with pytest.raises(LookupError, match="enough"):
        await client.ask("create_index", "endless", on_progress=watch)
    await asyncio.wait_for(router.build_ended.wait(), 5.0)  # the router would go on for a minute


async def test_a_build_that_fails_is_told_by_its_reason(client: Either, router: Router) -> None:
    router.failures = [failure(grpc.StatusCode.FAILED_PRECONDITION, "DIMENSION_TOO_LARGE")]
    with pytest.raises(podroute.FailedPrecondition) as failed:
        await client.ask("create_index", "docs")
    assert failed.value.reason == "DIMENSION_TOO_LARGE"
