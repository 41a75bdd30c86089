"""`podroute collections adopt`: makes collections of tables that stand on a pod already."""

from __future__ import annotations

from collections.abc import Iterable
from typing import cast

import click
import podroute

from podroute_router.cli.failures import CallFailed
from podroute_router.cli.output import console, table
from podroute_router.cli.router_calls import METRICS, address_option, router_at


@click.command("adopt")
@click.option("--pod", required=True, help="Where the tables are.")
@click.option("--table", "table_name", help="The table to adopt, in the schema vecs.")
@click.option("--all", "is_all", is_flag=True, help="Adopt every table that can be.")
@click.option("--as", "name", help="The collection's name; default: the table's.")
@click.option("--metric", type=METRICS, help="Of queries that name none; default: that of the indexes, or cosine.")
@click.option("--dry-run", is_flag=True, help="Change nothing; say what would be done.")
@address_option
def adopt(
    *,
    pod: str,
    table_name: str | None,
    is_all: bool,
    name: str | None,
    metric: str | None,
    dry_run: bool,
    address: str,
) -> None:
    """Make collections of a pod's tables without copying them. With neither --table nor --all: list the tables."""
    if table_name is not None and is_all:
        raise click.UsageError("give either --table or --all")
    if name is not None and table_name is None:
        raise click.UsageError("--as needs --table")
    chosen = cast("podroute.Metric | None", metric)  # click has checked it
    with router_at(address) as client:
        if table_name is not None:
            adopted = client.adopt_collection(pod, table_name, name=name, metric=chosen, dry_run=dry_run)
            _report(adopted, dry_run=dry_run)
            return
        found = client.list_adoptable_tables(pod)
        if not is_all:
            _print(found)
            return
        left = [each for each in found if not _adopt_one(client, pod, each, chosen, dry_run=dry_run)]
    if left:
        raise CallFailed(f"{len(left)} of {len(found)} tables were left: {', '.join(each.table_name for each in left)}")


def _adopt_one(
    client: podroute.Client,
    pod: str,
    found: podroute.AdoptableTable,
    metric: podroute.Metric | None,
    *,
    dry_run: bool,
) -> bool:
    """Adopts one of many tables; False where something keeps it from being adopted, which is printed."""
    if any(finding.blocking for finding in found.findings):
        click.echo(f"left {found.table_name}")
        _print_findings(found.findings)
        return False
    _report(client.adopt_collection(pod, found.table_name, metric=metric, dry_run=dry_run), dry_run=dry_run)
    return True


def _report(adopted: podroute.AdoptedCollection, *, dry_run: bool) -> None:
    made, place = adopted.collection, adopted.collection.placement
    blocked = any(finding.blocking for finding in adopted.findings)
    done = "cannot adopt" if blocked else "would adopt" if dry_run else "adopted"
    click.echo(
        f"{done} {place.table_schema}.{place.table_name} on pod {place.pod} as {made.name} "
        f"({made.dimension} components, {made.metric}, about {adopted.record_estimate} records)"
    )
    _print_findings(adopted.findings)


def _print_findings(findings: Iterable[podroute.Finding]) -> None:
    for finding in findings:
        click.echo(f"  {'!' if finding.blocking else '-'} {finding.reason}: {finding.message}")


def _print(found: Iterable[podroute.AdoptableTable]) -> None:
    console().print(
        table(
            ["TABLE", "DIMENSION", "RECORDS", "FINDINGS"],
            [
                (
                    each.table_name,
                    each.dimension,
                    each.record_estimate,
                    ", ".join(f"{'!' if finding.blocking else ''}{finding.reason}" for finding in each.findings),
                )
                for each in found
            ],
        )
    )
