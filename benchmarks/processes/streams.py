"""A process with many streams of upserts to one router, each open and idle, or sending as fast as it is answered.

Commands: {address, streams, collections} opens so many and answers {open} when each had its first batch acknowledged;
{window} has all of them send until its end and answers {batches}, acknowledged within it; {close} ends them.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Callable, Sequence
from typing import Any

import grpc
from podroute.v1 import record_pb2, route_pb2, vector_service_pb2

from benchmarks.children import say
from benchmarks.closed_loop import Window
from benchmarks.growth.stage import DIMENSION

METHOD = "/podroute.v1.VectorService/UpsertStream"
STREAMS_A_CONNECTION = 100
RECORDS_A_BATCH = 20
DEADLINE_S = 300.0


class Stream:
    """One stream; its records have ids of its own.

    Args:
        rpc: opens it.
        number: of the stream.
        collection: that it writes to.
    """

    def __init__(self, rpc: Callable[..., Any], number: int, collection: str) -> None:
        self._call = rpc(timeout=DEADLINE_S)
        self._batch = vector_service_pb2.UpsertStreamRequest(
            collection=collection,
            path=route_pb2.ACCESS_PATH_DIRECT,
            records=[
                record_pb2.Record(id=f"stream-{number}-{i}", vector={"values": [float(i + 1)] * DIMENSION})
                for i in range(RECORDS_A_BATCH)
            ],
        ).SerializeToString()

    async def send(self) -> None:
        """Sends a batch and waits until it is acknowledged."""
        await self._call.write(self._batch)
        if await self._call.read() is grpc.aio.EOF:
            raise ConnectionError(f"a stream ended: {await self._call.details()}")

    async def send_until(self, window: Window) -> int:
        """Batch after batch; how many were acknowledged within the window."""
        acknowledged, now = 0, asyncio.get_running_loop().time  # the monotonic clock
        while now() < window.end:
            await self.send()
            acknowledged += window.begin <= now() < window.end
        return acknowledged

    async def close(self) -> None:
        """Ends it."""
        await self._call.done_writing()
        while await self._call.read() is not grpc.aio.EOF:
            pass


async def main() -> None:
    """Obeys commands until stdin ends."""
    channels: list[grpc.aio.Channel] = []
    streams: list[Stream] = []
    say({"ready": True})
    while line := await asyncio.to_thread(sys.stdin.readline):
        command: dict[str, Any] = json.loads(line)
        if "streams" in command:
            streams = _open(command["address"], command["streams"], command["collections"], channels)
            await asyncio.gather(*(stream.send() for stream in streams))
            say({"open": len(streams)})
        elif "window" in command:
            window = Window(*command["window"])
            say({"batches": sum(await asyncio.gather(*(stream.send_until(window) for stream in streams)))})
        else:
            await asyncio.gather(*(stream.close() for stream in streams))
            for channel in channels:
                await channel.close()
            channels, streams = [], []
            say({"open": 0})


def _open(address: str, count: int, collections: Sequence[str], channels: list[grpc.aio.Channel]) -> list[Stream]:
    options = [("grpc.use_local_subchannel_pool", 1)]  # channels of one process would share a connection
    streams = []
    for number in range(count):
        if number % STREAMS_A_CONNECTION == 0:
            channels.append(grpc.aio.insecure_channel(address, options=options))
        # Without serializers the bytes pass as they are.
        streams.append(Stream(channels[-1].stream_stream(METHOD), number, collections[number % len(collections)]))
    return streams


if __name__ == "__main__":
    asyncio.run(main())
