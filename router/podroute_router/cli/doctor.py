"""`podroute doctor`: what is not as the shard map implies, and the command that mends it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from pathlib import Path

import click

from podroute_router.cli.databases import config_option, databases, timeout_option
from podroute_router.cli.output import console, json_option, table
from podroute_router.cli.starting import starting
from podroute_router.config import load_config
from podroute_router.doctor import examine
from podroute_router.domain import Deadline
from podroute_router.drift import Drift

DRIFTED = 1
"""Exit code where something is not as it should be."""


@click.command("doctor")
@config_option
@timeout_option
@json_option
@click.pass_context
def command(ctx: click.Context, *, config_file: Path | None, timeout_s: float, as_json: bool) -> None:
    """Compare the databases with the shard map, and change nothing.

    It logs in as the router does, and needs no running router. Exit code 0: all is well, up to notes; 1: something has
    drifted; 2: it could not look.
    """
    with starting():
        found = asyncio.run(_examine(config_file, timeout_s))
    if as_json:
        click.echo(json.dumps([_as_dict(drift) for drift in found], indent=2, ensure_ascii=False))
    else:
        show(found)
    if any(not drift.is_note for drift in found):
        ctx.exit(DRIFTED)


def show(found: Sequence[Drift]) -> None:
    """Prints drift as a table."""
    if not found:
        click.echo("no drift: the databases are as the shard map implies")
        return
    rows = [("note" if each.is_note else "drift", each.where, each.thing, each.problem, each.command) for each in found]
    wrapped = ("THING", "PROBLEM", "MENDED BY")
    console().print(table(["KIND", "WHERE", "THING", "PROBLEM", "MENDED BY"], rows, wrapped=wrapped))


def _as_dict(drift: Drift) -> dict[str, object]:
    return {
        "kind": "note" if drift.is_note else "drift",
        "where": drift.where,
        "thing": drift.thing,
        "problem": drift.problem,
        "mended_by": drift.command,
    }


async def _examine(config_file: Path | None, timeout_s: float) -> list[Drift]:
    config, deadline = load_config(config_file), Deadline.after(timeout_s)
    async with databases(config, deadline) as (backends, shard_map, exposures):
        return await examine(backends, shard_map, config.pods, deadline, exposures=exposures)
