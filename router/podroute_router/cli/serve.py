"""`podroute serve`: a router, until SIGTERM or Ctrl-C."""

from __future__ import annotations

import logging
import resource
import sys
from pathlib import Path

import click
import uvloop

from podroute_router.cli.failures import CannotStart
from podroute_router.cli.starting import starting
from podroute_router.config import Config, load_config
from podroute_router.logs import configure_logs
from podroute_router.server import serve
from podroute_router.workers import WorkerFailed
from podroute_router.workers.supervisor import supervise

DESCRIPTORS = 65_536
"""As many are wanted at most; callers may have half of them."""

_log = logging.getLogger(__name__)


@click.command("serve")
@click.option(
    "--config",
    "config_file",
    type=click.Path(path_type=Path),
    envvar="PODROUTE_CONFIG",
    show_envvar=True,
    help="The TOML file; without it the configuration is the environment's alone.",
)
@click.option(
    "--workers",
    type=click.IntRange(min=1),
    help="Processes that share the port and the limits per pod; default: router.workers of the configuration.",
)
def command(config_file: Path | None, workers: int | None) -> None:
    """Run a router until SIGTERM or Ctrl-C.

    PODROUTE_<SECTION>__<KEY> in the environment overrides the file; secrets come from there or from files.
    """
    with starting():
        config = _with_workers(load_config(config_file), workers)
        configure_logs(config.router.log_level, config.router.log_format)
        raise_descriptor_limit()
        try:
            uvloop.run(supervise(config) if _has_workers(config) else serve(config))
        except WorkerFailed as error:
            raise CannotStart(str(error)) from error


def raise_descriptor_limit() -> None:
    """Lets the process, and its workers, open as many as it may; a soft limit of 1024 is for those with select(2)."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = DESCRIPTORS if hard == resource.RLIM_INFINITY else min(hard, DESCRIPTORS)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def _with_workers(config: Config, workers: int | None) -> Config:
    """The command line wins over the configuration."""
    if workers is None:
        return config
    return config.model_copy(update={"router": config.router.model_copy(update={"workers": workers})})


def _has_workers(config: Config) -> bool:
    if config.router.workers > 1 and sys.platform != "linux":
        _log.warning("router.workers: several workers share a port on Linux only; this is one router")
        return False
    return config.router.workers > 1
