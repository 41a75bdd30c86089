"""Many queries in one call: a few at a time, each with an outcome of its own."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

import grpc
from podroute.v1 import vector_service_pb2

from podroute_router.api.call_log import CallLog, uncounted
from podroute_router.api.status import internal_error, to_status
from podroute_router.config import Limits
from podroute_router.domain import Deadline
from podroute_router.errors import PodrouteError, ResourceExhausted
from podroute_router.metrics.calls import Ended

MOST_AT_A_TIME: Final = 8
CALLS_SHARE: Final = 4
"""Queries of one batch that are under way together: so many at most, and that part of the calls that a pod may have. So
one batch does not take all of a pod's places."""

ANSWER_SHARE: Final = 0.05
ANSWER_MOST_S: Final = 0.1
"""Left of the deadline for the answer: what is done by then is the caller's, though another query may hang."""

_RESULT_BYTES: Final = 16
"""At most what a result takes beside the response in it."""

_KEPT_BYTES: Final = 2048
_KEPT_SHARE: Final = 0.5
"""So many at most, and so much of the room of all together, are kept free for queries that are still to be answered:
that one found no room has to find some."""

Run = Callable[[vector_service_pb2.QueryRequest, Deadline], Awaitable[vector_service_pb2.QueryResponse]]
"""Serves one query."""


async def run_batch(
    queries: Sequence[vector_service_pb2.QueryRequest],
    run: Run,
    deadline: Deadline,
    limits: Limits,
    ended: Ended = uncounted,
) -> vector_service_pb2.BatchQueryResponse:
    """Runs the queries and says what became of each, in their order.

    Args:
        queries: to run.
        run: serves one of them.
        deadline: the call's.
        limits: on calls of a pod, and on the size of all responses together; one that does not fit becomes an error.
        ended: counts the queries; their times are not taken.
    """
    due = Deadline(deadline.at - min(ANSWER_MOST_S, ANSWER_SHARE * deadline.remaining_s()))
    batch = vector_service_pb2.BatchQueryResponse()
    waiting = iter([(query, batch.results.add()) for query in queries])
    kept = min(_KEPT_BYTES, int(_KEPT_SHARE * limits.max_message_bytes / max(1, len(queries))))
    room = limits.max_message_bytes - kept * len(queries)

    async def work() -> None:
        nonlocal room
        for query, result in waiting:
            log = CallLog("VectorService/BatchQuery", ended)
            log.request = query
            try:
                response = await run(query, due)
                size = response.ByteSize() + _RESULT_BYTES
                if size > room + kept:
                    raise _no_room(size, limits.max_message_bytes)
            except Exception as error:  # noqa: BLE001
                told = error if isinstance(error, PodrouteError) else internal_error()
                log.failed(told, error)
                result.error.ParseFromString(to_status(told).SerializeToString())
                room += kept - result.ByteSize() - _RESULT_BYTES
            else:
                result.response.CopyFrom(response)
                room += kept - size
                ended(query, response, grpc.StatusCode.OK.name, 0.0, {})

    async with asyncio.TaskGroup() as workers:
        for _ in range(min(at_a_time(limits), len(queries))):
            workers.create_task(work())
    return batch


def at_a_time(limits: Limits) -> int:
    """How many queries of a batch run together."""
    return max(1, min(MOST_AT_A_TIME, limits.calls_per_pod // CALLS_SHARE))


def _no_room(size: int, most_bytes: int) -> ResourceExhausted:
    return ResourceExhausted(
        "RESPONSE_TOO_LARGE",
        f"the response has {size} bytes, and all of a batch have at most {most_bytes}; ask again in a smaller batch",
        facts={"size": f"{size} bytes", "limit_bytes": most_bytes},
    )
