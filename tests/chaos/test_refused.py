"""A pod whose port refuses connections: calls fail fast, it is asked again for them at a bounded rate, and they are
served as soon as it listens again. AUTO waits for nothing of that.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import pytest
import pytest_asyncio
from podroute_pgvector.backend import PgvectorBackend
from podroute_router.breaker import ON_DEMAND_S
from podroute_router.domain import AccessPath, Deadline
from podroute_router.embedded import Cluster

from .conftest import AUTO, DIRECT
from .kinds import Caller, Ended, made
from .lines import DEADLINE_S, POD, Lines, lines
from .report import Report, Result
from .scale import Scale

CALLERS = 8
FAST_MS = 50.0
ASKED_A_SECOND = 1 / ON_DEMAND_S
RECOVERY_S, LONGEST_RECOVERY_S = 2.0, 6.0
KNOWN_S = 10.0
MOST_ERRORS = 2
PAUSE_S = 0.02


@pytest_asyncio.fixture(scope="module")
async def bad_lines(cluster: Cluster) -> AsyncIterator[Lines]:
    async with lines(cluster) as opened:
        yield opened


@dataclass(slots=True)
class Impatient:
    """Tries again without pause, until it is served after the pod is back."""

    caller: Caller
    failed: list[Ended] = field(default_factory=list)
    errors_after: int = 0
    served_at: float = 0.0

    async def call(self, back: asyncio.Event) -> None:
        while not self.served_at:
            is_back = back.is_set()
            ended = await made(self.caller, "query", DEADLINE_S)
            if ended.is_ok:
                self.served_at = time.perf_counter()
            elif is_back:
                self.errors_after += 1
            else:
                self.failed.append(ended)


@contextmanager
def asked(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[float]]:
    """When the pod was probed."""
    moments: list[float] = []
    probe = PgvectorBackend.probe

    async def told(backend: PgvectorBackend, pod: str, deadline: Deadline) -> None:
        if pod == POD:
            moments.append(time.perf_counter())
        await probe(backend, pod, deadline)

    with monkeypatch.context() as patched:
        patched.setattr(PgvectorBackend, "probe", told)
        yield moments


async def refuse(bad_lines: Lines, caller: Caller) -> None:
    """Until the router knows."""
    breaker = bad_lines.router.breakers[AccessPath.DIRECT, POD]
    bad_lines.pod.refuse()
    bad_lines.pod.reset()
    async with asyncio.timeout(KNOWN_S):
        while not (breaker.is_open and breaker.is_refused):
            await made(caller, "query", DEADLINE_S)


async def by_auto(caller: Caller, ended: list[Ended]) -> None:
    while True:
        ended.append(await made(caller, "query", DEADLINE_S))
        await asyncio.sleep(PAUSE_S)


def quantile_ms(ended: list[Ended], share: float) -> float:
    seconds = sorted(each.seconds for each in ended)
    return 1000 * seconds[min(len(seconds) - 1, int(share * len(seconds)))]


async def test_a_pod_that_refuses_is_asked_for_calls_at_a_bounded_rate_and_serves_again_at_once(
    bad_lines: Lines, report: Report, scale: Scale, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In this process, whose loop the callers share."""
    seconds = scale.pick(1, 20)
    direct, auto = bad_lines.caller(DIRECT), bad_lines.caller(AUTO)
    await bad_lines.warm(DIRECT)
    await bad_lines.warm(AUTO)
    callers = [Impatient(direct) for _ in range(CALLERS)]
    others: list[Ended] = []
    back = asyncio.Event()
    with asked(monkeypatch) as moments:
        try:
            await refuse(bad_lines, direct)
            beside = asyncio.create_task(by_auto(auto, others))
            calls = [asyncio.create_task(caller.call(back)) for caller in callers]
            since, before = time.perf_counter(), len(moments)
            await asyncio.sleep(seconds)
            rate = (len(moments) - before) / (time.perf_counter() - since)
        finally:
            bad_lines.pod.accept()
            back.set()
        back_at = time.perf_counter()
        beside.cancel()
        async with asyncio.timeout(60):
            await asyncio.gather(*calls)
    failed = [ended for caller in callers for ended in caller.failed]
    unserved = sum(not ended.is_ok for ended in others)
    errors = max(caller.errors_after for caller in callers)
    recovery_s = max(caller.served_at for caller in callers) - back_at
    fast_ms = quantile_ms(failed, 0.99)
    report.add(
        Result(
            promise="A pod whose port refuses fails fast, is asked at a bounded rate, and serves again at once",
            load=f"{CALLERS} callers by DIRECT that try again without pause, one by AUTO",
            faults=f"the pod's port refuses connections for {seconds:g} s; controls: 91 errors "
            "without trials for calls, 272 trials/s without a time between them",
            figure=f"p50 {quantile_ms(failed, 0.5):.0f}, p99 {fast_ms:.0f} ms of {len(failed)} calls; "
            f"{rate:.0f} trials/s; at most {errors} errors after, serves in {recovery_s:.2f} s; "
            f"AUTO: {unserved} of {len(others)} failed, p50 {quantile_ms(others, 0.5):.0f} ms",
            bound=f"{FAST_MS:g} ms, {ASKED_A_SECOND:g}/s, < {MOST_ERRORS + 1}, {RECOVERY_S:g} s, 0",
            held=fast_ms < FAST_MS
            and rate <= ASKED_A_SECOND
            and errors <= MOST_ERRORS
            and recovery_s <= RECOVERY_S
            and unserved == 0,
        )
    )
    assert "POD_DOWN" in {ended.reason for ended in failed}
    assert rate <= ASKED_A_SECOND
    assert quantile_ms(failed, 0.5) < FAST_MS
    assert recovery_s < LONGEST_RECOVERY_S
