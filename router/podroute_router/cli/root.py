"""The command `podroute` and its subcommands, each in a module that is loaded when it is asked for."""

from __future__ import annotations

from importlib import import_module

import click

from podroute_router import __version__

_COMMANDS = ("up", "demo", "serve", "collections", "pods", "map")
"""Names of modules beside this one; each has an attribute `command`."""


class _Commands(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        if cmd_name not in _COMMANDS:
            return None
        command: click.Command = import_module(f"podroute_router.cli.{cmd_name}").command
        return command


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="podroute")
def root() -> None:
    """Routes calls on vector collections to PostgreSQL pods, directly or through postgres_fdw."""
