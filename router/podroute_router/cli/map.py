"""`podroute map`: what the router routes by."""

from __future__ import annotations

import click

from podroute_router.cli.output import console, json_option, print_json, table
from podroute_router.cli.router_calls import address_option, router_at


@click.group("map")
def command() -> None:
    """Show the shard map."""


@command.command("show")
@address_option
@json_option
def show(address: str, as_json: bool) -> None:
    """Print revision, pods and placements of the map that the router holds."""
    with router_at(address) as client:
        shard_map = client.shard_map()
    if as_json:
        print_json(shard_map)
        return
    out = console()
    out.print(f"revision {shard_map.revision}; pods: {', '.join(shard_map.pods) or 'none'}")
    out.print(
        table(
            ["COLLECTION", "POD", "TABLE", "GENERATION", "DIMENSION", "METRIC"],
            [
                (
                    each.name,
                    each.placement.pod,
                    f"{each.placement.table_schema}.{each.placement.table_name}",
                    each.placement.generation,
                    each.dimension,
                    each.metric,
                )
                for each in shard_map.collections
            ],
        )
    )
