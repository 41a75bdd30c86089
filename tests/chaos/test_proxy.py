"""The proxy of the network tests does what it says, both ways."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import pytest

from .proxy import End, Mode, Proxy, proxy_to

SOON_S = 0.2


@contextmanager
def echo() -> Iterator[int]:
    """A port that sends back what it gets."""

    def answer(peer: socket.socket) -> None:
        with peer, suppress(OSError):
            while data := peer.recv(65536):
                peer.sendall(data)

    def serve() -> None:
        with suppress(OSError):
            while True:
                peer, _ = server.accept()
                threading.Thread(target=answer, args=(peer,), daemon=True).start()

    with socket.create_server(("127.0.0.1", 0)) as server:
        threading.Thread(target=serve, daemon=True).start()
        yield server.getsockname()[1]
        server.shutdown(socket.SHUT_RDWR)


@pytest.fixture
def proxy() -> Iterator[Proxy]:
    with echo() as port, proxy_to(port) as opened:
        yield opened


@contextmanager
def connected(proxy: Proxy) -> Iterator[socket.socket]:
    with socket.create_connection(("127.0.0.1", proxy.port), timeout=5) as line:
        line.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        yield line


def seconds_of(line: socket.socket, data: bytes = b"x") -> float:
    """How long the echo of the data takes."""
    began = time.perf_counter()
    line.sendall(data)
    received = b""
    while len(received) < len(data):
        received += line.recv(65536)
    assert received == data
    return time.perf_counter() - began


def assert_silent(line: socket.socket) -> None:
    line.settimeout(SOON_S)
    with pytest.raises(TimeoutError):
        line.recv(1)
    line.settimeout(5)


def assert_reset(line: socket.socket) -> None:
    with pytest.raises(ConnectionResetError):
        line.recv(1)


def test_it_carries_and_closes_when_an_end_closes(proxy: Proxy) -> None:
    with connected(proxy) as line:
        assert seconds_of(line, b"y" * 300_000) < 5
        assert proxy.connections == 1
    for _ in range(100):
        if proxy.connections == 0:
            return
        time.sleep(0.02)
    pytest.fail("the connection stays open")


def test_latency_and_throttle_take_the_time_asked_for_and_end(proxy: Proxy) -> None:
    with connected(proxy) as line:
        proxy.latency(0.05)
        assert 0.1 <= seconds_of(line) < 1
        proxy.latency(0)
        proxy.throttle(10_000)
        assert 0.2 <= seconds_of(line, b"z" * 1000) < 1
        proxy.throttle(0)
        assert seconds_of(line) < 0.1


def test_what_is_held_arrives_afterwards(proxy: Proxy) -> None:
    with connected(proxy) as line:
        seconds_of(line)
        proxy.mode(Mode.HOLD)
        line.sendall(b"held")
        assert_silent(line)
        proxy.mode(Mode.CARRY)
        assert line.recv(4) == b"held"


def test_what_is_dropped_is_lost_with_its_connection_and_no_other(proxy: Proxy) -> None:
    with connected(proxy) as used, connected(proxy) as idle:
        for line in (used, idle):
            seconds_of(line)
        proxy.mode(Mode.DROP)
        used.sendall(b"lost")
        with connected(proxy) as unlucky:
            assert_silent(unlucky)
            proxy.mode(Mode.CARRY)
            for dead in (used, unlucky):
                dead.sendall(b"more")
                assert_silent(dead)
        seconds_of(idle)


def test_a_reset_reaches_the_client(proxy: Proxy) -> None:
    with connected(proxy) as line:
        seconds_of(line)
        proxy.reset()
        assert_reset(line)
    with connected(proxy) as line:
        seconds_of(line)


@pytest.mark.parametrize("resets", [True, False])
def test_what_is_forgotten_is_dead_and_tells_only_who_sends_if_at_all(proxy: Proxy, *, resets: bool) -> None:
    with connected(proxy) as line:
        seconds_of(line)
        proxy.forget(resets=resets)
        assert_silent(line)
        line.sendall(b"?")
        if resets:
            assert_reset(line)
        else:
            assert_silent(line)
        with connected(proxy) as other:
            seconds_of(other)


def test_half_open_tells_nobody(proxy: Proxy) -> None:
    with connected(proxy) as line:
        seconds_of(line)
        proxy.half_open(End.SERVER)
        line.sendall(b"?")
        assert_silent(line)
        proxy.bury()
        assert_reset(line)
    with connected(proxy) as line:
        seconds_of(line)
        proxy.half_open(End.CLIENT)
        assert_reset(line)


def test_it_refuses_and_accepts_again_at_the_same_port(proxy: Proxy) -> None:
    port = proxy.port
    with connected(proxy) as line:
        seconds_of(line)
        proxy.refuse()
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", port), timeout=5)
        seconds_of(line)
    proxy.accept()
    assert proxy.port == port
    with connected(proxy) as line:
        seconds_of(line)
