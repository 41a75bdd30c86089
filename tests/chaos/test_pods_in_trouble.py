"""A pod that is frozen or dead hurts its own collections only, answers come in time, and it serves again at once."""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import grpc
import pytest
from podroute_router.embedded import Cluster
from podroute_router.embedded.server import Server

from .conftest import AUTO, CALLS_PER_POD, DEADLINE_S, DIRECT, FDW, GRACE_S, WORST_S, Bench, Outcome
from .report import Report, Result

PATHS = {"direct": DIRECT, "fdw": FDW}
OK = grpc.StatusCode.OK
FAILED = (grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.UNAVAILABLE)
"""No answer in time, or no new connection in half of the time."""
RECOVERY_S = 2.0
ATTEMPTS = 400


@contextmanager
def frozen(server: Server) -> Iterator[None]:
    server.freeze()
    try:
        yield
    finally:
        server.thaw()


async def until_ok(bench: Bench, pod: str, path: int) -> float:
    """Seconds until a query of the pod succeeds."""
    started = time.perf_counter()
    for _ in range(ATTEMPTS):
        if (await bench.query(pod, path)).code is OK:
            return time.perf_counter() - started
        await asyncio.sleep(0.02)
    pytest.fail(f"{pod} did not come back")


def add_in_time(report: Report, what: str, outcomes: Sequence[Outcome]) -> None:
    late_s = max(outcome.late_s for outcome in outcomes)
    report.add(
        Result(
            promise=f"Deadlines are kept: {what}",
            load=f"{len(outcomes)} queries and upserts, {DEADLINE_S} s each",
            faults="SIGSTOP. Control: a router that does not keep them",
            figure=f"{late_s * 1000:.0f} ms late",
            bound=f"{GRACE_S * 1000:.0f} ms",
            held=late_s <= GRACE_S,
        )
    )


def assert_in_time(outcomes: Sequence[Outcome]) -> None:
    assert statistics.median(outcome.late_s for outcome in outcomes) <= GRACE_S
    assert max(outcome.seconds for outcome in outcomes) <= DEADLINE_S + WORST_S


@pytest.fixture(params=PATHS)
def path(request: pytest.FixtureRequest) -> int:
    return PATHS[request.param]


async def test_the_deadline_is_kept_with_the_pod_frozen(
    bench: Bench, cluster: Cluster, report: Report, path: int
) -> None:
    await bench.warm("alpha", path)
    with frozen(cluster.pods["alpha"]):
        outcomes = [await bench.query("alpha", path), await bench.upsert("alpha", "late", path)]
        outcomes += await asyncio.gather(*(bench.query("alpha", path) for _ in range(10)))
        add_in_time(report, f"pod frozen, short, {'FDW' if path == FDW else 'DIRECT'}", outcomes)
        assert outcomes[0].code is grpc.StatusCode.DEADLINE_EXCEEDED
        assert {outcome.code for outcome in outcomes} <= set(FAILED)
        assert_in_time(outcomes)
    assert await until_ok(bench, "alpha", path) < RECOVERY_S


async def test_the_deadline_is_kept_with_the_primary_frozen(bench: Bench, cluster: Cluster, report: Report) -> None:
    await bench.warm("alpha", FDW)
    with frozen(cluster.primary):
        outcomes = [await bench.query("alpha", FDW) for _ in range(2)]
        add_in_time(report, "primary frozen, short, FDW", outcomes)
        assert outcomes[0].code is grpc.StatusCode.DEADLINE_EXCEEDED
        assert {outcome.code for outcome in outcomes} <= set(FAILED)
        assert_in_time(outcomes)
        assert (await bench.query("alpha", DIRECT)).code is OK
    assert await until_ok(bench, "alpha", FDW) < RECOVERY_S


async def test_a_timeout_is_no_reason_to_take_the_other_path(bench: Bench, cluster: Cluster) -> None:
    await bench.warm("alpha", DIRECT)
    with frozen(cluster.pods["alpha"]):
        outcome = await bench.upsert("alpha", "late", AUTO)
        assert outcome.code is grpc.StatusCode.DEADLINE_EXCEEDED
    await until_ok(bench, "alpha", DIRECT)


async def test_a_frozen_pod_leaves_the_others_alone(bench: Bench, cluster: Cluster, path: int) -> None:
    await bench.warm("beta", path)
    with frozen(cluster.pods["alpha"]):
        stuck = [asyncio.create_task(bench.query("alpha", path)) for _ in range(CALLS_PER_POD)]
        await asyncio.sleep(0.1)
        others = [await bench.query("beta", path) for _ in range(20)]
        await asyncio.gather(*stuck)
        assert {other.code for other in others} == {OK}
    await until_ok(bench, "alpha", path)


async def test_calls_beyond_the_bound_are_refused_at_once(bench: Bench, cluster: Cluster, path: int) -> None:
    await bench.warm("alpha", path)
    with frozen(cluster.pods["alpha"]):
        stuck = [asyncio.create_task(bench.query("alpha", path)) for _ in range(CALLS_PER_POD)]
        await asyncio.sleep(0.1)
        refused = await bench.query("alpha", path)
        assert (refused.code, refused.reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "POD_BUSY")
        assert refused.seconds < DEADLINE_S / 2
        assert {outcome.code for outcome in await asyncio.gather(*stuck)} <= set(FAILED)
    await until_ok(bench, "alpha", path)


async def test_a_killed_pod_is_unavailable_and_comes_back_within_two_seconds(bench: Bench, cluster: Cluster) -> None:
    for path in PATHS.values():
        await bench.warm("alpha", path)
    pod = cluster.pods["alpha"]
    pod.kill()
    try:
        for path in (*PATHS.values(), AUTO):
            outcomes = [await bench.query("alpha", path) for _ in range(3)]
            assert {outcome.code for outcome in outcomes} == {grpc.StatusCode.UNAVAILABLE}
            assert (await bench.query("beta", path)).code is OK
    finally:
        pod.start()
    for path in PATHS.values():
        assert await until_ok(bench, "alpha", path) < RECOVERY_S


async def test_a_killed_primary_leaves_the_direct_path_alone(bench: Bench, cluster: Cluster) -> None:
    cluster.primary.kill()
    try:
        assert (await bench.query("alpha", FDW)).code is grpc.StatusCode.UNAVAILABLE
        outcomes: list[Outcome] = [await bench.query(pod, path) for pod in ("alpha", "beta") for path in (DIRECT, AUTO)]
        assert {(outcome.code, outcome.path) for outcome in outcomes} == {(OK, DIRECT)}
    finally:
        cluster.primary.start()
    assert await until_ok(bench, "alpha", FDW) < RECOVERY_S


async def test_cancelled_calls_leave_no_connection_behind(bench: Bench, cluster: Cluster, path: int) -> None:
    """Not of podroute's, that is: each connection left in mid-call is closed, and its place is given on."""
    for _ in range(50):
        calls = [asyncio.create_task(bench.query("alpha", path)) for _ in range(4)]
        await asyncio.sleep(0.002)
        for call in calls:
            call.cancel()
        await asyncio.gather(*calls, return_exceptions=True)
    assert await until_ok(bench, "alpha", path) < RECOVERY_S
    assert (await bench.query("beta", path)).code is OK
