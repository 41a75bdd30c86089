"""What went wrong, told to the person at the terminal: a line on stderr and an exit code, and no traceback."""

from __future__ import annotations

from typing import IO, Any

import click


class Failure(click.ClickException):
    """Ends the command with a message."""

    def show(self, file: IO[Any] | None = None) -> None:
        """Writes the message."""
        click.echo(f"podroute: {self.message}", file=file, err=file is None)


class CannotStart(Failure):
    """There is no router or cluster to speak of."""

    exit_code = 2


class CallFailed(Failure):
    """What was asked for did not happen."""

    exit_code = 1


def first_line(error: BaseException) -> str:
    """What an exception of another library's says first; further lines may show a statement."""
    return next(iter(str(error).strip().splitlines()), type(error).__name__)
