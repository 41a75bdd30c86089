"""How the errors of a backend and the ends of calls travel."""

from __future__ import annotations

import asyncio

import grpc
import pytest
from google.rpc import error_details_pb2
from podroute.v1 import collection_service_pb2 as collections_pb
from podroute.v1 import vector_service_pb2 as vectors_pb
from podroute_router.api.calls import MAX_DEADLINE_S

from .face import CALL_TIMEOUT_S, EndlessBuild, Face, SlowCount, a_config, failure, serving


async def test_a_caller_that_goes_away_ends_the_build() -> None:
    backend = EndlessBuild()
    async with serving(a_config(), backend) as face:
        await face.collections.CreateCollection(collections_pb.CreateCollectionRequest(name="docs", dimension=2))
        call = face.collections.CreateIndex(collections_pb.CreateIndexRequest(collection="docs", hnsw={}))
        told = [(await call.read()).progress.blocks_done for _ in range(3)]
        assert told == [1, 2, 3]
        assert not backend.ended.is_set()
        call.cancel()
        await asyncio.wait_for(backend.ended.wait(), CALL_TIMEOUT_S)


async def test_a_call_that_ended_at_its_callers_deadline_is_told_of_as_such(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Whether the router's own timer was first or gRPC's."""
    async with serving(a_config(), SlowCount()) as face:
        await face.collections.CreateCollection(collections_pb.CreateCollectionRequest(name="docs", dimension=2))
        for _ in range(5):
            with pytest.raises(grpc.aio.AioRpcError) as ended:
                await face.vectors.Count(vectors_pb.CountRequest(collection="docs"), timeout=0.05)
            assert ended.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        call = face.vectors.Count(vectors_pb.CountRequest(collection="docs"), timeout=CALL_TIMEOUT_S)
        await asyncio.sleep(0.05)
        call.cancel()
        await asyncio.sleep(0.05)
    told = [line for line in capsys.readouterr().out.splitlines() if "Count" in line]
    assert len([line for line in told if "call failed" in line and "DEADLINE_EXCEEDED" in line]) == 5, told


async def test_an_exception_that_nobody_foresaw_is_internal_and_keeps_its_text_to_the_log(
    broken: Face, capsys: pytest.CaptureFixture[str]
) -> None:
    code, info, status = await failure(broken.vectors.Count(vectors_pb.CountRequest(collection="docs")))
    assert (code, info.reason) == (grpc.StatusCode.INTERNAL, "INTERNAL")
    assert b"secret" not in status.SerializeToString()
    assert "select secret from detail" in capsys.readouterr().out


async def test_an_error_carries_when_to_retry_and_not_its_cause(broken: Face) -> None:
    request = vectors_pb.DeleteRequest(collection="docs", ids={"ids": ["a"]})
    code, info, status = await failure(broken.vectors.Delete(request))
    assert (code, info.reason) == (grpc.StatusCode.UNAVAILABLE, "CONNECTION_LOST")
    retry = error_details_pb2.RetryInfo()
    assert any(packed.Unpack(retry) for packed in status.details)
    assert retry.retry_delay.ToMilliseconds() == 250
    assert b"dsn" not in status.SerializeToString()


@pytest.mark.parametrize(("asked_s", "kept_s"), [(None, 7.0), (30.0, 30.0), (30 * 24 * 3600.0, MAX_DEADLINE_S)])
async def test_the_deadline_is_the_callers_or_else_the_default(
    broken: Face, asked_s: float | None, kept_s: float
) -> None:
    request = vectors_pb.FetchRequest(collection="docs", ids=["a"])
    _, info, _ = await failure(broken.vectors.Fetch(request, timeout=asked_s))
    assert info.reason == "SEEN"
    assert float(info.metadata["remaining_s"]) == pytest.approx(kept_s, rel=0.02)  # gRPC rounds it on the wire
