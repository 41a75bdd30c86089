"""What keeps a router or a cluster from starting, told in one line: whatever part of podroute it comes from."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from podroute_router.catalog.saved_map import SavedMapError
from podroute_router.cli.failures import CannotStart, first_line
from podroute_router.config import ConfigError
from podroute_router.embedded import EmbeddedError
from podroute_router.errors import PodrouteError
from podroute_router.plugins import PluginError


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
