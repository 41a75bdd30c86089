"""`podroute collections expose`, `unexpose` and `exposures`."""

from __future__ import annotations

from collections.abc import Iterable
from typing import cast, get_args

import click
import podroute

from podroute_router.cli.output import console, json_option, print_json, table
from podroute_router.cli.router_calls import address_option, router_at

_TYPES: tuple[str, ...] = get_args(podroute.ColumnType)

_schema_option = click.option("--schema", help="The view's schema; default: public.")
_view_option = click.option("--view", help="The view's name; default: NAME.")


@click.command("expose")
@click.argument("name")
@_schema_option
@_view_option
@click.option(
    "--column",
    "columns",
    metavar="COLUMN[:TYPE[:PATH]]",
    multiple=True,
    help=f"A column of the metadata; TYPE is {', '.join(_TYPES)}, default: text; PATH is keys with dots between them, "
    "default: the column's name. Can be repeated.",
)
@click.option("--index", "indexed", metavar="COLUMN", multiple=True, help="Index the column; can be repeated.")
@click.option("--grant", "roles", metavar="ROLE", multiple=True, help="Who may read the view; can be repeated.")
@address_option
def expose(
    *,
    name: str,
    schema: str | None,
    view: str | None,
    columns: tuple[str, ...],
    indexed: tuple[str, ...],
    roles: tuple[str, ...],
    address: str,
) -> None:
    """Make a view of the collection NAME for SQL, on its pod and on the primary, or change it to be so."""
    wanted = [_column(text, indexed) for text in columns]
    if unknown := sorted(set(indexed) - {column.name for column in wanted}):
        raise click.UsageError(f"--index: there is no --column {', '.join(unknown)}")
    with router_at(address) as client:
        made = client.expose_collection(name, schema=schema, view=view, columns=wanted, roles=roles)
    click.echo(f"exposed {name} as {_name(made)}")


@click.command("unexpose")
@click.argument("name")
@_schema_option
@_view_option
@address_option
def unexpose(name: str, schema: str | None, view: str | None, address: str) -> None:
    """Drop a view of the collection NAME; its records stay."""
    with router_at(address) as client:
        client.unexpose_collection(name, schema=schema, view=view)
    click.echo(f"dropped {schema or 'public'}.{view or name}")


@click.command("exposures")
@click.argument("name", required=False)
@address_option
@json_option
def exposures(name: str | None, address: str, as_json: bool) -> None:
    """Print the views of the collection NAME, or of all."""
    with router_at(address) as client:
        found = client.list_exposures(name)
    if as_json:
        print_json(found)
        return
    console().print(
        table(
            ["VIEW", "COLLECTION", "COLUMNS", "ROLES"],
            [(_name(each), each.collection, _shown(each.columns), ", ".join(each.roles)) for each in found],
        )
    )


def _column(text: str, indexed: Iterable[str]) -> podroute.ExposedColumn:
    name, _, rest = text.partition(":")
    kind, _, path = rest.partition(":")
    if kind and kind not in _TYPES:
        raise click.UsageError(f"--column {text}: {kind!r} is none of {', '.join(_TYPES)}")
    return podroute.ExposedColumn(
        name=name,
        type=cast("podroute.ColumnType", kind or "text"),
        path=tuple(path.split(".")) if path else (),
        indexed=name in indexed,
    )


def _name(exposure: podroute.Exposure) -> str:
    return f"{exposure.view_schema}.{exposure.view_name}"


def _shown(columns: Iterable[podroute.ExposedColumn]) -> str:
    return ", ".join(f"{each.name} {each.type}{' (indexed)' if each.indexed else ''}" for each in columns)
