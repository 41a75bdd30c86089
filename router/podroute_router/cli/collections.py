"""`podroute collections`: makes, shows, indexes and deletes collections."""

from __future__ import annotations

from collections.abc import Iterable
from typing import cast

import click
import podroute
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

from podroute_router.cli.output import console, json_option, print_json, table
from podroute_router.cli.router_calls import METRICS, address_option, router_at


@click.group("collections")
def command() -> None:
    """Make, show, index and delete collections."""


@command.command("create")
@click.argument("name")
@click.option("--dimension", type=int, required=True, help="Components of each vector, 1 to 16000.")
@click.option("--metric", type=METRICS, help="Of queries that name none; default: cosine.")
@click.option("--pod", help="Default: the pod with the fewest records.")
@address_option
def create(name: str, dimension: int, metric: str | None, pod: str | None, address: str) -> None:
    """Make the empty collection NAME."""
    with router_at(address) as client:
        made = client.create_collection(name, dimension, metric=_metric(metric), pod=pod)
    click.echo(f"created {made.name} ({made.dimension} components, {made.metric}) on pod {made.placement.pod}")


@command.command("list")
@address_option
@json_option
def list_(address: str, as_json: bool) -> None:
    """Print all collections."""
    with router_at(address) as client:
        found = list(client.list_collections())
    if as_json:
        print_json(found)
    else:
        _print(found)


@command.command("get")
@click.argument("name")
@address_option
@json_option
def get(name: str, address: str, as_json: bool) -> None:
    """Print the collection NAME."""
    with router_at(address) as client:
        found = client.get_collection(name)
    if as_json:
        print_json(found)
    else:
        _print([found])


@command.command("delete")
@click.argument("name")
@click.option("--yes", is_flag=True, help="Do not ask.")
@address_option
def delete(name: str, yes: bool, address: str) -> None:
    """Delete the collection NAME with all its records."""
    if not yes:
        click.confirm(f"Delete collection {name} with all its records?", abort=True, err=True)
    with router_at(address) as client:
        client.delete_collection(name)
    click.echo(f"deleted {name}")


@command.command("index")
@click.argument("name")
@click.option("--metric", type=METRICS, help="Of the queries that it serves; default: the collection's.")
@click.option("--m", type=int, help="Links a node, 2 to 100; default: 16.")
@click.option("--ef-construction", type=int, help="Size of the candidate list, 4 to 1000; default: 64.")
@address_option
def index(name: str, metric: str | None, m: int | None, ef_construction: int | None, address: str) -> None:
    """Build an HNSW index on the collection NAME while writes go on. Ctrl-C ends the build."""
    terminal = Console(stderr=True)
    shown = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TaskProgressColumn(),
        TimeElapsedColumn(),
        console=terminal,
        transient=True,
        disable=not terminal.is_terminal,
    )
    with router_at(address) as client, shown:
        task = shown.add_task("starting", total=None)

        def show(progress: podroute.IndexProgress) -> None:
            shown.update(
                task,
                description=progress.phase,
                completed=progress.blocks_done,
                total=progress.blocks_total or None,
            )

        built = client.create_index(
            name, metric=_metric(metric), m=m, ef_construction=ef_construction, on_progress=show
        )
    click.echo(f"index {built.name} serves {built.metric} queries of {name}")


def _metric(name: str | None) -> podroute.Metric | None:
    return cast("podroute.Metric | None", name)  # click has checked it


def _print(found: Iterable[podroute.Collection]) -> None:
    console().print(
        table(
            ["COLLECTION", "DIMENSION", "METRIC", "POD"],
            [(each.name, each.dimension, each.metric, each.placement.pod) for each in found],
        )
    )
