"""`podroute collections`: makes, adopts, shows, indexes, exposes and deletes collections."""

from __future__ import annotations

from collections.abc import Iterable
from typing import cast

import click
import podroute

from podroute_router.cli.adopt import adopt
from podroute_router.cli.exposures import expose, exposures, unexpose
from podroute_router.cli.indexes import drop_index, index, indexes
from podroute_router.cli.output import console, json_option, print_json, table
from podroute_router.cli.router_calls import METRICS, address_option, router_at


@click.group("collections")
def command() -> None:
    """Make, adopt, show, index, expose and delete collections."""


for _each in (adopt, index, indexes, drop_index, expose, unexpose, exposures):
    command.add_command(_each)


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


def _metric(name: str | None) -> podroute.Metric | None:
    return cast("podroute.Metric | None", name)  # click has checked it


def _print(found: Iterable[podroute.Collection]) -> None:
    console().print(
        table(
            ["COLLECTION", "DIMENSION", "METRIC", "POD"],
            [(each.name, each.dimension, each.metric, each.placement.pod) for each in found],
        )
    )
