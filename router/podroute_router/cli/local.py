"""An embedded cluster: prepared as an administrator prepares servers, and the configuration of its router."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from typing import Any, Final

import psycopg

from podroute_router.cli.failures import CannotStart, first_line
from podroute_router.config import Config, make_config
from podroute_router.embedded import Cluster, EmbeddedError
from podroute_router.postgres.prepare import prepare
from podroute_router.postgres.scram import verifier

ADDRESSES: Final = ("PRIMARY", "CATALOG", "PODS", "ROUTER__LISTEN", "ROUTER__ADMIN_LISTEN", "ROUTER__STATE_DIR")
EVERYTHING: Final = ("PRIMARY", "CATALOG", "PODS", "ROUTER", "LIMITS", "TIMEOUTS")

_SIGNAL_DELIVERY_S = 0.05


class Interrupted(Exception):
    """SIGTERM or Ctrl-C came before the end."""


@asynccontextmanager
async def prepared(cluster: Cluster, asked: asyncio.Event) -> AsyncIterator[None]:
    """Runs the servers, prepared.

    Raises:
        EmbeddedError: they do not start.
        CannotStart: they cannot be prepared.
        Interrupted: they are to be stopped, before they were ready.
    """
    try:
        # In this thread, as the servers end with the one that starts them. The event loop can wait.
        cluster.start()
    except EmbeddedError as error:
        # Ctrl-C in a terminal reaches initdb too, whose failure is then no failure.
        await asyncio.sleep(_SIGNAL_DELIVERY_S)
        if asked.is_set():
            raise Interrupted from error
        raise
    try:
        _prepare(cluster)
        if asked.is_set():
            raise Interrupted
        yield
    finally:
        cluster.stop()


def _prepare(cluster: Cluster) -> None:
    """Makes roles, extensions and schemas on every server; on a prepared one it changes nothing."""
    secret = verifier(cluster.router_role, cluster.router_password_file.read_text(encoding="utf-8").strip())
    for server in cluster.servers.values():
        is_primary = server is cluster.primary
        try:
            prepare(
                server.admin_conninfo(server.database),
                role=cluster.router_role,
                verifier=secret,
                pod=not is_primary,
                primary=is_primary,
                expose_in=("public",),
            )
        except psycopg.Error as error:
            said = error.diag.message_primary or first_line(error)
            raise CannotStart(f"preparing server {server.name} failed: {said}") from error


def router_config(cluster: Cluster, listen: str, *, foreign: Iterable[str], admin_listen: str = "") -> Config:
    """The configuration of the cluster's router; it logs what needs attention.

    Args:
        cluster: a started one.
        listen: address and port.
        foreign: sections and keys of the configuration for which variables of the environment are not heeded, as they
            are meant for another router.
        admin_listen: address and port of the metrics; empty: none.
    """
    for variable in _variables(os.environ, foreign):
        del os.environ[variable]
    values: dict[str, Any] = cluster.config_values()
    values["router"] |= {"listen": listen, "admin_listen": admin_listen, "log_level": "warning"}
    return make_config(values)


def stop_asked() -> asyncio.Event:
    """Set by SIGTERM or Ctrl-C, from now until the event loop ends.

    While the loop is blocked a signal waits, so that starting and stopping servers is never torn apart.
    """
    asked = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, asked.set)
    return asked


def _variables(environment: Mapping[str, str], keys: Iterable[str]) -> list[str]:
    names = [f"PODROUTE_{key}" for key in keys]
    return [
        variable
        for variable in environment
        if any(variable.upper() == name or variable.upper().startswith(f"{name}__") for name in names)
    ]
