"""Every kind of call ends in time, whatever stands still: the pod, the primary, or a line that is half-open.

Callers set no deadline, so that it is the router that keeps its own. The negative control is a test of its own: where
the router does not keep the deadline, a write lasts as long as the pod is frozen.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar

import pytest
import pytest_asyncio
from podroute_router import wrappers
from podroute_router.domain import Deadline
from podroute_router.embedded import Cluster
from podroute_router.embedded.server import Server

from .conftest import DIRECT, FDW, GRACE_S, WORST_S
from .kinds import KINDS, Ended, made
from .lines import DEADLINE_S, POD, Lines, lines
from .proxy import End
from .report import Report, Result
from .scale import Scale


@pytest_asyncio.fixture(scope="module")
async def bad_lines(cluster: Cluster) -> AsyncIterator[Lines]:
    async with lines(cluster) as opened:
        yield opened


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """What stands still, and the path that goes there."""

    what: str
    path: int
    stop: Callable[[Lines, Cluster], None]
    go_on: Callable[[Lines, Cluster], None]


def _frozen(what: str, path: int, server: Callable[[Cluster], Server]) -> Case:
    return Case(
        what=what,
        path=path,
        stop=lambda _, cluster: server(cluster).freeze(),
        go_on=lambda _, cluster: server(cluster).thaw(),
    )


def _half_open(what: str, path: int, line: str) -> Case:
    return Case(
        what=what,
        path=path,
        stop=lambda bad, _: getattr(bad, line).half_open(End.SERVER),
        go_on=lambda bad, _: getattr(bad, line).bury(),
    )


CASES = (
    _frozen("pod frozen, DIRECT", DIRECT, lambda cluster: cluster.pods[POD]),
    _frozen("pod frozen, FDW", FDW, lambda cluster: cluster.pods[POD]),
    _frozen("primary frozen, FDW", FDW, lambda cluster: cluster.primary),
    _half_open("line to the pod half-open, DIRECT", DIRECT, "pod"),
    _half_open("line to the primary half-open, FDW", FDW, "primary"),
    _half_open("line from primary to pod half-open, FDW", FDW, "primary_pod"),
)
QUICK = 3
"""Cases in the fast suite: those that freeze."""


@contextmanager
def standing_still(case: Case, bad_lines: Lines, cluster: Cluster) -> Iterator[None]:
    case.stop(bad_lines, cluster)
    try:
        yield
    finally:
        case.go_on(bad_lines, cluster)


@pytest.mark.full
async def test_every_kind_of_call_keeps_its_deadline(
    bad_lines: Lines, cluster: Cluster, report: Report, scale: Scale
) -> None:
    """Twice: all kinds at once, of which some wait for a connection; then, in a full run, one after the other."""
    ended: dict[str, list[Ended]] = {}
    for case in CASES[: int(scale.pick(QUICK, len(CASES)))]:
        await bad_lines.warm(case.path)
        caller = bad_lines.caller(case.path)
        with standing_still(case, bad_lines, cluster):
            calls = (made(caller, kind, DEADLINE_S, is_told=False) for kind in KINDS)
            ended[case.what] = [*await asyncio.gather(*calls)]
            for kind in KINDS if scale.full else ():
                ended[case.what].append(await made(caller, kind, DEADLINE_S, is_told=False))
    for what, calls in ended.items():
        worst = max(calls, key=lambda call: call.late_s)
        report.add(
            Result(
                promise=f"Deadlines are kept: {what}",
                load=f"{len(calls)} calls, every kind of read and write, {DEADLINE_S:.0f} s each",
                faults=what.partition(",")[0] + ". Control: a router that does not keep them",
                figure=f"{worst.late_s * 1000:.0f} ms late ({worst.kind})",
                bound=f"{GRACE_S * 1000:.0f} ms",
                held=worst.late_s <= GRACE_S,
            )
        )
    for what, calls in ended.items():
        assert max(call.late_s for call in calls) <= WORST_S, what
        assert any(not call.is_ok for call in calls), what  # it did stand still
        assert {call.code for call in calls} <= {"OK", "DEADLINE_EXCEEDED", "UNAVAILABLE"}, what


T = TypeVar("T")


async def _whenever(_: Deadline, call: Awaitable[T], **__: object) -> T:
    return await call


@pytest.mark.full
@pytest.mark.parametrize("case", CASES[:2], ids=lambda case: case.what)
async def test_control_a_router_that_keeps_no_deadline_answers_when_the_pod_does(
    bad_lines: Lines, cluster: Cluster, case: Case, monkeypatch: pytest.MonkeyPatch
) -> None:
    await bad_lines.warm(case.path)
    monkeypatch.setattr(wrappers, "_cancelled_at", _whenever)
    with standing_still(case, bad_lines, cluster):
        upsert = asyncio.create_task(made(bad_lines.caller(case.path), "upsert", DEADLINE_S, is_told=False))
        await asyncio.sleep(DEADLINE_S + 3 * WORST_S)
        assert not upsert.done()
    assert (await upsert).late_s > WORST_S
