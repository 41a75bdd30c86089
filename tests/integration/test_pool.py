"""Connections are made on demand, are found stale before they are used, and are left at once."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Awaitable
from pathlib import Path

import pytest
from chaos.proxy import proxy_to
from podroute_router.config import Database
from podroute_router.domain import Deadline
from podroute_router.embedded import Cluster
from podroute_router.errors import DeadlineExceeded, NobodyListens, Unavailable, Unreachable
from podroute_router.postgres.connection import host_count
from podroute_router.postgres.pool import Pool
from pydantic import SecretStr

from integration.pools import backend_pid, call_with, end_backend, pool


async def test_an_idle_connection_is_used_again(cluster: Cluster) -> None:
    async with pool(cluster) as opened:
        assert await backend_pid(opened) == await backend_pid(opened)


async def test_a_connection_that_the_server_closed_costs_no_error(cluster: Cluster) -> None:
    async with pool(cluster) as opened:
        stale = await backend_pid(opened)
        end_backend(cluster, stale)
        assert await backend_pid(opened) != stale


async def test_a_server_that_is_not_there_is_unreachable_at_once(cluster: Cluster) -> None:
    async with pool(cluster, port=1) as opened:
        started = time.perf_counter()
        with pytest.raises(Unreachable) as failed:
            await backend_pid(opened)
        assert time.perf_counter() - started < 1
        assert isinstance(failed.value, NobodyListens)
        assert (failed.value.reason, failed.value.facts) == ("UNREACHABLE", {"pod": "beta"})


async def test_a_refused_session_is_told_apart(cluster: Cluster) -> None:
    wrong = Database(dsn=cluster.pods["beta"].conninfo(cluster.router_role), password=SecretStr("wrong"))
    opened = Pool(wrong, size=1, linger_s=1, connect_timeout_s=2, facts={})
    with pytest.raises(Unreachable) as failed:
        await backend_pid(opened)
    assert failed.value.reason == "SESSION_REFUSED"
    assert "wrong" not in str(failed.value)


async def test_connecting_leaves_half_of_the_time_for_another_path(cluster: Cluster) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:  # the kernel accepts, and nobody says a word
        port = silent.getsockname()[1]
        async with pool(cluster, port=port) as opened:
            started = time.perf_counter()
            with pytest.raises(Unreachable) as failed:
                await call_with(opened, 1.0)
            assert not isinstance(failed.value, NobodyListens)
            assert 0.4 < time.perf_counter() - started < 0.9


async def test_of_several_hosts_one_that_serves_is_taken(cluster: Cluster) -> None:
    server = cluster.pods["beta"]
    dsn = server.conninfo(cluster.router_role).replace(f"port={server.port}", f"port=1,{server.port}")
    several = Database(
        dsn=dsn.replace("host=127.0.0.1", "host=127.0.0.1,127.0.0.1") + " target_session_attrs=read-write",
        password_file=cluster.router_password_file,
    )
    opened = Pool(several, size=1, linger_s=1, connect_timeout_s=2, facts={})
    assert await backend_pid(opened)
    await opened.close()


async def test_a_silent_host_does_not_stand_before_the_next_and_is_not_asked_again(cluster: Cluster) -> None:
    server = cluster.pods["beta"]
    with socket.create_server(("127.0.0.1", 0)) as silent:
        ports = f"port={silent.getsockname()[1]},{server.port}"
        dsn = server.conninfo(cluster.router_role).replace(f"port={server.port}", ports)
        several = Database(
            dsn=dsn.replace("host=127.0.0.1", "host=127.0.0.1,127.0.0.1"), password_file=cluster.router_password_file
        )
        opened = Pool(several, size=1, linger_s=1, connect_timeout_s=0.5, facts={})
        first, seconds = await timed(backend_pid(opened))
        assert 0.4 < seconds < 0.9
        end_backend(cluster, first)
        second, seconds = await timed(backend_pid(opened))
        assert second != first
        assert seconds < 0.45
        await opened.close()


@pytest.mark.parametrize("order", ["silent first", "silent last"])
async def test_of_several_hosts_all_have_to_refuse_for_nobody_to_listen(cluster: Cluster, order: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        for ports, refused in ((f"{port},1" if order == "silent first" else f"1,{port}", False), ("1,2", True)):
            several = Database(
                dsn=f"host=127.0.0.1,127.0.0.1 port={ports} dbname=vectors", password=SecretStr("of no interest")
            )
            opened = Pool(several, size=1, linger_s=1, connect_timeout_s=0.3, facts={})
            with pytest.raises(Unreachable) as failed:
                await backend_pid(opened)
            assert isinstance(failed.value, NobodyListens) == refused


async def timed(call: Awaitable[int]) -> tuple[int, float]:
    """What the call gives, and how many seconds it took."""
    started = time.perf_counter()
    return await call, time.perf_counter() - started


@pytest.mark.parametrize(
    ("dsn", "count"),
    [
        ("", 1),
        ("host=a port=1", 1),
        ("host=a,b port=1", 2),
        ("host=a,b,c port=1,2,3 target_session_attrs=read-write", 3),
        ("hostaddr=127.0.0.1,127.0.0.2", 2),
        ("postgresql://a:1,b:2/vectors", 2),
        ("host=a,b target_session_attrs=prefer-standby", 1),  # libpq has to look at all of them
    ],
)
def test_the_hosts_of_an_address_are_counted(dsn: str, count: int) -> None:
    assert host_count(Database(dsn=dsn)) == count


async def test_a_password_file_that_is_no_text_is_an_outage_and_no_fault(cluster: Cluster, tmp_path: Path) -> None:
    password_file = tmp_path / "password"
    password_file.write_bytes(b"\xff\xfe")
    damaged = Database(dsn=cluster.pods["beta"].conninfo(cluster.router_role), password_file=password_file)
    opened = Pool(damaged, size=1, linger_s=1, connect_timeout_s=2, facts={})
    with pytest.raises(Unreachable) as failed:
        await backend_pid(opened)
    assert "no UTF-8 text" in str(failed.value.__cause__)
    password_file.write_bytes(cluster.router_password_file.read_bytes())
    assert await backend_pid(opened)
    await opened.close()


async def test_a_host_that_became_a_standby_is_left_for_the_next(cluster: Cluster) -> None:
    async with pool(cluster, size=1) as opened:

        async def write() -> int:
            async with opened.connection(Deadline.after(5), writes=True) as connection:
                await connection.execute("set default_transaction_read_only = on")
                await connection.execute("create table public.never ()")
                return 0

        with pytest.raises(Unavailable) as failed:
            await write()
        assert failed.value.reason == "READ_ONLY"
        async with opened.connection(Deadline.after(5)) as connection:
            row = await (await connection.execute("show default_transaction_read_only")).fetchone()
        assert row == ("off",)


async def test_no_more_connections_than_places(cluster: Cluster) -> None:
    async with pool(cluster, size=2) as opened:
        pids: set[int] = set()

        async def call() -> None:
            async with opened.connection(Deadline.after(10)) as connection:
                pids.add(connection.info.backend_pid)
                await connection.execute("select pg_sleep(0.01)")

        await asyncio.gather(*(call() for _ in range(20)))
        assert len(pids) == 2


async def test_a_closed_pool_says_so(cluster: Cluster) -> None:
    async with pool(cluster) as opened:
        pass
    with pytest.raises(Unavailable) as failed:
        await backend_pid(opened)
    assert failed.value.reason == "SHUTTING_DOWN"


async def test_a_login_that_its_caller_cannot_wait_for_is_made_for_the_next(cluster: Cluster) -> None:
    with proxy_to(cluster.pods["beta"].port) as line:
        line.latency(0.02)  # eight times for a login, twice for a statement
        async with pool(cluster, size=1, port=line.port) as opened:

            async def call() -> None:
                deadline = Deadline.after(0.15)
                async with asyncio.timeout_at(deadline.at), opened.connection(deadline) as connection:
                    await connection.execute("select 1")

            with pytest.raises(Unreachable):
                await call()
            await asyncio.sleep(0.3)
            await call()
            assert line.connections == 1


async def test_a_login_that_nobody_waits_for_ends_with_the_pool(cluster: Cluster) -> None:
    with proxy_to(cluster.pods["beta"].port) as line:
        line.latency(0.1)
        async with pool(cluster, size=1, port=line.port) as opened:
            with pytest.raises(Unreachable):
                async with opened.connection(Deadline.after(0.1)):
                    pass
            before = asyncio.all_tasks()
        assert len(before - asyncio.all_tasks()) == 1


async def test_a_call_whose_time_went_with_waiting_is_out_of_time_and_not_told_that_nobody_is_there(
    cluster: Cluster,
) -> None:
    with proxy_to(cluster.pods["beta"].port) as line:
        async with pool(cluster, size=1, port=line.port) as opened:

            async def call() -> None:
                async with opened.connection(Deadline.after(0.4)):
                    pass

            async with opened.connection(Deadline.after(5)) as connection:
                waiting = asyncio.create_task(call())
                await asyncio.sleep(0.35)
                line.latency(0.05)  # eight times for a login
                connection.discard()
            with pytest.raises(DeadlineExceeded):
                await waiting
