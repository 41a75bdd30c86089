"""How much the calls in flight hold in memory: large requests and answers, and what open streams keep.

gRPC keeps an answer until its caller takes it, and a request is there as a whole before it is looked at. Without a
bound on all of them together a few callers who take nothing could have the router ended for want of memory.
"""

from __future__ import annotations

import asyncio
from typing import Any, Final

import grpc

from podroute_router.errors import ResourceExhausted

LARGE_BYTES: Final = 64 * 1024
"""Smaller messages are not counted: to count costs more than they do."""

TAKEN_S: Final = 60.0
"""A caller has this long to take a large answer; then the call ends, so that nobody holds memory for a week."""

RETRY_AFTER_S: Final = 1.0

Context = grpc.aio.ServicerContext[bytes, bytes]


class HeldBytes:
    """What calls hold together.

    Args:
        bound: in bytes. A message that is longer is taken where nothing else is held.
    """

    def __init__(self, bound: int) -> None:
        self.bound = bound
        self.held = 0

    def of(self, context: Context) -> Holding:
        """What the call holds until its answer is out."""
        holding = Holding(self)
        context.add_done_callback(holding.end)  # type: ignore[arg-type]  # the stub forgot to be a Protocol
        return holding


class Holding:
    """The part of one call."""

    __slots__ = ("_all", "_size")

    def __init__(self, held: HeldBytes) -> None:
        self._all = held
        self._size = 0

    def add(self, size: int, *, is_owed: bool = False) -> None:
        """The call holds so many bytes more.

        Args:
            size: how many.
            is_owed: they are taken in any case, as the answer to what is done already.

        Raises:
            ResourceExhausted: the others leave no room for them.
        """
        if not is_owed and self._all.held and self._all.held + size > self._all.bound:
            raise ResourceExhausted(
                "ROUTER_FULL",
                "the calls in flight hold as much of this router's memory as they may",
                facts={"size_bytes": size, "limit_bytes": self._all.bound},
                retry_after_s=RETRY_AFTER_S,
            )
        self._all.held += size
        self._size += size

    def free(self, size: int) -> None:
        """So many of them are held no more."""
        self._all.held -= size
        self._size -= size

    def end(self, _: object = None) -> None:
        """The call holds nothing any more."""
        self.free(self._size)


def end_where_untaken(context: Context) -> None:
    """Ends the call that runs now, where its caller does not take the answer in time."""
    task: asyncio.Task[Any] | None = asyncio.current_task()
    if task is not None:
        timer = asyncio.get_running_loop().call_later(TAKEN_S, task.cancel)
        context.add_done_callback(lambda _: timer.cancel())  # type: ignore[arg-type]  # as above
