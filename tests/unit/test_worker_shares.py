"""Workers share the limits of one router, and a port that they have to themselves."""

from __future__ import annotations

import socket
import sys

import pytest
from podroute_router.config import Config, ConfigError, make_config
from podroute_router.workers.budget import shares
from podroute_router.workers.port import reserved

linux_only = pytest.mark.skipif(sys.platform != "linux", reason="SO_REUSEPORT means this on Linux only")


def config(workers: int, *, primary: bool = True, **limits: int) -> Config:
    database = {"dsn": "host=x"}
    return make_config(
        {"router": {"workers": workers}, "limits": limits, "primary" if primary else "catalog": database}
    )


def test_the_shares_add_up_to_the_limits() -> None:
    parts = shares(config(3, connections_per_pod=8, fdw_connections_per_pod=4, calls_per_pod=256))
    assert [part.limits.connections_per_pod for part in parts] == [3, 3, 2]
    assert [part.limits.fdw_connections_per_pod for part in parts] == [2, 1, 1]
    assert [part.limits.calls_per_pod for part in parts] == [86, 85, 85]


def test_what_bounds_one_call_is_not_split() -> None:
    (first, _) = shares(config(2, max_limit=500, max_records=7))
    assert (first.limits.max_limit, first.limits.max_records) == (500, 7)


def test_more_workers_than_connections_are_refused_by_name() -> None:
    with pytest.raises(ConfigError, match=r"^router\.workers: 5 workers .* limits\.fdw_connections_per_pod is 4$"):
        shares(config(5))
    with pytest.raises(
        ConfigError, match=r"limits\.connections_per_pod is 8 and limits\.fdw_connections_per_pod is 4$"
    ):
        shares(config(9))


def test_without_a_primary_connections_to_it_limit_nothing() -> None:
    assert len(shares(config(5, primary=False))) == 5


@linux_only
@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "0.0.0.0"])
def test_a_reserved_port_is_refused_to_others_and_open_to_those_who_share(host: str) -> None:
    with reserved(f"{host}:0") as listen:
        port = int(listen.rpartition(":")[2])
        for other in ("127.0.0.1", "0.0.0.0"):
            with pytest.raises(ConfigError, match="is the port taken"), reserved(f"{other}:{port}"):
                pass
        with socket.socket() as worker:
            worker.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            worker.bind(("127.0.0.1", port))
            worker.listen()
            with pytest.raises(ConfigError, match="is the port taken"), reserved(f"127.0.0.1:{port}"):
                pass


@linux_only
def test_a_port_whose_old_connections_linger_can_be_reserved() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = server.getsockname()
        with socket.create_connection(address) as caller:
            accepted, _ = server.accept()
            accepted.close()  # the side that closes first is the one that lingers
            assert caller.recv(1) == b""
    with reserved(f"127.0.0.1:{address[1]}"):
        pass


@linux_only
def test_a_port_that_others_share_is_not_reserved() -> None:
    with socket.socket() as stranger:
        stranger.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        stranger.bind(("127.0.0.1", 0))
        with (
            pytest.raises(ConfigError, match="is the port taken"),
            reserved(f"127.0.0.1:{stranger.getsockname()[1]}"),
        ):
            pass


@pytest.mark.parametrize("listen", ["unix:/tmp/socket", "127.0.0.1", "127.0.0.1:http"])
def test_workers_need_an_address_and_a_port(listen: str) -> None:
    with (
        pytest.raises(ConfigError, match=r"^router\.listen: several workers need an address and a port"),
        reserved(listen),
    ):
        pass
