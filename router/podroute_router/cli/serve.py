"""`podroute serve`: a router, until SIGTERM or Ctrl-C."""

from __future__ import annotations

import asyncio
from pathlib import Path

import click

from podroute_router.cli.failures import starting
from podroute_router.config import load_config
from podroute_router.logs import configure_logs
from podroute_router.server import serve


@click.command("serve")
@click.option(
    "--config",
    "config_file",
    type=click.Path(path_type=Path),
    envvar="PODROUTE_CONFIG",
    show_envvar=True,
    help="The TOML file; without it the configuration is the environment's alone.",
)
def command(config_file: Path | None) -> None:
    """Run a router until SIGTERM or Ctrl-C.

    PODROUTE_<SECTION>__<KEY> in the environment overrides the file; secrets come from there or from files.
    """
    with starting():
        config = load_config(config_file)
        configure_logs(config.router.log_level, config.router.log_format)
        asyncio.run(serve(config))
