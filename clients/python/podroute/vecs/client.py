"""The client: collections by name, over a podroute.Client."""

from __future__ import annotations

import functools
import threading
import warnings
from collections.abc import Callable
from types import TracebackType
from typing import Concatenate, ParamSpec, Self, TypeVar

import grpc

import podroute
from podroute.values import Path
from podroute.vecs import exc, naming
from podroute.vecs.adapter import Adapter
from podroute.vecs.collection import Collection
from podroute.vecs.translation import translated

TIMEOUT_S = 60.0
"""Deadline of a call. vecs has none; the router's own bound on a statement is as long, unless configured."""
CONNECT_TIMEOUT_S = 10.0
"""How long a new client waits for the router."""

P = ParamSpec("P")
T = TypeVar("T")


def _deprecated(method: Callable[Concatenate[Client, P], T]) -> Callable[Concatenate[Client, P], T]:
    @functools.wraps(method)
    def warned(self: Client, /, *args: P.args, **kwargs: P.kwargs) -> T:
        warnings.warn(
            f"Call to deprecated method {method.__name__}. (use Client.get_or_create_collection)",
            DeprecationWarning,
            stacklevel=2,
        )
        return method(self, *args, **kwargs)

    return warned


class Client:
    """Makes, finds, lists and deletes collections. Threads may share it, processes may not.

    Args:
        connection_string: `host:port` of the router, or any gRPC target, such as `dns:///routers:50051`.
        timeout_s: deadline of each call, in seconds; building an index has an hour.
        path: access path of every call; default: the router chooses.
        credentials: for TLS; default: none.

    Raises:
        ArgError: the address is one of a database.
        podroute.DeadlineExceeded: nobody serves there.
    """

    def __init__(
        self,
        connection_string: str,
        *,
        timeout_s: float = TIMEOUT_S,
        path: Path = "auto",
        credentials: grpc.ChannelCredentials | None = None,
    ) -> None:
        if connection_string.startswith(("postgres:", "postgresql:", "postgresql+")):
            raise exc.ArgError("podroute.vecs takes the address of a router, host:port, and not that of a database")
        self._address = connection_string
        self._timeout_s = timeout_s
        self._path: Path = path
        self._credentials = credentials
        self._lock = threading.Lock()
        self._caller: podroute.Client | None = None
        try:
            self.router.wait_until_serving(min(CONNECT_TIMEOUT_S, timeout_s))
        except BaseException:
            self.disconnect()
            raise

    @property
    def router(self) -> podroute.Client:
        """The client underneath, for what vecs has no words for; after `disconnect` a new one."""
        with self._lock:
            if self._caller is None:
                self._caller = podroute.Client(
                    self._address, timeout_s=self._timeout_s, path=self._path, credentials=self._credentials
                )
            return self._caller

    def get_or_create_collection(
        self, name: str, *, dimension: int | None = None, adapter: Adapter | None = None
    ) -> Collection:
        """Finds a collection, or makes it where there is none.

        Args:
            name: the collection's; see `podroute.vecs.naming`. A new one is 1 to 48 of `[a-z0-9_]`, starting with a
                letter.
            dimension: components of each vector; default: the adapter's.
            adapter: makes vectors of what is written and asked for; default: they are vectors.

        Raises:
            ArgError: no dimension is given, or no collection can be called so.
            MismatchedDimension: dimension, adapter and collection do not agree.
        """
        exported = adapter.exported_dimension if adapter else None
        return Collection(name, dimension or exported, self, adapter)._create_if_not_exists()

    @_deprecated
    def create_collection(self, name: str, dimension: int) -> Collection:
        """Makes a collection; raises CollectionAlreadyExists where there is one."""
        return Collection(name, dimension, self)._create()

    @_deprecated
    def get_collection(self, name: str) -> Collection:
        """Finds a collection; raises CollectionNotFound where there is none."""
        with translated():
            found = naming.find(self.router, name)
        if found is None:
            raise exc.CollectionNotFound("No collection found with requested name")
        return Collection(name, found.dimension, self)

    def list_collections(self) -> list[Collection]:
        """All collections of all pods, in code-point order of podroute's names."""
        found = naming.named(self.router.list_collections())
        return [Collection(name, each.dimension, self) for name, each in found]

    def delete_collection(self, name: str) -> None:
        """Deletes a collection with all its records; one that is not there is no error."""
        found = naming.find(self.router, name)
        if found is not None:
            try:
                self.router.delete_collection(found.name)
            except podroute.NotFound:  # meanwhile somebody else did
                return

    def disconnect(self) -> None:
        """Closes the connection. As with vecs, the next call opens another."""
        with self._lock:
            caller, self._caller = self._caller, None
        if caller is not None:
            caller.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc_val: BaseException | None, exc_tb: TracebackType | None
    ) -> None:
        self.disconnect()


def create_client(
    connection_string: str,
    *,
    timeout_s: float = TIMEOUT_S,
    path: Path = "auto",
    credentials: grpc.ChannelCredentials | None = None,
) -> Client:
    """A client of a router; see `Client`."""
    return Client(connection_string, timeout_s=timeout_s, path=path, credentials=credentials)
