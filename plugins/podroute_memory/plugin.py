"""What the entry point names: offers the backend to the router."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from podroute_router.backend import BackendContext, BackendFactory
from podroute_router.domain import AccessPath
from podroute_router.hookspecs import hookimpl

from podroute_memory.backend import MemoryBackend


@dataclass(frozen=True, slots=True)
class MemoryBackendFactory:
    """Opens a backend that holds collections in the router's own memory."""

    name: str = "memory"
    api_version: int = 2  # the version this was written for; the router's own constant would always agree
    access_path: AccessPath = AccessPath.DIRECT

    def open(self, context: BackendContext) -> MemoryBackend:  # noqa: ARG002  (it needs no address)
        """A backend without collections."""
        return MemoryBackend()


@hookimpl
def podroute_backends() -> Iterable[BackendFactory]:
    """The one backend."""
    return [MemoryBackendFactory()]
