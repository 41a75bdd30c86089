"""A pod has one budget of calls and one of connections, over paths and workers: one in trouble takes no more."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from statistics import fmean, median
from typing import NamedTuple

import grpc
import psycopg
import pytest
from podroute_router.embedded import Cluster
from podroute_router.embedded.server import Server
from servers import router_values

from .conftest import DIRECT, FDW, Bench
from .generators import Call, Generator
from .paced import bench_of, benches_of, quantile_ms, until_served
from .report import Report, Result
from .scale import Scale

OK, DEADLINE_EXCEEDED = grpc.StatusCode.OK, grpc.StatusCode.DEADLINE_EXCEEDED
PATHS = {"direct": DIRECT, "fdw": FDW}
DEADLINE_S, BUDGET_S = 5.0, 1.2
"""The frozen pod's calls use the budget up: it is of so many seconds' calls, and each waits for its deadline."""
P99_RATIO = 1.2
FREEZES = 5
WARM_S = 2.0
"""Load before each baseline."""
NO_RETRIES = {"grpc.enable_retries": 0}
CALLS, CONNECTIONS, FDW_CONNECTIONS = 12, 6, 4
LOOKS = 1
"""Connections of each worker beside the budget, by which it looks how the pod is."""


@contextmanager
def locked(pod: Server, collection: str) -> Iterator[None]:
    """Calls on the collection wait meanwhile."""
    with psycopg.connect(pod.admin_conninfo(pod.database)) as holder:
        holder.execute(f"lock table vecs.{collection} in access exclusive mode".encode())
        yield
        holder.rollback()


class Freeze(NamedTuple):
    """The calls to both pods before, while and after one of them is frozen."""

    before: list[Call]
    beside: list[Call]
    after: list[Call]
    frozen: list[Call]
    """Those to the frozen pod, while it is."""

    @property
    def baseline_ms(self) -> float:
        """What stands between the p99s of the other pod's calls before and after."""
        return fmean(quantile_ms(calls, 0.99) for calls in (self.before, self.after))

    @property
    def p99_ms(self) -> float:
        """That of the other pod's calls meanwhile."""
        return quantile_ms(self.beside, 0.99)


@pytest.mark.full
async def test_a_frozen_pod_takes_nothing_from_the_other(
    cluster: Cluster, report: Report, scale: Scale, tmp_path: Path
) -> None:
    """The control: the same calls to the frozen pod fail, every one. By FDW in a full run only.

    Each pod's callers are a process of their own: in one process the failing calls, and that process's garbage
    collector, keep the others' answers waiting, for 0.1 s and more at a time.
    """
    for name in ("direct", "fdw") if scale.full else ("direct",):
        folder = tmp_path / name
        folder.mkdir()
        await freeze_one_of_two(cluster, report, scale, folder, name=name)


async def freeze_one_of_two(cluster: Cluster, report: Report, scale: Scale, tmp_path: Path, *, name: str) -> None:
    """Several times, as what all these calls share is the machine: their median counts."""
    path, rate, seconds = PATHS[name], scale.pick(50, 200), scale.pick(2, 20)
    values = router_values(cluster) | {
        "timeouts": {"default_s": DEADLINE_S},
        "limits": {"calls_per_pod": int(BUDGET_S * rate)},
    }
    taken: list[Freeze] = []
    async with bench_of(values, tmp_path) as bench:
        with ExitStack() as held:
            generators = [Generator(bench.address, bench.query_of(pod, path), NO_RETRIES) for pod in ("alpha", "beta")]
            for generator in generators:
                held.callback(generator.close)

            async def both(seconds: float = seconds) -> list[list[Call]]:
                return await asyncio.gather(*(each.open_loop(rate=rate, seconds=seconds) for each in generators))

            async def both_served() -> list[list[Call]]:
                for pod in ("alpha", "beta"):
                    await until_served(bench, pod, path)
                await both(WARM_S)
                return await both()

            _, before = await both_served()
            for _ in range(int(scale.pick(1, FREEZES))):
                cluster.pods["alpha"].freeze()
                try:
                    frozen, beside = await both()
                finally:
                    cluster.pods["alpha"].thaw()
                _, after = await both_served()
                taken.append(Freeze(before, beside, after, frozen))
                before = after
    beside = [call for each in taken for call in each.beside]
    failures = Counter(f"{call.code} {call.reason}" for call in beside if call.code != "OK")
    failed = failures.total()
    unexplained = sum(call.code == "CANCELLED" for each in taken for call in (*each.frozen, *each.beside))
    ratios = [each.p99_ms / each.baseline_ms for each in taken]
    each_time = ", ".join(f"{ratio:.2f}" for ratio in ratios)
    report.add(
        Result(
            promise=f"A frozen pod takes nothing from the other ({name.upper()})",
            load=f"{rate:g} queries/s on each of two pods, a process each, open loop, {seconds:g} s each time",
            faults=f"one pod frozen, {len(taken)} times; control: all of its own calls fail",
            figure=f"{failed} of {len(beside)} failed, p99 {median(each.p99_ms for each in taken):.1f} ms, "
            f"{median(ratios):.2f} x what it is before and after (median of {each_time}); "
            f"{unexplained} of both CANCELLED without a reason",
            bound=f"0, {P99_RATIO:g} x",
            held=failed == 0 and unexplained == 0 and median(ratios) <= P99_RATIO,
        )
    )
    assert all(call.code != "OK" for each in taken for call in each.frozen)
    assert {call.code for each in taken for call in (*each.before, *each.after)} == {"OK"}
    assert not failures
    assert all(each.p99_ms < 10 * each.baseline_ms + 200 for each in taken)


@pytest.mark.full
async def test_calls_on_both_paths_share_one_budget(cluster: Cluster, report: Report, tmp_path: Path) -> None:
    """The control: as many calls as the budget are taken, and on the other pod calls are served."""
    values = router_values(cluster)
    values |= {"limits": {"calls_per_pod": CALLS}, "timeouts": {"default_s": 1.0}}
    async with bench_of(values, tmp_path) as bench:
        await until_served(bench, "alpha", DIRECT, FDW)
        await until_served(bench, "beta", DIRECT)
        with locked(cluster.pods["alpha"], bench.collection("alpha")):
            calls = [bench.query("alpha", path) for path in PATHS.values() for _ in range(CALLS)]
            waiting = asyncio.gather(*calls)
            await asyncio.sleep(0.2)
            other = await bench.query("beta", DIRECT)
            outcomes = await waiting
    reasons = Counter(outcome.reason for outcome in outcomes)
    report.add(
        Result(
            promise="A pod has one budget of calls over both paths",
            load=f"{2 * CALLS} calls at a time, half of them on each path, calls_per_pod = {CALLS}",
            faults="all wait for a lock; control: the first are taken, the other pod is served",
            figure=f"{CALLS * 2 - reasons['POD_BUSY']} in flight",
            bound=f"{CALLS}",
            held=reasons["POD_BUSY"] == CALLS,
        )
    )
    assert reasons == {"DEADLINE_EXCEEDED": CALLS, "POD_BUSY": CALLS}
    assert other.code is OK


@pytest.mark.full
async def test_connections_keep_to_one_budget_over_paths_and_workers(
    cluster: Cluster, report: Report, scale: Scale, tmp_path: Path
) -> None:
    """The hidden ones of postgres_fdw are counted on the pod.

    The control, in a full run: a router of twice the budget goes beyond.
    """
    for workers in (1, 2) if scale.full else (2,):
        folder = tmp_path / f"workers_{workers}"
        folder.mkdir()
        await count_connections(cluster, report, scale, folder, workers=workers)


async def count_connections(cluster: Cluster, report: Report, scale: Scale, tmp_path: Path, *, workers: int) -> None:
    most = await most_connections(cluster, tmp_path, scale, workers=workers, times=1)
    control = await most_connections(cluster, tmp_path, scale, workers=workers, times=2) if scale.full else None
    bounds = {"podroute": CONNECTIONS + LOOKS * workers, "postgres_fdw": FDW_CONNECTIONS}
    report.add(
        Result(
            promise=f"A pod's connections keep to one budget over both paths ({workers} workers)",
            load="queries and upserts on both paths, more at a time than there are connections",
            faults="a locked table, now and then"
            + (f"; control: a router of twice the budget has {sum(control.values())}" if control else ""),
            figure=f"{most['podroute']} and {most['postgres_fdw']} (FDW)",
            bound=f"{bounds['podroute']} and {bounds['postgres_fdw']}",
            held=all(most[program] <= bound for program, bound in bounds.items()),
        )
    )
    assert all(0 < most[program] <= bound for program, bound in bounds.items())
    if control is not None:
        assert all(control[program] > bound for program, bound in bounds.items())


async def most_connections(cluster: Cluster, folder: Path, scale: Scale, *, workers: int, times: int) -> Counter[str]:
    """The most connections that a pod had at a time from a router with so many times the budget, by program."""
    pod = cluster.pods["beta"]
    values = router_values(cluster)
    values["router"]["workers"] = workers
    values["limits"] = {"connections_per_pod": times * CONNECTIONS, "fdw_connections_per_pod": times * FDW_CONNECTIONS}
    own = folder / f"times_{times}"
    own.mkdir()
    most: Counter[str] = Counter()
    with psycopg.connect(pod.admin_conninfo(pod.database), autocommit=True) as admin:
        others = set(sessions(admin))

        async def watch() -> None:
            while True:
                nonlocal most
                most |= Counter(program for pid, program in sessions(admin).items() if pid not in others)
                await asyncio.sleep(0.02)

        async with benches_of(values, own, {"beta": "beta"}, count=6 * workers) as benches:
            watching = asyncio.create_task(watch())
            for _ in range(round(scale.pick(1, 10))):
                await all_at_once(benches)
                with locked(pod, benches[0].collection("beta")):
                    waiting = asyncio.create_task(all_at_once(benches))
                    await asyncio.sleep(0.5)
                await waiting
            watching.cancel()
            await asyncio.gather(watching, return_exceptions=True)
            await until_served(benches[0], "beta", DIRECT, FDW)
    return most


async def all_at_once(benches: Sequence[Bench]) -> None:
    """More calls on each path than there are connections; how they end is of no interest.

    None gives up: the place of a connection that was left is given on after a second, whether or not the pod has ended
    the session by then.
    """
    calls = [
        call(path)
        for bench in benches
        for path in PATHS.values()
        for _ in range(4)
        for call in (
            lambda path, bench=bench: bench.query("beta", path, timeout=20),
            lambda path, bench=bench: bench.upsert("beta", "a", path, timeout=20),
        )
    ]
    await asyncio.gather(*calls, return_exceptions=True)


def sessions(admin: psycopg.Connection) -> dict[int, str]:
    """The program behind each session of the pod's, but for ours."""
    return dict(
        admin.execute(
            "select pid, application_name from pg_stat_activity"
            " where backend_type = 'client backend' and pid <> pg_backend_pid()"
        ).fetchall()
    )
