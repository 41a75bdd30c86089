"""Faults of single lines, between caller and router, router and databases, primary and pod: put on for a moment, then
taken off. Deadlines are kept meanwhile, and after it all is well at once: no call meets what died in silence.

Negative controls, all seen red: without asking idle connections and dropping the others of a dead one, 3 to 6 of the 25
calls fail after a half-open or forgotten line to the pod; without looking for left sessions, all fail for a minute
after a black hole before the primary; without gRPC's ping timeout, all 25 fail after a black hole before the router.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass

import pytest
import pytest_asyncio
from podroute_router.embedded import Cluster

from .conftest import DIRECT, FDW, GRACE_S, WORST_S
from .kinds import KINDS, Ended, made
from .lines import DEADLINE_S, Lines, lines
from .proxy import End, Mode, Proxy
from .report import Report, Result
from .scale import Scale

CALLS = [*KINDS, *KINDS][:25]
"""Made after each fault."""
MOST_ERRORS = 2
CLIENT_DEADLINE_S = 2.0
"""Of calls over a bad line to the router: a dead one is known after 3 s."""
AT_A_TIME = 5


def _nothing(_: Proxy) -> None:
    """What was done is done once."""


def _refuse(proxy: Proxy) -> None:
    proxy.refuse()
    proxy.reset()


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """What is done to a line, and undone."""

    on: Callable[[Proxy], None]
    off: Callable[[Proxy], None] = _nothing


FAULTS = {
    "latency": Fault(on=lambda proxy: proxy.latency(0.3), off=lambda proxy: proxy.latency(0)),
    "throttle": Fault(on=lambda proxy: proxy.throttle(200), off=lambda proxy: proxy.throttle(0)),
    "lost packets": Fault(on=lambda proxy: proxy.mode(Mode.HOLD), off=lambda proxy: proxy.mode(Mode.CARRY)),
    "black hole": Fault(on=lambda proxy: proxy.mode(Mode.DROP), off=lambda proxy: proxy.mode(Mode.CARRY)),
    "reset": Fault(on=Proxy.reset),
    "refused": Fault(on=_refuse, off=Proxy.accept),
    "half-open, server gone": Fault(on=lambda proxy: proxy.half_open(End.SERVER)),
    "half-open, client gone": Fault(on=lambda proxy: proxy.half_open(End.CLIENT)),
    "forgotten in silence": Fault(on=Proxy.forget),
    "forgotten, told by RST": Fault(on=lambda proxy: proxy.forget(resets=True)),
}
LEGS = {
    "router to pod": ("pod", DIRECT),
    "router to primary": ("primary", FDW),
    "primary to pod": ("primary_pod", FDW),
    "caller to router": ("client", DIRECT),
}
QUICK = (
    ("router to pod", "forgotten in silence"),
    ("router to primary", "black hole"),
    ("caller to router", "forgotten in silence"),
)


@pytest_asyncio.fixture(scope="module")
async def bad_lines(cluster: Cluster) -> AsyncIterator[Lines]:
    async with lines(cluster) as opened:
        yield opened


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """A fault on a leg.

    Args:
        leg: of `LEGS`.
        fault: of `FAULTS`.
        is_busy: calls are under way while it is on; otherwise nobody notices.
        at_a_time: calls made together after it.
    """

    leg: str
    fault: str
    is_busy: bool
    at_a_time: int


def cases(scale: Scale) -> list[Case]:
    if not scale.full:
        return [Case(leg=leg, fault=fault, is_busy=False, at_a_time=1) for leg, fault in QUICK]
    return [
        Case(leg=leg, fault=fault, is_busy=is_busy, at_a_time=at_a_time)
        for leg in LEGS
        for fault in FAULTS
        for is_busy in (True, False)
        for at_a_time in (1, AT_A_TIME)
    ]


async def through(bad_lines: Lines, case: Case) -> tuple[list[Ended], list[Ended]]:
    """The calls made during the fault, and those after it."""
    line, path = LEGS[case.leg]
    proxy, fault = getattr(bad_lines, line), FAULTS[case.fault]
    is_client = line == "client"  # there it is the client that keeps the deadline, and its retries are published
    caller = bad_lines.caller(path, retries=is_client)
    due_s = CLIENT_DEADLINE_S if is_client else DEADLINE_S
    await bad_lines.warm(path, retries=is_client)
    during: list[Ended] = []
    fault.on(proxy)
    try:
        if case.is_busy:
            calls = (made(caller, kind, due_s, is_told=is_client) for kind in ("query", "upsert", "count"))
            during = [*await asyncio.gather(*calls)]
        else:
            await asyncio.sleep(1.1)
    finally:
        fault.off(proxy)
    after: list[Ended] = []
    for start in range(0, len(CALLS), case.at_a_time):
        batch = CALLS[start : start + case.at_a_time]
        after += await asyncio.gather(*(made(caller, kind, due_s) for kind in batch))
    proxy.bury()  # dozens of cases would fill the server with sessions that nobody has told
    return during, after


def moments(ended: list[Ended], at_a_time: int) -> int:
    """How many errors a caller met, where those of calls made together count as one."""
    return sum(
        any(not each.is_ok for each in ended[start : start + at_a_time]) for start in range(0, len(ended), at_a_time)
    )


@pytest.mark.full
async def test_after_each_single_fault_of_a_line_the_next_calls_are_served(
    bad_lines: Lines, scale: Scale, report: Report
) -> None:
    during: list[Ended] = []
    errors: dict[Case, int] = {}
    failed: dict[Case, list[Ended]] = {}
    wanted = cases(scale)
    for case in wanted:
        meanwhile, after = await through(bad_lines, case)
        during += meanwhile
        errors[case] = moments(after, case.at_a_time)
        failed[case] = [ended for ended in after if not ended.is_ok]
    late_s = max((ended.late_s for ended in during), default=0.0)
    for leg in dict.fromkeys(case.leg for case in wanted):
        of_leg = {case: count for case, count in errors.items() if case.leg == leg}
        worst = max(of_leg, key=lambda case: of_leg[case])
        report.add(
            Result(
                promise=f"After a fault of the line {leg} calls succeed",
                load="25 calls of all kinds, one by one; 5 at a time, errors met together counted once",
                faults=f"{len({case.fault for case in of_leg})} faults, idle or in mid-call. Control: 3 to 25 errors",
                figure=f"at most {of_leg[worst]} errors ({worst.fault})",
                bound=f"< {MOST_ERRORS + 1}",
                held=of_leg[worst] <= MOST_ERRORS,
            )
        )
    if during:
        report.add(
            Result(
                promise="Deadlines are kept while a line is bad",
                load=f"{len(during)} queries, upserts and counts, {DEADLINE_S:.0f} s each",
                faults="every fault of every line",
                figure=f"{late_s * 1000:.0f} ms late",
                bound=f"{GRACE_S * 1000:.0f} ms",
                held=late_s <= GRACE_S,
            )
        )
    assert {case: failed[case] for case, count in errors.items() if count > MOST_ERRORS} == {}
    assert late_s <= WORST_S
