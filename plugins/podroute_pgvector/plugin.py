"""Registers the DIRECT backend `pgvector`."""

from __future__ import annotations

from collections.abc import Iterable

from podroute_router.backend import API_VERSION, BackendContext, BackendFactory
from podroute_router.domain import AccessPath
from podroute_router.hookspecs import hookimpl

from podroute_pgvector.backend import PgvectorBackend


class _Factory:
    name = "pgvector"
    api_version = API_VERSION
    access_path = AccessPath.DIRECT

    def open(self, context: BackendContext) -> PgvectorBackend:
        return PgvectorBackend(context.config, context.measures)


@hookimpl
def podroute_backends() -> Iterable[BackendFactory]:
    """The DIRECT backend."""
    return [_Factory()]
