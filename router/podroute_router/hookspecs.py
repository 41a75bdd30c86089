"""The hooks that a plugin may implement. They run once, at start, and fill a registry."""

from __future__ import annotations

from collections.abc import Iterable

import pluggy

from podroute_router.backend import BackendFactory

PROJECT = "podroute"
"""Name of the pluggy project and of the entry-point group."""

hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)


@hookspec
def podroute_backends() -> Iterable[BackendFactory]:  # type: ignore[empty-body]
    """The backends that this plugin offers."""
