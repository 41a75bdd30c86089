"""What went wrong, told to the person at the terminal: a line on stderr and an exit code, and no traceback."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, Any

import click
import podroute

from podroute_router.catalog.saved_map import SavedMapError
from podroute_router.config import ConfigError
from podroute_router.embedded import EmbeddedError
from podroute_router.errors import PodrouteError
from podroute_router.plugins import PluginError


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


@contextmanager
def starting() -> Iterator[None]:
    """What keeps a router or a cluster from starting ends the command with exit code 2."""
    try:
        yield
    except (ConfigError, EmbeddedError, PluginError, SavedMapError) as error:
        raise CannotStart(str(error)) from error
    except PodrouteError as error:
        cause = f": {first_line(error.__cause__)}" if error.__cause__ else ""
        raise CannotStart(f"{error.message} [{error.reason}]{cause}") from error


@contextmanager
def calling() -> Iterator[None]:
    """A call that failed ends the command with exit code 1."""
    try:
        yield
    except podroute.Error as error:
        raise CallFailed(str(error)) from error


def first_line(error: BaseException) -> str:
    """What an exception of another library's says first; further lines may show a statement."""
    return next(iter(str(error).strip().splitlines()), type(error).__name__)
