"""The command `podroute` and its subcommands, each in a module that is loaded when it is asked for, not to list it."""

from __future__ import annotations

from importlib import import_module

import click

from podroute_router import __version__

COMMANDS = {
    "up": "Run a primary, two pods and a router until Ctrl-C.",
    "demo": "Search handwritten digits along both paths.",
    "serve": "Run a router until SIGTERM or Ctrl-C.",
    "collections": "Make, adopt, show, index, expose and delete collections.",
    "pods": "Show the pods, and prepare databases.",
    "map": "Show the shard map.",
    "explain": "Show the SQL and the plan of a call.",
    "doctor": "Compare the databases with the shard map, and change nothing.",
    "reconcile": "Make the databases agree with the shard map.",
}
"""Names of modules beside this one, each with an attribute `command`, and what their commands say of themselves."""


class _Commands(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = import_module(f"podroute_router.cli.{cmd_name}").command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="podroute")
def root() -> None:
    """Routes calls on vector collections to PostgreSQL pods, directly or through postgres_fdw."""
