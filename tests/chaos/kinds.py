"""Every kind of data-plane call, as a caller without retries makes it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import grpc
from google.rpc import error_details_pb2
from grpc_status import rpc_status
from podroute.v1 import filter_pb2, shard_map_service_pb2, shard_map_service_pb2_grpc, vector_service_pb2_grpc
from podroute.v1 import vector_service_pb2 as pb

DIMENSION = 4
NO_RETRIES = [("grpc.enable_retries", 0)]


class Caller:
    """Calls of one collection over one path.

    Args:
        channel: to the router.
        collection: its name; DIMENSION components.
        path: the access path.
    """

    def __init__(self, channel: grpc.aio.Channel, collection: str, path: int) -> None:
        self._stub = vector_service_pb2_grpc.VectorServiceStub(channel)
        self._shard_map = shard_map_service_pb2_grpc.ShardMapServiceStub(channel)
        self._collection = collection
        self._path = path

    async def query(self, timeout_s: float | None) -> None:
        await self._stub.Query(self._query(), timeout=timeout_s)

    async def exact_query(self, timeout_s: float | None) -> None:
        await self._stub.Query(self._query(exact=True), timeout=timeout_s)

    async def filtered_query(self, timeout_s: float | None) -> None:
        request = self._query()
        request.filter.CopyFrom(_condition(">=", 0))
        await self._stub.Query(request, timeout=timeout_s)

    async def batch_query(self, timeout_s: float | None) -> None:
        answer = await self._stub.BatchQuery(
            pb.BatchQueryRequest(queries=[self._query(), self._query(exact=True)]), timeout=timeout_s
        )
        for result in answer.results:
            if result.HasField("error"):
                raise CallFailed(result.error.code, result.error.message)

    async def upsert(self, timeout_s: float | None, record_id: str = "written") -> None:
        request = pb.UpsertRequest(collection=self._collection, path=self._path)
        request.records.add(id=record_id).vector.values.extend([1.0] * DIMENSION)
        await self._stub.Upsert(request, timeout=timeout_s)

    async def upsert_stream(self, timeout_s: float | None) -> None:
        request = pb.UpsertStreamRequest(collection=self._collection, path=self._path, sequence=1)
        request.records.add(id="streamed").vector.values.extend([1.0] * DIMENSION)
        await _read(self._stub.UpsertStream(iter([request]), timeout=timeout_s))

    async def fetch(self, timeout_s: float | None) -> None:
        await self._stub.Fetch(
            pb.FetchRequest(collection=self._collection, ids=["a"], path=self._path), timeout=timeout_s
        )

    async def delete(self, timeout_s: float | None) -> None:
        request = pb.DeleteRequest(collection=self._collection, path=self._path)
        request.ids.ids.append("deleted")
        await self._stub.Delete(request, timeout=timeout_s)

    async def delete_matching(self, timeout_s: float | None) -> None:
        request = pb.DeleteRequest(collection=self._collection, path=self._path, filter=_condition("<", 0))
        request.include_ids = True
        await self._stub.Delete(request, timeout=timeout_s)

    async def count(self, timeout_s: float | None) -> None:
        await self._stub.Count(pb.CountRequest(collection=self._collection, path=self._path), timeout=timeout_s)

    async def update_metadata(self, timeout_s: float | None) -> None:
        request = pb.UpdateMetadataRequest(collection=self._collection, path=self._path, metadata='{"seen": 1}')
        request.ids.ids.append("a")
        request.mode = pb.UPDATE_MODE_MERGE
        await self._stub.UpdateMetadata(request, timeout=timeout_s)

    async def scan(self, timeout_s: float | None) -> None:
        request = pb.ScanRequest(collection=self._collection, page_size=10, path=self._path)
        await _read(self._stub.Scan(request, timeout=timeout_s))

    async def explain(self, timeout_s: float | None) -> None:
        await self._shard_map.Explain(
            shard_map_service_pb2.ExplainRequest(query=self._query(), analyze=True), timeout=timeout_s
        )

    def _query(self, *, exact: bool = False) -> pb.QueryRequest:
        request = pb.QueryRequest(collection=self._collection, path=self._path, limit=1)
        request.vector.values.extend([1.0] * DIMENSION)
        request.params.exact = exact
        if not exact:
            request.ClearField("params")  # a plain one
        return request


async def _read(answers: Any) -> None:
    """All answers of a stream, which ends where its caller does: gRPC ends no call that was cancelled as it began."""
    try:
        async for _ in answers:
            pass
    finally:
        answers.cancel()


class CallFailed(Exception):
    """A part of a batch failed.

    Args:
        code: number of the gRPC code.
        message: for a person.
    """

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code


Kind = Callable[[Caller, float | None], Awaitable[None]]

READS: dict[str, Kind] = {
    "query": Caller.query,
    "exact query": Caller.exact_query,
    "filtered query": Caller.filtered_query,
    "batch query": Caller.batch_query,
    "fetch": Caller.fetch,
    "count": Caller.count,
    "scan": Caller.scan,
    "explain": Caller.explain,
}
WRITES: dict[str, Kind] = {
    "upsert": Caller.upsert,
    "upsert stream": Caller.upsert_stream,
    "delete": Caller.delete,
    "delete matching": Caller.delete_matching,
    "update metadata": Caller.update_metadata,
}
KINDS = READS | WRITES


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """How a call ended.

    Args:
        kind: of call.
        code: its gRPC code's name.
        reason: of the router's error, or what gRPC says; OK where it was served.
        seconds: it took so long.
        late_s: so long after its deadline, or after a timer of that time went off in this event loop; below 0 before.
    """

    kind: str
    code: str
    reason: str
    seconds: float
    late_s: float

    @property
    def is_ok(self) -> bool:
        """True where it was served."""
        return self.code == "OK"


async def made(caller: Caller, kind: str, due_s: float, *, is_told: bool = True) -> Ended:
    """Makes a call and tells how it ended.

    Args:
        caller: who makes it.
        kind: of `KINDS`.
        due_s: its deadline.
        is_told: False where the deadline is the router's own default: the call goes without one.
    """
    timer = _Timer(due_s)
    code = reason = "OK"
    try:
        await KINDS[kind](caller, due_s if is_told else None)
    except grpc.aio.AioRpcError as error:
        code, reason = error.code().name, _reason(error)
    except CallFailed as error:
        code, reason = next(each.name for each in grpc.StatusCode if each.value[0] == error.code), str(error)
    seconds, late_s = timer.stop()
    return Ended(kind=kind, code=code, reason=reason, seconds=seconds, late_s=late_s)


class _Timer:
    """A bare timer of the event loop: a busy machine is late with everything."""

    def __init__(self, due_s: float) -> None:
        self._began = time.perf_counter()
        self._due = self._began + due_s
        self._handle = asyncio.get_running_loop().call_later(due_s, self._go_off)

    def _go_off(self) -> None:
        self._due = max(self._due, time.perf_counter())

    def stop(self) -> tuple[float, float]:
        """Seconds since the start, and since the deadline."""
        self._handle.cancel()
        now = time.perf_counter()
        return now - self._began, now - self._due


def _reason(error: grpc.aio.AioRpcError) -> str:
    """The reason of the router's error; of others what gRPC says."""
    info = error_details_pb2.ErrorInfo()
    status = rpc_status.from_call(error)
    if status is not None and any(detail.Unpack(info) for detail in status.details):
        return info.reason
    return error.details() or ""


def _condition(operator: str, value: int) -> filter_pb2.Filter:
    condition = filter_pb2.Filter()
    condition.comparison.path.append("year")
    condition.comparison.operator = {
        "<": filter_pb2.OPERATOR_LT,
        ">=": filter_pb2.OPERATOR_GTE,
    }[operator]
    condition.comparison.values.add().int64_value = value
    return condition
