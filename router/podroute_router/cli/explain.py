"""`podroute explain`: how the router runs a call."""

from __future__ import annotations

import json
from typing import Any, cast

import click
import podroute

from podroute_router.cli.output import json_option, print_json
from podroute_router.cli.router_calls import METRICS, address_option, router_at


class _Json(click.ParamType[Any]):
    """JSON text of one type."""

    def __init__(self, kind: type, name: str) -> None:
        self.kind = kind
        self.name = name

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """The value that the text stands for."""
        try:
            found = json.loads(value)
        except ValueError:
            found = None
        if not isinstance(found, self.kind):
            self.fail(f"{value!r} is no {self.name}", param, ctx)
        return found


@click.command("explain")
@click.argument("collection")
@click.option("--vector", type=_Json(list, "JSON array of numbers"), help="Explain a query, such as --vector '[1, 2]'.")
@click.option("--id", "record_id", help="Explain a query for the neighbours of this record.")
@click.option("--count", is_flag=True, help="Explain a count.")
@click.option("--delete", is_flag=True, help="Explain a deletion by --filter; nothing is deleted.")
@click.option("--filter", "condition", type=_Json(dict, "JSON object"), help="""Such as '{"year": {"$gte": 2012}}'.""")
@click.option("--limit", type=int, default=10, show_default=True, help="Of the query: how many matches.")
@click.option("--metric", type=METRICS, help="Of the query; default: the collection's.")
@click.option("--exact", is_flag=True, help="Of the query: read every record instead of an index.")
@click.option("--ef-search", type=int, help="Of the query: size of the HNSW candidate list, 1 to 1000.")
@click.option(
    "--path",
    type=click.Choice(["auto", "direct", "fdw"]),
    default="auto",
    show_default=True,
    help="The way to explain; auto: the one that the call would go.",
)
@click.option("--analyze", is_flag=True, help="Run the query or count, to tell how long each step takes.")
@address_option
@json_option
def command(
    *,
    collection: str,
    vector: list[float] | None,
    record_id: str | None,
    count: bool,
    delete: bool,
    condition: dict[str, Any] | None,
    limit: int,
    metric: str | None,
    exact: bool,
    ef_search: int | None,
    path: str,
    analyze: bool,
    address: str,
    as_json: bool,
) -> None:
    """Show the SQL and the plan of a call.

    It says, too, what of the call is not pushed down to the pod. Nothing is written.
    """
    if sum((vector is not None, record_id is not None, count, delete)) != 1:
        raise click.UsageError("say what to explain: --vector, --id, --count or --delete")
    way = cast("podroute.Path", path)  # click has checked it
    asked: podroute.Query | podroute.Count | podroute.Delete
    if count:
        asked = podroute.Count(collection, filter=condition, path=way)
    elif delete:
        asked = podroute.Delete(collection, filter=condition, path=way)
    else:
        asked = podroute.Query(
            collection,
            vector,
            id=record_id,
            filter=condition,
            limit=limit,
            metric=cast("podroute.Metric | None", metric),
            exact=exact,
            ef_search=ef_search,
            path=way,
        )
    with router_at(address) as client:
        found = client.explain(asked, analyze=analyze)
    if as_json:
        print_json(found)
    else:
        click.echo("\n".join(_lines(found)))


def _lines(found: podroute.Explanation) -> list[str]:
    lines = [f"path: {found.route.path}, pod: {', '.join(found.route.pods)}"]
    lines += [f"setting: {name} = {value}" for name, value in found.settings.items()]
    if found.sql:
        lines.append(f"sql: {found.sql}")
    lines += [f"remote sql: {statement}" for statement in found.remote_sql]
    lines += ["", found.plan, ""]
    for finding in found.findings:
        lines.append(f"{'REFUSED' if finding.blocking else 'note'}: {finding.message} [{finding.reason}]")
    if found.remote_sql and not found.findings:
        lines.append("all of it is pushed down to the pod")
    return lines
