"""Registers the FDW backend `fdw`."""

from __future__ import annotations

from collections.abc import Iterable

from podroute_router.backend import API_VERSION, BackendContext, BackendFactory
from podroute_router.domain import AccessPath
from podroute_router.hookspecs import hookimpl

from podroute_fdw.backend import FdwBackend


class _Factory:
    name = "fdw"
    api_version = API_VERSION
    access_path = AccessPath.FDW

    def open(self, context: BackendContext) -> FdwBackend | None:
        """None where there is no primary to go through."""
        primary = context.config.primary
        return None if primary is None else FdwBackend(context.config, primary, context.measures)


@hookimpl
def podroute_backends() -> Iterable[BackendFactory]:
    """The FDW backend."""
    return [_Factory()]
