"""`podroute reconcile`: mends what the doctor finds, or prints the SQL that would."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from itertools import groupby
from pathlib import Path

import click

from podroute_router.cli.databases import config_option, databases, timeout_option
from podroute_router.cli.doctor import DRIFTED, show
from podroute_router.cli.starting import starting
from podroute_router.config import load_config
from podroute_router.doctor import examine, mend
from podroute_router.domain import Deadline
from podroute_router.drift import Drift
from podroute_router.postgres.prepare import OWNER


@click.command("reconcile")
@config_option
@timeout_option
@click.option("--dry-run", is_flag=True, help="Print the SQL, without passwords, and change nothing.")
@click.pass_context
def command(ctx: click.Context, *, config_file: Path | None, timeout_s: float, dry_run: bool) -> None:
    """Make the databases agree with the shard map.

    It logs in as the router does and acts as podroute's owner, never as an administrator; what needs one is left, and
    told. Exit code 0: nothing is left to do; 1: something is; 2: it could not look.
    """
    with starting():
        found = asyncio.run(_reconcile(config_file, timeout_s, dry_run=dry_run))
    if dry_run:
        click.echo("\n".join(script(found)))
    else:
        show(found)
    if any(not drift.is_note for drift in found):
        ctx.exit(DRIFTED)


def script(found: Sequence[Drift]) -> Iterator[str]:
    """What would be run in each database; what needs a person stands as a comment."""
    for where, drifts in groupby((drift for drift in found if not drift.is_note), key=lambda drift: drift.where):
        yield f"-- {where}"
        yield f"set role {OWNER};"
        for drift in drifts:
            yield f"-- {drift.thing}: {drift.problem}"
            if not drift.steps:
                yield f"-- not podroute's to mend: {drift.remedy}"
            for step in drift.steps:
                yield f"{step.shown};"


async def _reconcile(config_file: Path | None, timeout_s: float, *, dry_run: bool) -> list[Drift]:
    config, deadline = load_config(config_file), Deadline.after(timeout_s)
    async with databases(config, deadline) as (backends, shard_map, exposures):
        if not dry_run:
            await mend(backends, shard_map, deadline, exposures=exposures)
        return await examine(backends, shard_map, config.pods, deadline, exposures=exposures)
