"""A process that calls a router as fast as it is told, whatever becomes of the calls: ready-made bytes, nothing parsed.

Commands come as lines of JSON, and each is answered with one:

- `{method, request, callers, seconds}`: closed loop, `{served, ended}`, of which the served ended in time;
- `{method, request, rate, seconds, timeout_s}`: open loop, `{sent, late_s, calls}`, where a call is `[code, reason,
  has RetryInfo, seconds from its start]`, and late_s how far behind its schedule the process was at worst. timeout_s
  may be null: the router's own default.

`request` is base64. The process ends when its stdin does.
"""

from __future__ import annotations

import asyncio
import base64
import json
import os
import random
import sys
import time
from contextlib import suppress
from typing import Any

import grpc
from google.rpc import error_details_pb2
from grpc_status import rpc_status

MOST_IN_FLIGHT = 5_000
"""Calls of an open loop that wait for their end; beyond them the process is behind, and says so."""
Call = tuple[str, str, bool, float]


def ended_in(error: grpc.aio.AioRpcError, known: dict[bytes, tuple[str, bool]]) -> tuple[str, bool]:
    """Reason of the error, and whether it has a RetryInfo."""
    trailers = error.trailing_metadata() or ()
    packed = next((value for key, value in trailers if key == "grpc-status-details-bin"), b"")
    if packed not in known:
        status = rpc_status.from_call(error)
        reason = error_details_pb2.ErrorInfo()
        details = [] if status is None else status.details
        for detail in details:
            detail.Unpack(reason)
        known[packed] = reason.reason, any(detail.Is(error_details_pb2.RetryInfo.DESCRIPTOR) for detail in details)
    return known[packed]


async def closed_loop(rpc: Any, request: bytes, callers: int, seconds: float) -> dict[str, Any]:
    """Each caller calls again when it has its answer."""
    served, ended = 0, 0
    end = time.monotonic() + seconds

    async def call() -> None:
        nonlocal served, ended
        while time.monotonic() < end:
            with suppress(grpc.aio.AioRpcError):
                await rpc(request, timeout=10)
                served += time.monotonic() < end
            ended += 1

    await asyncio.gather(*(call() for _ in range(callers)))
    return {"served": served, "ended": ended}


async def open_loop(rpc: Any, request: bytes, rate: float, seconds: float, timeout_s: float | None) -> dict[str, Any]:
    """Calls have their times, at random, however long those before them take."""
    draw = random.Random(os.getpid())
    known: dict[bytes, tuple[str, bool]] = {}
    calls: list[Call] = []
    late_s, due = 0.0, time.monotonic()
    end, in_flight = due + seconds, set[asyncio.Task[None]]()

    async def call() -> None:
        started = time.monotonic()
        code, reason, retry_info = grpc.StatusCode.OK, "", False
        try:
            await rpc(request, timeout=timeout_s)
        except grpc.aio.AioRpcError as error:
            code = error.code()
            reason, retry_info = ended_in(error, known)
        calls.append((code.name, reason, retry_info, time.monotonic() - started))

    while (due := due + draw.expovariate(rate)) < end:
        if (wait_s := due - time.monotonic()) > 0 or len(in_flight) > MOST_IN_FLIGHT:
            await asyncio.sleep(max(wait_s, 0.001))
        late_s = max(late_s, time.monotonic() - due)
        task = asyncio.create_task(call())
        in_flight.add(task)
        task.add_done_callback(in_flight.discard)
    await asyncio.gather(*in_flight)
    return {"sent": len(calls), "late_s": late_s, "calls": calls}


async def main(address: str, options: str) -> None:
    """Obeys commands until stdin ends."""
    async with grpc.aio.insecure_channel(address, [*json.loads(options).items()]) as channel:
        while line := await asyncio.to_thread(sys.stdin.readline):
            command = json.loads(line)
            rpc = channel.unary_unary(command.pop("method"))
            request = base64.b64decode(command.pop("request"))
            loop = closed_loop if "callers" in command else open_loop
            sys.stdout.write(json.dumps(await loop(rpc, request, **command)) + "\n")
            sys.stdout.flush()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
