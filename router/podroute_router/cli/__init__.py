"""The command `podroute`."""

from __future__ import annotations

import os
import sys
from importlib import import_module

_ROUTER_EXTRA = frozenset(
    {
        *("click", "grpc_health", "grpc_reflection", "numpy", "pgvector", "pluggy", "psycopg"),
        *("pydantic", "pydantic_settings", "rich", "structlog"),
    }
)
"""What the extra `router` brings; the base install is the client alone, and has this command all the same."""


def main() -> None:
    """Runs the command line, and says what to install where the router is not."""
    # gRPC's core would write to stderr past our logs and messages; what it says there reaches us as errors too.
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    try:
        import_module("podroute_router.cli.root").root()
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in _ROUTER_EXTRA:
            raise
        sys.exit(f"podroute: {error.name} is missing; the command line needs: pip install 'podroute[router]'")
