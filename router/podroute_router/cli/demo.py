"""`podroute demo`: handwritten digits in two collections on two pods, searched directly and through postgres_fdw."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Coroutine, Iterable, Sequence
from pathlib import Path
from typing import TypeVar

import click
import podroute
from rich.console import Console

from podroute_router.cli import digits
from podroute_router.cli.digits import PLANS, Answer, Judgement
from podroute_router.cli.failures import CallFailed, CannotStart, calling, starting
from podroute_router.cli.local import EVERYTHING, prepare_cluster, router_config, stop_asked
from podroute_router.cli.output import console, table
from podroute_router.embedded import Cluster
from podroute_router.logs import configure_logs
from podroute_router.server import Router

_WIDTH = 110

T = TypeVar("T")


class _Interrupted(Exception):
    """SIGTERM or Ctrl-C came before the end."""


@click.command("demo")
@click.option(
    "--pg-bin-dir", type=click.Path(path_type=Path), help="Programs of another PostgreSQL, 15 or later, with pgvector."
)
def command(pg_bin_dir: Path | None) -> None:
    """Search handwritten digits along both paths, on a primary and two pods that are gone afterwards.

    Exits with 1 where the paths do not agree.
    """
    started = time.perf_counter()
    out = console(_WIDTH)
    try:
        records = digits.load_digits()
    except digits.DataMissing as error:
        raise CannotStart(str(error)) from error
    with starting(), calling():
        try:
            judgements = asyncio.run(_run(Cluster(ephemeral=True, bin_dir=pg_bin_dir), records, out))
        except _Interrupted:
            raise CallFailed("interrupted; everything is stopped") from None
    out.print(f"All servers are stopped and their data is gone. {time.perf_counter() - started:.1f} s in all.")
    differing = sum(judgement.differing for judgement in judgements)
    if differing:
        raise CallFailed(f"DIRECT and FDW differ on {differing} queries")


async def _run(cluster: Cluster, records: Sequence[podroute.Record], out: Console) -> list[Judgement]:
    asked = stop_asked()
    out.print(f"podroute demo: {len(records):,} handwritten digits of 8 × 8 pixels, from scikit-learn\n")
    watch = _Stopwatch(out)
    with cluster:
        await prepare_cluster(cluster)
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
    out.print(f"\nThe {digits.LIMIT} digits nearest to one (its label, #index), and their labels:\n")
    out.print(_answers(answers))
    judgements = [await digits.judge(client, plan, records) for plan in PLANS]
    out.print(f"\nNeighbours with the right label, of {digits.JUDGED} digits:")
    for judgement in judgements:
        shares = ", ".join(f"{share:.1%} by {path.upper()}" for path, share in judgement.right.items())
        out.print(f"  {judgement.plan.name:<10} {shares}")
    compared = sum(judgement.compared for judgement in judgements)
    differing = sum(judgement.differing for judgement in judgements)
    verdict = f"differ on {differing:,} of" if differing else "agree on all of"
    out.print(f"\nDIRECT and FDW {verdict} {compared:,} queries: same neighbours, same order, same distances.")
    return judgements


def _answers(answers: Iterable[Answer]):
    return table(
        ["collection", "of", "filter", "path", "pod", "neighbours", "labels", "distances", "ms"],
        [
            (
                answer.plan.name,
                f"{answer.label} #{answer.plan.shown}",
                _filter(answer.filter),
                _path(answer.result.route),
                _pods(answer.result.route),
                " ".join(match.id for match in answer.result.matches),
                " ".join(str((match.metadata or {})["label"]) for match in answer.result.matches),
                " ".join(_significant(match.distance) for match in answer.result.matches),
                f"{answer.milliseconds:.1f}",
            )
            for answer in answers
        ],
    )
