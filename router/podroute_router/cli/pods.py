"""`podroute pods`: shows the pods, and prepares databases as an administrator."""

from __future__ import annotations

import os
from pathlib import Path

import click
import psycopg
from click.core import ParameterSource
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from podroute_router.cli.failures import CallFailed, first_line
from podroute_router.cli.output import console, json_option, print_json, table
from podroute_router.cli.router_calls import address_option, router_at
from podroute_router.postgres.prepare import preparation_script, prepare
from podroute_router.postgres.scram import verifier

_CONNECT_TIMEOUT_S = 10
_PASSWORD_VARIABLE = "PODROUTE_ROUTER_PASSWORD"  # noqa: S105 - its name


@click.group("pods")
def command() -> None:
    """Show the pods, and prepare databases."""


@command.command("list")
@address_option
@json_option
def list_(address: str, as_json: bool) -> None:
    """Print the pods and how they are."""
    with router_at(address) as client:
        found = client.pods()
    if as_json:
        print_json(found)
        return
    console().print(
        table(
            ["POD", "STATE", "COLLECTIONS", "ON PRIMARY"],
            [(pod.name, pod.state, pod.collection_count, "yes" if pod.on_primary else "no") for pod in found],
        )
    )


@command.command("prepare")
@click.option("--pod", is_flag=True, help="The database is to store collections.")
@click.option("--primary", is_flag=True, help="The database is to be the primary: catalog and FDW path.")
@click.option(
    "--dsn",
    envvar="PODROUTE_ADMIN_DSN",
    show_envvar=True,
    help="The database, as an administrator reaches it; on the command line without a password.",
)
@click.option("--dsn-file", type=click.Path(path_type=Path), help="File that holds the DSN.")
@click.option("--role", default="podroute", show_default=True, help="The router's login.")
@click.option(
    "--password-file",
    type=click.Path(path_type=Path),
    help=f"File that holds the router's password; default: {_PASSWORD_VARIABLE} of the environment.",
)
@click.option(
    "--expose-in",
    metavar="SCHEMA",
    multiple=True,
    help="Schema in which podroute may make views of collections; can be repeated.",
)
@click.option("--adopt", is_flag=True, help="Let podroute read and write the tables that the schema vecs has already.")
@click.option("--dry-run", is_flag=True, help="Print the SQL, without the password's verifier, and change nothing.")
@click.pass_context
def prepare_(
    ctx: click.Context,
    *,
    pod: bool,
    primary: bool,
    dsn: str | None,
    dsn_file: Path | None,
    role: str,
    password_file: Path | None,
    expose_in: tuple[str, ...],
    adopt: bool,
    dry_run: bool,
) -> None:
    """Make roles, extensions and schemas in a database, so that the router works there as an ordinary role.

    Run it once for each pod and for the primary, with the same role and password everywhere: that lets the primary
    reach the pods as the router without storing a password. Running it again changes nothing but the password.
    """
    if not (pod or primary):
        raise click.UsageError("say what the database is to be: --pod, --primary or both")
    if adopt and not pod:
        raise click.UsageError("--adopt goes with --pod")
    if dry_run:
        click.echo(preparation_script(role=role, pod=pod, primary=primary, adopt=adopt, expose_in=expose_in))
        return
    is_named = ctx.get_parameter_source("dsn") is ParameterSource.COMMANDLINE
    conninfo = _admin_conninfo(dsn, dsn_file, is_named=is_named)
    try:
        secret = verifier(role, _router_password(password_file))
    except ValueError as error:
        raise click.UsageError(str(error)) from error
    reached = _address(conninfo)
    try:
        prepare(conninfo, role=role, verifier=secret, pod=pod, primary=primary, adopt=adopt, expose_in=expose_in)
    except psycopg.Error as error:
        said = error.diag.message_primary or first_line(error)
        raise CallFailed(f"{reached} was not changed: {said}") from error
    purpose = " and ".join(word for word, wanted in (("pod", pod), ("primary", primary)) if wanted)
    click.echo(f"prepared {reached} as {purpose} for role {role}")


def _admin_conninfo(dsn: str | None, dsn_file: Path | None, *, is_named: bool) -> str:
    """The administrator's connection string; `is_named` where it stands on the command line, for all to read."""
    if dsn_file is not None:
        if is_named:
            raise click.UsageError("give either --dsn or --dsn-file")
        dsn = _content(dsn_file, "--dsn-file")
    if not dsn:
        raise click.UsageError("give --dsn-file, PODROUTE_ADMIN_DSN or --dsn")
    try:
        parts = conninfo_to_dict(dsn)
    except psycopg.ProgrammingError as error:  # its text may quote a password
        raise click.UsageError("the DSN is no libpq connection string") from error
    if is_named and parts.get("password"):
        raise click.UsageError(
            "--dsn: holds a password, which every user of this machine can read there; "
            "use --dsn-file or PODROUTE_ADMIN_DSN"
        )
    return make_conninfo(dsn) if "connect_timeout" in parts else make_conninfo(dsn, connect_timeout=_CONNECT_TIMEOUT_S)


def _router_password(password_file: Path | None) -> str:
    if password_file is not None:
        return _content(password_file, "--password-file")
    password = os.environ.get(_PASSWORD_VARIABLE)
    if not password:
        raise click.UsageError(f"give --password-file or {_PASSWORD_VARIABLE}")
    return password


def _content(path: Path, option: str) -> str:
    try:
        return path.read_text(encoding="utf-8").rstrip("\r\n")
    except OSError as error:
        raise click.UsageError(f"{option} {path}: {error.strerror}") from error


def _address(conninfo: str) -> str:
    """Host, port and database for messages; what the string leaves out is libpq's to choose."""
    parts = conninfo_to_dict(conninfo)
    host, port = parts.get("host") or "the local server", parts.get("port")
    return f"{host}{f':{port}' if port else ''}/{parts.get('dbname') or parts.get('user') or ''}"
