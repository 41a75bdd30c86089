"""`podroute demo`: handwritten digits in two collections on two pods, searched directly and through postgres_fdw."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Coroutine, Iterable, Sequence
from pathlib import Path
from typing import TypeVar

import click
import podroute
import uvloop
from rich.console import Console
from rich.table import Table

from podroute_router.cli import digits
from podroute_router.cli.digits import PLANS, Answer, Judgement
from podroute_router.cli.failures import CallFailed, CannotStart
from podroute_router.cli.local import EVERYTHING, Interrupted, prepared, router_config, stop_asked
from podroute_router.cli.output import console, table
from podroute_router.cli.router_calls import calling
from podroute_router.cli.starting import starting
from podroute_router.embedded import Cluster
from podroute_router.logs import configure_logs
from podroute_router.server import Router

_WIDTH = 110

T = TypeVar("T")


@click.command("demo")
@click.option(
    "--pg-bin-dir", type=click.Path(path_type=Path), help="Programs of another PostgreSQL, 15 or later, with pgvector."
)
def command(pg_bin_dir: Path | None) -> None:
    """Search handwritten digits along both paths.

    On a primary and two pods that are started for it and gone afterwards. Exits with 1 where the paths do not agree.
    """
    started = time.perf_counter()
    out = console(_WIDTH)
    try:
        records = digits.load_digits()
    except digits.DataMissing as error:
        raise CannotStart(str(error)) from error
    with starting(), calling():
        try:
            judgements = uvloop.run(_run(Cluster(ephemeral=True, bin_dir=pg_bin_dir, fsync=False), records, out))
        except Interrupted:
            raise CallFailed("interrupted; everything is stopped") from None
    out.print(f"All servers are stopped and their data is gone. {time.perf_counter() - started:.1f} s in all.")
    check_agreement(judgements)


def check_agreement(judgements: Iterable[Judgement]) -> None:
    """Raises CallFailed where the paths did not agree on every query."""
    compared, differing = _counts(judgements)
    if differing:
        raise CallFailed(f"DIRECT and FDW differ on {differing:,} of {compared:,} queries")


async def _run(cluster: Cluster, records: Sequence[podroute.Record], out: Console) -> list[Judgement]:
    asked = stop_asked()
    out.print(f"podroute demo: {len(records):,} handwritten digits of 8 × 8 pixels, from scikit-learn\n")
    watch = _Stopwatch(out)
    async with prepared(cluster, asked):
        config = router_config(cluster, "127.0.0.1:0", foreign=EVERYTHING)
        configure_logs(config.router.log_level, config.router.log_format)
        router = await Router.start(config)
        try:
            watch.say("started", f"a primary, the pods {' and '.join(cluster.pods)}, and a router on {router.address}")
            async with podroute.AsyncClient(router.address) as client:
                return await _unless(asked, _show(client, records, out, watch))
        finally:
            await router.stop(grace_s=1)


async def _show(
    client: podroute.AsyncClient, records: Sequence[podroute.Record], out: Console, watch: _Stopwatch
) -> list[Judgement]:
    for plan in PLANS:
        result = await digits.fill(client, plan, records)
        watch.say(
            "upserted",
            f"{result.upserted_count:,} records into {plan.name} ({plan.metric}) on {_pods(result.route)}, "
            f"path {_path(result.route)}",
        )
    for plan in PLANS:
        await client.create_index(plan.name)
    watch.say("indexed", f"{' and '.join(plan.name for plan in PLANS)} (HNSW)")
    answers = [answer for plan in PLANS for answer in await digits.ask(client, plan, records)]
    out.print(f"\nThe {digits.LIMIT} nearest neighbours of two digits (ms: median of {digits.TIMED_CALLS} calls):\n")
    out.print(_answers(answers))
    judgements = [await digits.judge(client, plan, records) for plan in PLANS]
    out.print(f"\nNeighbours with the right label, of {digits.JUDGED} digits:")
    for judgement in judgements:
        shares = ", ".join(f"{share:.1%} by {path.upper()}" for path, share in judgement.right.items())
        out.print(f"  {judgement.plan.name:<10} {shares}")
    compared, differing = _counts(judgements)
    if not differing:
        out.print(
            f"\nDIRECT and FDW agree on all of {compared:,} queries: same neighbours, same order, same distances."
        )
    return judgements


def _counts(judgements: Iterable[Judgement]) -> tuple[int, int]:
    """How many queries were compared, and on how many of them the paths differ."""
    pairs = [(judgement.compared, judgement.differing) for judgement in judgements]
    return sum(compared for compared, _ in pairs), sum(differing for _, differing in pairs)


def _answers(answers: Iterable[Answer]) -> Table:
    return table(
        ["collection", "digit", "filter", "path", "pod", "neighbours", "labels", "distances", "ms"],
        [
            (
                answer.plan.name,
                f"{answer.label} #{answer.plan.shown}",
                answer.plan.filter_text if answer.is_filtered else "",
                _path(answer.result.route),
                _pods(answer.result.route),
                " ".join(match.id for match in answer.result.matches),
                " ".join(str((match.metadata or {})["label"]) for match in answer.result.matches),
                " ".join(_short(match.distance) for match in answer.result.matches),
                round(answer.milliseconds, 1),
            )
            for answer in answers
        ],
    )


def _path(route: podroute.Route) -> str:
    return route.path.upper()


def _pods(route: podroute.Route) -> str:
    return ", ".join(route.pods)


def _short(distance: float) -> str:
    """A distance in five characters."""
    return f"{distance:.3f}" if distance < 10 else f"{distance:.2f}"


class _Stopwatch:
    """Prints the steps with the seconds that each took."""

    def __init__(self, out: Console) -> None:
        self._out = out
        self._last = time.perf_counter()

    def say(self, step: str, what: str) -> None:
        """Prints a step that has just ended."""
        now = time.perf_counter()
        self._out.print(f"  {step:<9} {what:<80} {now - self._last:5.2f} s")
        self._last = now


async def _unless(asked: asyncio.Event, work: Coroutine[None, None, T]) -> T:
    """The work's result; raises Interrupted as soon as the end is asked for."""
    task, stop = asyncio.ensure_future(work), asyncio.ensure_future(asked.wait())
    await asyncio.wait({task, stop}, return_when=asyncio.FIRST_COMPLETED)
    stop.cancel()
    if not task.done():
        task.cancel()
        await asyncio.wait({task})
        raise Interrupted
    return task.result()
