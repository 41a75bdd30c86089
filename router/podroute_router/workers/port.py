"""Reserves a port that the workers of one supervisor share, and nobody else."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from podroute_router.config import ConfigError


@contextmanager
def reserved(listen: str) -> Iterator[str]:
    """Holds the port without listening on it, so that workers may bind it; yields `address:port` with its number.

    Args:
        listen: `address:port`; port 0 takes a free one.

    Raises:
        ConfigError: the port is taken, by whatever program, or there is no such address.
    """
    host, separator, digits = listen.rpartition(":")
    if not separator or not digits.isdecimal() or host.startswith("unix"):
        raise ConfigError(f"router.listen: several workers need an address and a port, not {listen!r}")
    port = int(digits)
    with ExitStack() as held:
        try:
            # A name may have several addresses; all of them get the port of the first.
            for family, address in _addresses(host.strip("[]"), port):
                holder = held.enter_context(socket.socket(family, socket.SOCK_STREAM))
                _take(holder, (address, port))
                port = holder.getsockname()[1]
        except (OSError, OverflowError) as error:
            raise ConfigError(f"router.listen: cannot listen on {listen}; is the port taken? ({error})") from error
        yield f"{host}:{port}"


def _addresses(host: str, port: int) -> list[tuple[socket.AddressFamily, str]]:
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    return list(dict.fromkeys((family, str(address[0])) for family, _, _, _, address in found))


def _take(holder: socket.socket, address: tuple[str, int]) -> None:
    """Binds the holder where nobody else has the port.

    With SO_REUSEPORT alone it would bind beside another supervisor's workers. So a gate goes first that shares with
    nobody: to listen on a port can succeed once only. Only then it admits the holder. It accepts nobody, and closes at
    once. From then on the holder, by then without SO_REUSEADDR, keeps out all sockets but those with SO_REUSEPORT: its
    workers'. Until then SO_REUSEADDR lets both pass by connections that linger after a server's end.
    """
    with socket.socket(holder.family, socket.SOCK_STREAM) as gate:
        gate.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        gate.bind(address)
        gate.listen(1)
        gate.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        holder.bind(gate.getsockname())
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 0)
