"""`podroute up`: an embedded primary, two pods and a router, until Ctrl-C or SIGTERM."""

from __future__ import annotations

import asyncio
import shlex
from contextlib import suppress
from pathlib import Path

import click
import uvloop

from podroute_router.cli.failures import CannotStart
from podroute_router.cli.local import ADDRESSES, Interrupted, prepared, router_config, stop_asked
from podroute_router.cli.router_calls import DEFAULT_ADDRESS
from podroute_router.cli.starting import starting
from podroute_router.embedded import Cluster, Server
from podroute_router.embedded.ports import free_port, is_free
from podroute_router.logs import configure_logs
from podroute_router.server import Router

_HOST, _, _PORT = DEFAULT_ADDRESS.rpartition(":")
_ADMIN_PORT = 9464


@click.command("up")
@click.option(
    "--state-dir",
    type=click.Path(path_type=Path),
    help="Keeps data, logs and passwords; default: podroute in the user's state folder.",
)
@click.option("--ephemeral", is_flag=True, help="Keep nothing.")
@click.option(
    "--pg-bin-dir", type=click.Path(path_type=Path), help="Programs of another PostgreSQL, 15 or later, with pgvector."
)
@click.option("--port", type=click.IntRange(1, 65535), help=f"The router's port; default: {_PORT}, or a free one.")
def command(state_dir: Path | None, ephemeral: bool, pg_bin_dir: Path | None, port: int | None) -> None:
    """Run a primary, two pods and a router until Ctrl-C.

    Real PostgreSQL servers, on 127.0.0.1 alone. Started again, they have their data.
    """
    if port is not None and not is_free(port):
        raise CannotStart(f"--port: {_HOST}:{port} is taken")
    with starting():
        cluster = Cluster(state_dir, ephemeral=ephemeral, bin_dir=pg_bin_dir, fsync=not ephemeral)
        uvloop.run(_run(cluster, port))


async def _run(cluster: Cluster, port: int | None) -> None:
    asked = stop_asked()
    click.echo("starting a primary and two pods ...")
    with suppress(Interrupted):
        async with prepared(cluster, asked):
            await _serve(cluster, port, asked)
    click.echo("stopped; nothing is kept" if cluster.ephemeral else "stopped")


async def _serve(cluster: Cluster, port: int | None, asked: asyncio.Event) -> None:
    chosen = port or (int(_PORT) if is_free(int(_PORT)) else free_port())
    admin = f"{_HOST}:{_ADMIN_PORT if is_free(_ADMIN_PORT) else 0}"
    config = router_config(cluster, f"{_HOST}:{chosen}", foreign=ADDRESSES, admin_listen=admin)
    configure_logs(config.router.log_level, config.router.log_format)
    router = await Router.start(config)
    try:
        click.echo(_greeting(cluster, router.address, router.admin.address))
        await asked.wait()
        click.echo("stopping ...")
    finally:
        await router.stop()


def _greeting(cluster: Cluster, address: str, admin: str) -> str:
    """Where everything is, and how to call it."""
    kept = "removed at the end" if cluster.ephemeral else "kept; started again, podroute up finds it"
    servers = "\n".join(f"  {_place(name, server)}" for name, server in cluster.servers.items())
    password = shlex.quote(str(cluster.router_password_file))
    primary = cluster.primary
    elsewhere = "" if address == DEFAULT_ADDRESS else f" --address {address}"
    return f"""\
podroute serves on {address}

{servers}
  metrics  http://{admin}/metrics
  data     {cluster.state_folder} ({kept})

From Python:
  import podroute
  client = podroute.Client("{address}")
  client.create_collection("docs", dimension=3)
  client.upsert("docs", [("a", [1, 2, 3], {{"year": 2012}}), ("b", [3, 2, 1], {{}})])
  print(client.query("docs", [1, 2, 3], limit=5))

From a shell:
  podroute collections list{elsewhere}
  grpcurl -plaintext {address} podroute.v1.ShardMapService/ListPods
  PGPASSWORD="$(cat {password})" psql -h {_HOST} -p {primary.port} -U {cluster.router_role} {primary.database}

Ctrl-C stops all of it.
"""


def _place(name: str, server: Server) -> str:
    return f"{name:<8} {_HOST}:{server.port}, database {server.database}"
