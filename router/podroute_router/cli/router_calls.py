"""What commands that call a router share: where it is, and a client of it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import click
import podroute

from podroute_router.cli.failures import CallFailed
from podroute_router.config import Router

DEFAULT_ADDRESS = Router().listen

address_option = click.option(
    "--address",
    envvar="PODROUTE_ADDRESS",
    default=DEFAULT_ADDRESS,
    show_default=True,
    show_envvar=True,
    help="The router's host:port, or another gRPC target.",
)

METRICS = click.Choice(["cosine", "l2", "inner_product", "l1"])


@contextmanager
def calling() -> Iterator[None]:
    """A call that failed ends the command with exit code 1."""
    try:
        yield
    except podroute.Error as error:
        raise CallFailed(str(error)) from error


@contextmanager
def router_at(address: str) -> Iterator[podroute.Client]:
    """A client; calls that fail end the command."""
    with calling(), podroute.Client(address) as client:
        try:
            yield client
        except podroute.Unavailable as error:
            if error.reason:  # the router's own word
                raise
            raise CallFailed(f"no router answers at {address}: {error}") from error
