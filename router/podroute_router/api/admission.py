"""Admission: a router that is offered more calls than it can serve takes what it can, and refuses the rest at once.

gRPC hands over one call per few rounds of the event loop. Where each round does a call's work, calls are not met faster
than they are served: they pile up unseen in gRPC, health checks among them, until their deadlines pass. So where the
event loop has no rest, a look is taken now and then at what is there: for a moment no call begins its work, until all
are handed over. Where those would wait for too long, calls are metered from then on, until few wait: every few ms,
after one that begins, others are taken, and what waits is seen, and for how long.

A bound on the calls in flight would be simpler, but it sees only calls that were handed over.
"""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import Final

import grpc

from podroute_router.api.status import DETAILS_KEY, code_of, to_status
from podroute_router.errors import ResourceExhausted

LEAST_WAITING: Final = 32
"""With fewer calls waiting none is refused, however long they take: so many callers who wait for their answers."""
LEAST_QUIET_S: Final = 0.000_3
LOOK_QUIET_S: Final = 0.001
MOST_QUIET_S: Final = 0.003
"""After this much time without a call no further one is about to be handed over: three times as long as that takes, and
when a look is taken, a millisecond at least."""
TAKE_S: Final = 0.005
"""Between two times that others are taken. The time until none is about to be handed over is the router's loss: paid
after every call it is a good part of a call, and a call that is refused can wait so long."""
SHARE: Final = 0.5
"""Of the time since others were taken last, what may go to taking others: most is for serving, come what may."""
LOOK_S: Final = 0.02
"""Between two times that the event loop is asked whether it rests; and as long as two calls count as apart at most."""
LOOK_AGAIN_S: Final = 0.1
"""After a look that found few calls: a hundredth of the time goes to looking."""
SATURATED: Final = 0.9
"""Part of the time since the last look in which the event loop's thread ran, or waited for a processor."""
TOLD_S: Final = 1.0
"""Refusals are one line in the log for so many seconds."""

_log = logging.getLogger(__name__)


class Admission:
    """Decides which calls are taken, and when they begin.

    Args:
        queue_s: a call is refused where those that wait before it would take longer than this.
    """

    def __init__(self, *, queue_s: float) -> None:
        self.is_metered = False
        """Calls have to wait for their `turn`."""
        self._queue_s = queue_s
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._most_waiting: float = LEAST_WAITING
        self._looking = False
        self._look_from = self._taken_at = 0.0
        self._taking = False
        self._began, self._interval_s = 0.0, 0.0
        self._taking_ends, self._last_taken = 0.0, 0.0
        self._handing_over_s = LEAST_QUIET_S
        self._taken, self._rate_per_s = 0, 0.0
        self._refused, self._told = 0, 0.0
        self._watching: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begins to watch the event loop, which has to run."""
        self._watching = asyncio.create_task(self._watch())

    def close(self) -> None:
        """Watches no more; those that wait begin."""
        if self._watching is not None:
            self._watching.cancel()
        self._let_all_begin()

    def refuses(self) -> bool:
        """True where a call that is handed over now is not to be taken."""
        self._taken += 1
        if not self.is_metered:
            return False
        now = time.monotonic()
        if now < self._taking_ends:
            self._handing_over_s += (min(now - self._last_taken, MOST_QUIET_S) - self._handing_over_s) / 8
        self._last_taken = now
        if len(self._waiting) < self._most_waiting:
            return False
        self._refused += 1
        return True

    async def turn(self) -> None:
        """Returns when the call may begin."""
        if not self._taking:
            self._taking = True
            self._begin()
            return
        begins = asyncio.get_running_loop().create_future()
        self._waiting.append(begins)
        await begins

    def _begin(self) -> None:
        """A call begins: its work is done in this round of the loop, and then others are taken."""
        now = time.monotonic()
        self._interval_s += (min(now - self._began, LOOK_S) - self._interval_s) / 8
        self._began = now
        self._most_waiting = max(LEAST_WAITING, self._queue_s / self._interval_s)
        asyncio.get_running_loop().call_soon(self._take_first)

    def _take_first(self) -> None:
        self._last_taken = now = time.monotonic()
        if self._waiting and now < self._taken_at + TAKE_S and not self._looking:
            self._let_next_begin()
            return
        self._taking_ends = now + (LOOK_S if self._looking else min(now - self._taken_at, LOOK_S)) * SHARE
        self._take()

    def _take(self) -> None:
        """A round of the loop in which calls are handed over."""
        now = time.monotonic()
        if now < self._taking_ends and now - self._last_taken < self._quiet_s():
            os.sched_yield()  # to gRPC's own threads, where they have no other processor
            asyncio.get_running_loop().call_soon(self._take)
        elif len(self._waiting) < self._most_waiting / 2:
            self._look_from = now + LOOK_AGAIN_S
            self._let_all_begin()
        else:
            self._looking = False
            self._taken_at = now
            self._let_next_begin()

    def _quiet_s(self) -> float:
        least = LOOK_QUIET_S if self._looking else LEAST_QUIET_S
        return min(max(3 * self._handing_over_s, least), MOST_QUIET_S)

    def _let_next_begin(self) -> None:
        while self._waiting:
            begins = self._waiting.popleft()
            if not begins.done():  # its caller still waits
                begins.set_result(None)
                self._begin()
                return
        self._let_all_begin()

    def _let_all_begin(self) -> None:
        self.is_metered = self._taking = self._looking = False
        while self._waiting:
            begins = self._waiting.popleft()
            if not begins.done():
                begins.set_result(None)

    def _look(self, now: float) -> None:
        """The next call that comes is followed by a time in which none begins."""
        self.is_metered = self._looking = True
        self._began, self._interval_s = now, 1 / max(self._rate_per_s, 1 / LOOK_S)

    async def _watch(self) -> None:
        at, busy_s = time.monotonic(), 0.0
        with _BusyTime() as busy:
            while True:
                await asyncio.sleep(LOOK_S)
                now, now_busy_s = time.monotonic(), busy.seconds()
                if not self.is_metered:
                    self._rate_per_s += (self._taken / (now - at) - self._rate_per_s) / 4
                    if now_busy_s - busy_s >= SATURATED * (now - at) and now >= self._look_from:
                        self._look(now)
                at, busy_s, self._taken = now, now_busy_s, 0
                if self._refused and at - self._told >= TOLD_S:
                    _log.warning("%d calls were refused: this router cannot serve as many as come", self._refused)
                    self._refused, self._told = 0, at


class _BusyTime:
    """The time in which this thread ran, or, where the system says that, would have run had it had a processor."""

    def __init__(self) -> None:
        self._file: int | None = None

    def __enter__(self) -> _BusyTime:
        with suppress(OSError):  # Linux only
            self._file = os.open("/proc/thread-self/schedstat", os.O_RDONLY)
        return self

    def __exit__(self, *_: object) -> None:
        if self._file is not None:
            os.close(self._file)

    def seconds(self) -> float:
        """Since some time in the past."""
        if self._file is None:
            return time.thread_time()
        ran_ns, waited_ns, _ = os.pread(self._file, 128, 0).split()
        return (int(ran_ns) + int(waited_ns)) / 1e9


_BUSY: Final = ResourceExhausted("ROUTER_BUSY", "this router has more calls than it can serve", retry_after_s=0.1)
_TRAILERS: Final = ((DETAILS_KEY, to_status(_BUSY).SerializeToString()),)


async def _refuse(_: object, context: grpc.aio.ServicerContext[bytes, bytes]) -> None:
    context.set_code(code_of(_BUSY))
    context.set_details(_BUSY.message)
    context.set_trailing_metadata(_TRAILERS)


_REFUSAL: Final[grpc.RpcMethodHandler[bytes, bytes]] = grpc.stream_stream_rpc_method_handler(_refuse)
"""Of methods of any kind: as a stream, so that gRPC does not read the request first. A refusal costs the router what an
empty call does, which is the least that it can cost here."""


class Admitted(grpc.GenericRpcHandler):
    """The handler of a service, less the calls that are refused.

    Args:
        inner: the handler.
        admission: refuses.
        refused: is told the path of each call that is.
    """

    def __init__(
        self, inner: grpc.GenericRpcHandler, admission: Admission, *, refused: Callable[[str], None] = lambda _: None
    ) -> None:
        self._inner = inner
        self._admission = admission
        self._refused = refused

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler[bytes, bytes] | None:
        """See `grpc.GenericRpcHandler`."""
        handler = self._inner.service(handler_call_details)
        if handler is None or not self._admission.refuses():
            return handler
        self._refused(handler_call_details.method)
        return _REFUSAL
