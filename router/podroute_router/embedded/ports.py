"""Free TCP ports on the loopback address."""

from __future__ import annotations

import secrets
import socket
from pathlib import Path

LOOPBACK = "127.0.0.1"

_LOWEST = 20_000
_HIGHEST = 65_535
_FEWEST = 1_000


def is_free(port: int) -> bool:
    """True where a server could listen on the port now."""
    with socket.socket() as probe:
        # As PostgreSQL does: connections that linger after a server's end do not matter.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError:
            return False
    return True


def free_port() -> int:
    """A free port, outside of the range that the system gives to outgoing connections where that leaves room.

    Inside of it, a client that tries a dead server again and again ends up connected to itself, and the server can
    not have its port back.
    """
    outgoing = _outgoing_range()
    for ports in (range(_LOWEST, outgoing.start), range(outgoing.stop, _HIGHEST + 1)):
        if len(ports) < _FEWEST:
            continue
        for _ in range(100):
            port = secrets.choice(ports)
            if is_free(port):
                return port
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        return int(probe.getsockname()[1])


def _outgoing_range() -> range:
    try:
        first, last = Path("/proc/sys/net/ipv4/ip_local_port_range").read_text(encoding="ascii").split()
    except (OSError, ValueError):
        return range(49_152, _HIGHEST + 1)
    return range(int(first), int(last) + 1)
