"""With the direct route to a pod cut, calls of AUTO are served by FDW, and by DIRECT again when it is mended."""

from __future__ import annotations

import asyncio
from collections import Counter
from pathlib import Path

import grpc
import psycopg
import pytest
from podroute_router.embedded import Cluster

from .conftest import AUTO, DIRECT, FDW, Outcome
from .paced import bench_of, over_relay, paced, until_served
from .relay import Relay
from .report import Report, Result
from .scale import Scale

OK, UNAVAILABLE = grpc.StatusCode.OK, grpc.StatusCode.UNAVAILABLE
RATE = 100
"""Calls of AUTO a second."""
CONTROLS_RATE = 10
SHARE = 0.999
RETURN_S = 2.0
BROKEN = {"OUTCOME_UNKNOWN", "CONNECTION_LOST"}
"""What a call may end with that was under way when the line was cut."""
UNDER_WAY_MAX = 8
"""Such calls: at most as many as there are connections."""


@pytest.mark.full
async def test_auto_goes_over_to_fdw_and_back(cluster: Cluster, report: Report, scale: Scale, tmp_path: Path) -> None:
    """The control: calls that ask for DIRECT all fail while the line is cut."""
    seconds = scale.pick(5, 60)
    cut_at, mended_at = 0.2 * seconds, 0.7 * seconds
    async with (
        Relay(cluster.pods["alpha"].port) as relay,
        bench_of(over_relay(cluster, "alpha", relay), tmp_path) as bench,
    ):
        await until_served(bench, "alpha", DIRECT, FDW)

        async def cut_and_mend() -> None:
            await asyncio.sleep(cut_at)
            await relay.cut()
            await asyncio.sleep(mended_at - cut_at)
            await relay.mend()

        async def call(number: int) -> Outcome:
            return await (bench.upsert("alpha", f"r{number}", AUTO) if number % 10 == 0 else bench.query("alpha", AUTO))

        calls, controls, _ = await asyncio.gather(
            paced(call, rate=RATE, seconds=seconds),
            paced(lambda _: bench.query("alpha", DIRECT), rate=CONTROLS_RATE, seconds=seconds),
            cut_and_mend(),
        )
    failed = [each for each in calls if each.outcome.code is not OK]
    share = 1 - len(failed) / len(calls)
    late = [each for each in calls if each.outcome.code is OK and each.outcome.path == FDW and each.at_s > mended_at]
    back_s = max((each.at_s - mended_at for each in late), default=0.0)
    switch_ms = 1000 * max(each.outcome.seconds for each in calls if cut_at - 0.1 < each.at_s < cut_at + 1)
    report.add(
        Result(
            promise="AUTO goes over to FDW where the direct route is cut, and back",
            load=f"{RATE} calls/s, a tenth upserts, for {seconds:g} s; first tries only",
            faults=f"the line from router to pod reset and refused for {mended_at - cut_at:g} s; "
            "control: calls by DIRECT all fail meanwhile",
            figure=f"{100 * share:.2f} % served ({len(failed)} of {len(calls)} failed), slowest at the switch "
            f"{switch_ms:.0f} ms, DIRECT again after {back_s:.1f} s",
            bound=f">= {100 * SHARE:g} %, {RETURN_S:g} s",
            held=share >= SHARE and back_s <= RETURN_S,
        )
    )
    cut = [each for each in controls if cut_at + 0.1 < each.at_s < mended_at - 0.1]
    assert {each.outcome.code for each in cut} == {UNAVAILABLE}
    assert {each.outcome.reason for each in failed} <= BROKEN
    assert len(failed) <= UNDER_WAY_MAX
    paths = Counter(each.outcome.path for each in calls if cut_at + 0.5 < each.at_s < mended_at - 0.1)
    assert set(paths) == {FDW}
    assert back_s < 2 * RETURN_S
    assert {each.outcome.path for each in calls if each.at_s < cut_at - 0.1} == {DIRECT}


async def test_a_write_that_was_sent_is_not_sent_again_on_the_other_path(
    cluster: Cluster, report: Report, tmp_path: Path
) -> None:
    """The control: an upsert that is sent after the cut does go by FDW, and waits there for the same lock."""
    pod = cluster.pods["alpha"]
    values = {"timeouts": {"default_s": 10.0}}
    async with Relay(pod.port) as relay, bench_of(over_relay(cluster, "alpha", relay) | values, tmp_path) as bench:
        await until_served(bench, "alpha", DIRECT, FDW)
        with (
            psycopg.connect(pod.admin_conninfo(pod.database)) as holder,
            psycopg.connect(pod.admin_conninfo(pod.database), autocommit=True) as admin,
        ):
            holder.execute(f"lock table vecs.{bench.collection('alpha')} in access exclusive mode".encode())
            sent = asyncio.create_task(bench.upsert("alpha", "sent", AUTO))
            await until_waiting(admin, "podroute")
            await relay.cut()
            outcome = await sent
            await asyncio.sleep(0.3)  # a second attempt would be there by then
            waiting = waits(admin, "postgres_fdw")
            later = asyncio.create_task(bench.upsert("alpha", "later", AUTO))
            await until_waiting(admin, "postgres_fdw")
            holder.rollback()
        after = await later
        await relay.mend()
    report.add(
        Result(
            promise="A write that was sent is not sent again on the other path",
            load="an upsert of AUTO that waits for a lock on the pod",
            faults="the line from router to pod reset meanwhile; control: the next upsert goes by FDW",
            figure=f"{outcome.reason or outcome.code.name}, {waiting} statements by FDW",
            bound="OUTCOME_UNKNOWN, 0 statements",
            held=outcome.reason == "OUTCOME_UNKNOWN" and waiting == 0,
        )
    )
    assert (outcome.code, outcome.reason, waiting) == (UNAVAILABLE, "OUTCOME_UNKNOWN", 0)
    assert (after.code, after.path) == (OK, FDW)


def waits(admin: psycopg.Connection, program: str) -> int:
    """How many statements of the program wait for a lock on the pod."""
    [(count,)] = admin.execute(
        "select count(*) from pg_stat_activity where wait_event_type = 'Lock' and application_name = %s", (program,)
    ).fetchall()
    return int(count)


async def until_waiting(admin: psycopg.Connection, program: str) -> None:
    async with asyncio.timeout(10):
        while not waits(admin, program):
            await asyncio.sleep(0.02)
