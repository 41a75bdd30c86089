"""Whether one pod is taken to be down on one access path: a pure state machine; others bring the events and the time.

    CLOSED ── NOT_REACHED_MAX calls in a row not reached, or probes that fail ──► OPEN
    OPEN ── a probe begins, at most one each TRIAL_INTERVAL_S ──► HALF_OPEN
    HALF_OPEN ── it fails ──► OPEN
    any ── an answer, of a probe or a call ──► CLOSED

Calls that time out open nothing by themselves, as a slow statement is no dead pod: they have the pod probed at once.
Where the pod's port refused the connection there is nobody whom asking would harm: then a call may have the next probe
begin ON_DEMAND_S after the last one.
What befalls a call that had less than FAIR_S says nothing, so no caller's short deadline is another's trouble.
"""

from __future__ import annotations

import math
from enum import Enum, auto
from typing import Final

from podroute_router.domain import AccessPath, Deadline
from podroute_router.errors import DeadlineExceeded, NobodyListens, PodrouteError, Unreachable

NOT_REACHED_MAX: Final = 5
"""Calls in a row that did not reach the pod: more than sessions that a changed password makes useless, one by one."""

SILENT_MAX: Final = 3
"""Calls in a row that got no answer in time: one probe more decides."""

PROBES_MAX: Final = 2
"""Failed probes in a row that open where no call said anything."""

FAIR_S: Final = 0.25
"""Time that a call must have had for its failure to count."""

TRIAL_INTERVAL_S: Final = 0.5
"""Between the end of a failed probe and the next."""

ON_DEMAND_S: Final = 0.025
"""The same where the port refused the last one, and a call asks for the next."""

LATE_S: Final = 0.05
"""A call that is cancelled so shortly before its deadline ran out of time; at any other moment its caller left."""


class BreakerState(Enum):
    """What becomes of calls."""

    CLOSED = auto()
    """They go to the pod."""
    OPEN = auto()
    """They fail at once."""
    HALF_OPEN = auto()
    """They fail at once, and a probe is under way."""


class Breaker:
    """Of one pod on one access path. Times are of the monotonic clock, in seconds.

    Args:
        on_demand: calls may ask for the next probe where the pod's port refuses connections.

    Attributes:
        state: what becomes of calls.
        is_open: calls fail at once; true of OPEN and HALF_OPEN.
        is_refused: the pod's port refused the last connection, so that a call may ask for the next probe.
        is_doubted: an answer would change something, so it has to be told.
        opened_count: how many times it opened.
        last_reason: of the last failure that counted.
    """

    __slots__ = (
        "_failed_probes",
        "_not_reached",
        "_on_demand",
        "_probe_failed_at",
        "_silent",
        "_trial_at",
        "is_doubted",
        "is_open",
        "is_refused",
        "last_reason",
        "opened_count",
        "state",
    )

    def __init__(self, *, on_demand: bool = False) -> None:
        self._on_demand = on_demand
        self.state = BreakerState.CLOSED
        self.is_open = False
        self.is_doubted = False
        self.is_refused = False
        self.opened_count = 0
        self.last_reason = ""
        self._not_reached = 0
        self._silent = 0
        self._failed_probes = 0
        self._trial_at = self._probe_failed_at = -math.inf

    @property
    def wants_probe(self) -> bool:
        """The pod has to be asked whether it answers."""
        return self.is_open or self._failed_probes > 0 or self._silent >= SILENT_MAX

    def answered(self) -> None:
        """The pod answered a call or a probe."""
        self.state = BreakerState.CLOSED
        self.is_open = self.is_doubted = False
        self._not_reached = self._silent = self._failed_probes = 0

    def call_failed(self, error: BaseException, deadline: Deadline, *, began: float, now: float) -> None:
        """A call ended with an error.

        Args:
            error: as it was raised; one that tells nothing of whether the pod answers is passed over.
            deadline: the call's.
            began: when it began.
            now: when it ended.
        """
        if deadline.at - began < FAIR_S:
            return
        if _is_timeout(error, deadline, now):
            self._silent += 1
        elif _is_not_reached(error):
            self._not_reached += 1
            if self._not_reached >= NOT_REACHED_MAX and not self.is_open:
                self._open(now)
        else:
            return
        self.is_doubted = True
        self._failed(error, otherwise="DEADLINE_EXCEEDED")

    def trial_in_s(self, now: float, *, on_demand: bool = False) -> float:
        """Seconds until the next probe may begin; `on_demand` where a call waits for it."""
        is_soon = on_demand and self.is_refused
        at = min(self._trial_at, self._probe_failed_at + ON_DEMAND_S) if is_soon else self._trial_at
        return max(0.0, at - now)

    @property
    def retry_after_s(self) -> float:
        """When a call may fare better than one that fails now."""
        return ON_DEMAND_S if self.is_refused else TRIAL_INTERVAL_S

    def probe_began(self) -> None:
        """A probe is under way. An answer of a call meanwhile counts more than the probe's failure."""
        self.is_doubted = True
        if self.is_open:
            self.state = BreakerState.HALF_OPEN

    def probe_failed(self, error: Exception, now: float) -> None:
        """The pod did not answer a probe, whatever the reason."""
        self._trial_at = now + TRIAL_INTERVAL_S
        self._probe_failed_at = now
        if not self.is_doubted:  # a call was answered meanwhile
            return
        self._failed_probes += 1
        self._failed(error, otherwise="INTERNAL")
        if self.is_open:
            self.state = BreakerState.OPEN
        elif self._failed_probes >= PROBES_MAX or self._silent >= SILENT_MAX:
            self._open(now)

    def _failed(self, error: BaseException, *, otherwise: str) -> None:
        self.is_refused = self._on_demand and isinstance(error, NobodyListens)
        self.last_reason = error.reason if isinstance(error, PodrouteError) else otherwise

    def _open(self, now: float) -> None:
        self.state = BreakerState.OPEN
        self.is_open = self.is_doubted = True
        self.opened_count += 1
        self._trial_at = now


def pod_down(pod: str, path: AccessPath, breaker: Breaker) -> Unreachable:
    """What calls end with while the breaker is open."""
    how = f"does not answer, and is asked again every {TRIAL_INTERVAL_S:g} s"
    if breaker.is_refused:
        how = f"refuses connections, and is asked again by the next call, at most every {ON_DEMAND_S:g} s"
    return Unreachable(
        "POD_DOWN",
        f"pod {pod!r} {how}; nothing was sent",
        facts={"pod": pod, "path": path.value, "last_reason": breaker.last_reason},
        retry_after_s=breaker.retry_after_s,
    )


def _is_timeout(error: BaseException, deadline: Deadline, now: float) -> bool:
    if not isinstance(error, PodrouteError):  # cancelled: gRPC may end a call before our own timer does
        return deadline.at - now <= LATE_S
    is_out_of_time = isinstance(error, DeadlineExceeded) and error.reason == "DEADLINE_EXCEEDED"
    return is_out_of_time or isinstance(error.__cause__, TimeoutError)  # or a connection that was not made in time


def _is_not_reached(error: BaseException) -> bool:
    """SESSION_REFUSED is not: connections that stand may do well while no new one is to be had."""
    return isinstance(error, PodrouteError) and error.reason in ("UNREACHABLE", "POD_UNREACHABLE_FROM_PRIMARY")
