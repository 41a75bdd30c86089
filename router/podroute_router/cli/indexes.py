"""`podroute collections index`, `indexes` and `drop-index`."""

from __future__ import annotations

from typing import cast

import click
import podroute
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

from podroute_router.cli.output import console, json_option, print_json, table
from podroute_router.cli.router_calls import METRICS, address_option, router_at


@click.command("index")
@click.argument("name")
@click.option(
    "--method",
    type=click.Choice(["hnsw", "ivfflat", "metadata-gin"]),
    default="hnsw",
    show_default=True,
    help="Two kinds for vectors, and one for filters on metadata.",
)
@click.option("--metric", type=METRICS, help="Of the queries that it serves; default: the collection's.")
@click.option("--m", type=int, help="HNSW: links a node, 2 to 100; default: 16.")
@click.option("--ef-construction", type=int, help="HNSW: size of the candidate list, 4 to 1000; default: 64.")
@click.option("--lists", type=int, help="IVFFlat: lists, 1 to 32768; default: by the number of records.")
@click.option("--replace", is_flag=True, help="Build anew, then take the place of those that serve the same.")
@address_option
def index(
    *,
    name: str,
    method: str,
    metric: str | None,
    m: int | None,
    ef_construction: int | None,
    lists: int | None,
    replace: bool,
    address: str,
) -> None:
    """Build an index on the collection NAME while writes go on. Ctrl-C ends the build."""
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
            name,
            method=cast("podroute.IndexMethod", method.replace("-", "_")),  # click has checked it
            metric=cast("podroute.Metric | None", metric),
            m=m,
            ef_construction=ef_construction,
            lists=lists,
            replace=replace,
            on_progress=show,
        )
    serves = "filters on metadata" if built.method == "metadata_gin" else f"{built.metric} queries"
    click.echo(f"index {built.name} serves {serves} of {name}")


@click.command("indexes")
@click.argument("name")
@address_option
@json_option
def indexes(name: str, address: str, as_json: bool) -> None:
    """Print the indexes of the collection NAME."""
    with router_at(address) as client:
        found = client.list_indexes(name)
    if as_json:
        print_json(found)
        return
    console().print(
        table(
            ["INDEX", "METHOD", "METRIC", "PARAMETERS", "BYTES", "VALID"],
            [
                (each.name, each.method, each.metric, _parameters(each), each.size_bytes, "yes" if each.valid else "no")
                for each in found
            ],
        )
    )


@click.command("drop-index")
@click.argument("name")
@click.argument("index_name", metavar="INDEX")
@address_option
def drop_index(name: str, index_name: str, address: str) -> None:
    """Drop INDEX of the collection NAME while reads and writes go on."""
    with router_at(address) as client:
        client.drop_index(name, index_name)
    click.echo(f"dropped index {index_name} of {name}")


def _parameters(found: podroute.Index) -> str:
    named = {"m": found.m, "ef_construction": found.ef_construction, "lists": found.lists}
    return ", ".join(f"{name}={value}" for name, value in named.items() if value is not None)
