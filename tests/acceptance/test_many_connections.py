"""Callers who open connections without end take none of those that the router needs for its pods."""

from __future__ import annotations

import asyncio
import resource
import socket
from contextlib import ExitStack
from pathlib import Path

import podroute
import podroute_command
import pytest
from chaos.routers import router_process
from podroute_router.cli.serve import raise_descriptor_limit
from podroute_router.embedded import Cluster
from servers import router_values

NAME = "many_connections"
DESCRIPTORS = 400
GREETING = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes([0, 0, 0, 4, 0, 0, 0, 0, 0])
OWN_CONNECTION = [("grpc.use_local_subchannel_pool", 1), ("grpc.enable_retries", 0)]


async def test_callers_take_at_most_half_of_the_descriptors(
    cluster: Cluster, client: podroute.AsyncClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without the bound pods are UNREACHABLE, as not even the password file can be opened."""
    command = tmp_path / "podroute"
    command.write_text(f'#!/bin/sh\nulimit -n {DESCRIPTORS}\nexec {podroute_command.COMMAND} "$@"\n', encoding="ascii")
    command.chmod(0o700)
    monkeypatch.setattr(podroute_command, "COMMAND", command)
    await client.create_collection(NAME, dimension=1, pod="alpha")
    with router_process(router_values(cluster), tmp_path) as router, ExitStack() as opened:
        host, _, port = router.address.rpartition(":")
        async with podroute.AsyncClient(router.address, options=OWN_CONNECTION) as known:
            await known.count(NAME)
            for _ in range(DESCRIPTORS):
                stranger = opened.enter_context(socket.create_connection((host, int(port))))
                stranger.sendall(GREETING)
            await asyncio.sleep(1)
            assert descriptors(router.pid) < DESCRIPTORS * 3 / 4
            await asyncio.gather(*(known.upsert(NAME, [(f"r{number}", [1.0], {})]) for number in range(16)))
        opened.close()
        await asyncio.sleep(1)
        async with podroute.AsyncClient(router.address, options=OWN_CONNECTION) as newcomer:
            assert (await newcomer.count(NAME)).count == 16
    await client.delete_collection(NAME)


def descriptors(pid: int) -> int:
    return len([*Path(f"/proc/{pid}/fd").iterdir()])


def test_a_router_may_open_as_many_as_its_process_is_allowed_to() -> None:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(1024, before[1]), before[1]))
        raise_descriptor_limit()
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        assert soft == min(hard, 65_536)
        assert hard == before[1]
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
