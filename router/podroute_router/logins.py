"""A call that the pod's login refused is made again, as it may be between two steps of a change of the password."""

from __future__ import annotations

import asyncio
import time

from podroute_router.backend import Backend
from podroute_router.domain import Collection, Deadline
from podroute_router.errors import Unavailable
from podroute_router.wrappers import Call, T, Wrapper

REFUSED = "POD_REFUSES_PRIMARY"
"""Nothing was sent to the pod: the call can be made again whatever it does."""

PATIENCE_S = 5.0
"""How long a refusal may last until calls end with it."""

PAUSE_S = 0.05
"""Before the next attempt, which goes by another session of the primary."""


class LoginsAwaited(Wrapper):
    """Makes calls again while the pod does not take the password that the primary comes with.

    The two are changed one after the other. Standing sessions go on meanwhile, and a new one has to wait. Where a pod
    has refused all for longer than that is worth, calls end at once.
    """

    def __init__(self, inner: Backend) -> None:
        super().__init__(inner)
        self._refused_since: dict[str, float] = {}

    async def _around(self, collection: Collection, deadline: Deadline, call: Call[T]) -> T:
        pod = collection.placement.pod
        patient_until = time.monotonic() + PATIENCE_S
        while True:
            try:
                result = await call()
            except Unavailable as error:
                if error.reason != REFUSED:
                    raise
                now = time.monotonic()
                since = self._refused_since.setdefault(pod, now)
                if now > min(patient_until, since + PATIENCE_S) or deadline.remaining_s() <= PAUSE_S:
                    raise
                await asyncio.sleep(PAUSE_S)
            else:
                if self._refused_since:
                    self._refused_since.pop(pod, None)
                return result
