"""A wrapper that lets no call wait for a pod that is known to be down."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress

from podroute_router.backend import Backend, PreparedQuery
from podroute_router.breaker import Breaker, pod_down
from podroute_router.domain import AccessPath, Collection, Deadline, Match, PlainQuery
from podroute_router.errors import PodrouteError, ResourceExhausted
from podroute_router.wrappers import Call, T, Wrapper

TRIAL_WAIT_S = 0.5
"""How long a call waits for a trial, but for half of its time at most. A port that refuses does so at once; where the
trial takes longer somebody listens, so that the pod is not known to be away any more.
"""

Trial = Callable[[str, float], Awaitable[None]]


class FailFast(Wrapper):
    """Fails calls at once while the breaker of their pod is open, and tells the breaker how the others end.

    It has to be outside of the wrapper that keeps the deadline, so as to see what was not answered in time.

    Args:
        inner: the backend.
        path: that it serves.
        breakers: of the pods, by name; a pod without one is always called.
        look: has a pod probed soon.
        trial: waits for the end of a pod's next probe, for so many seconds at most; asked where the pod's port refuses
            connections. It raises ResourceExhausted where too many calls wait.
    """

    def __init__(
        self,
        inner: Backend,
        path: AccessPath,
        breakers: Mapping[str, Breaker],
        *,
        look: Callable[[str], None],
        trial: Trial,
    ) -> None:
        super().__init__(inner)
        self.path = path
        self._breakers = breakers
        self._look = look
        self._trial = trial

    def prepare_query(self, collection: Collection, query: PlainQuery) -> PreparedQuery | None:
        """See `backend.QueryPreparer`."""
        prepared = super().prepare_query(collection, query)
        breaker = self._breakers.get(collection.placement.pod)
        if prepared is None or breaker is None:
            return prepared
        return _FailFastQuery(prepared, self, breaker, collection.placement.pod)

    async def not_down(self, breaker: Breaker, pod: str, deadline: Deadline) -> None:
        """Returns where an open breaker has closed by the end of the trial that the call may ask for."""
        if breaker.is_refused:
            with suppress(ResourceExhausted):
                await self._trial(pod, min(TRIAL_WAIT_S, deadline.remaining_s() / 2))
        if breaker.is_open:
            raise pod_down(pod, self.path, breaker)

    def failed(self, breaker: Breaker, pod: str, error: BaseException, deadline: Deadline, began: float) -> None:
        """A call that began then ended with an error."""
        breaker.call_failed(error, deadline, began=began, now=time.monotonic())
        if breaker.wants_probe:
            self._look(pod)

    async def _around(self, collection: Collection, deadline: Deadline, call: Call[T]) -> T:
        pod = collection.placement.pod
        breaker = self._breakers.get(pod)
        if breaker is None:
            return await call()
        if breaker.is_open:
            await self.not_down(breaker, pod, deadline)
        began = time.monotonic()
        try:
            result = await call()
        except (PodrouteError, asyncio.CancelledError) as error:
            self.failed(breaker, pod, error, deadline, began)
            raise
        if breaker.is_doubted:
            breaker.answered()
        return result


class _FailFastQuery:
    """A prepared query that does the same."""

    __slots__ = ("_breaker", "_inner", "_outer", "_pod")

    def __init__(self, inner: PreparedQuery, outer: FailFast, breaker: Breaker, pod: str) -> None:
        self._inner = inner
        self._outer = outer
        self._breaker = breaker
        self._pod = pod

    async def run(self, vector: bytes, deadline: Deadline) -> list[Match] | None:
        """See `backend.PreparedQuery`."""
        breaker = self._breaker
        if breaker.is_open:
            await self._outer.not_down(breaker, self._pod, deadline)
        began = time.monotonic()
        try:
            matches = await self._inner.run(vector, deadline)
        except (PodrouteError, asyncio.CancelledError) as error:
            self._outer.failed(breaker, self._pod, error, deadline, began)
            raise
        if breaker.is_doubted and matches is not None:
            breaker.answered()
        return matches
