"""Connections are made on demand, are found stale before they are used, and are left at once."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from pathlib import Path

import psycopg
import pytest
from chaos.proxy import proxy_to
from podroute_router.config import Database
from podroute_router.domain import Deadline
from podroute_router.embedded import Cluster
from podroute_router.errors import DeadlineExceeded, NobodyListens, Unavailable, Unreachable
from podroute_router.postgres import doubt
from podroute_router.postgres.connection import host_count
from podroute_router.postgres.pool import Pool
from podroute_router.wrappers import within
from pydantic import SecretStr


def database(cluster: Cluster, *, port: int | None = None) -> Database:
    server = cluster.pods["beta"]
    dsn = server.conninfo(cluster.router_role)
    if port is not None:
        dsn = dsn.replace(f"port={server.port}", f"port={port}")
    return Database(dsn=dsn, password_file=cluster.router_password_file)


@asynccontextmanager
async def pool(
    cluster: Cluster, *, size: int = 2, linger_s: float = 5.0, port: int | None = None
) -> AsyncIterator[Pool]:
    opened = Pool(
        database(cluster, port=port), size=size, linger_s=linger_s, connect_timeout_s=2.0, facts={"pod": "beta"}
    )
    yield opened
    await opened.close()


async def backend_pid(opened: Pool) -> int:
    async with opened.connection(Deadline.after(5)) as connection:
        return connection.info.backend_pid


def end_backend(cluster: Cluster, pid: int) -> None:
    with psycopg.connect(cluster.pods["beta"].admin_conninfo(), autocommit=True) as admin:
        admin.execute("select pg_terminate_backend(%s, 2000)", (pid,))


def sessions_in(cluster: Cluster, statement: str) -> int:
    with psycopg.connect(cluster.pods["beta"].admin_conninfo()) as admin:
        [(count,)] = admin.execute(
            "select count(*) from pg_stat_activity where query = %s and state = 'active'", (statement,)
        ).fetchall()
        return int(count)


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


async def test_a_lost_connection_leaves_the_outcome_of_a_write_unknown(cluster: Cluster) -> None:
    async with pool(cluster) as opened:

        async def call_that_is_cut_off(*, writes: bool) -> None:
            async with opened.connection(Deadline.after(5), writes=writes) as connection:
                statement = asyncio.create_task(connection.execute("select pg_sleep(5)"))
                await asyncio.sleep(0.1)
                end_backend(cluster, connection.info.backend_pid)
                await statement

        for writes, reason in ((True, "OUTCOME_UNKNOWN"), (False, "CONNECTION_LOST")):
            with pytest.raises(Unavailable) as failed:
                await call_that_is_cut_off(writes=writes)
            assert failed.value.reason == reason
        assert await backend_pid(opened)


async def test_a_call_that_is_cancelled_ends_the_statement_on_the_server(cluster: Cluster) -> None:
    statement = "select pg_sleep(30)"
    async with pool(cluster) as opened:

        async def call() -> None:
            async with opened.connection(Deadline.after(60)) as connection:
                await connection.execute(statement)

        started = time.perf_counter()
        with pytest.raises(DeadlineExceeded):
            await within(Deadline.after(0.3), call())
        assert time.perf_counter() - started < 1.0
        for _ in range(50):
            if not await asyncio.to_thread(sessions_in, cluster, statement):
                return
            await asyncio.sleep(0.02)
        pytest.fail("the statement still runs a second later")


@pytest.mark.parametrize(("linger_s", "freed"), [(10.0, False), (0.2, True)])
async def test_a_left_connection_keeps_its_place_until_the_server_ended_it(
    cluster: Cluster, linger_s: float, freed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doubt, "TRUSTED_S", 60.0)  # else it is asked first where freezing takes long
    async with pool(cluster, size=1, linger_s=linger_s) as opened:

        async def call() -> None:
            async with opened.connection(Deadline.after(60)) as connection:
                await connection.execute("select 1")

        await call()
        cluster.pods["beta"].freeze()
        try:
            with pytest.raises(DeadlineExceeded):
                await within(Deadline.after(0.1), call())
            # With the place free, the next call gets as far as to connect, and finds nobody.
            with pytest.raises(Unreachable if freed else DeadlineExceeded):
                await within(Deadline.after(1.5), call_with(opened, 1.4))
        finally:
            cluster.pods["beta"].thaw()
        await within(Deadline.after(2), call())


async def test_an_idle_connection_on_a_dead_line_is_asked_and_takes_the_others_with_it(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Control: without the question each of the three costs a call its deadline."""
    with proxy_to(cluster.pods["beta"].port) as line:
        async with pool(cluster, size=3, port=line.port) as opened:

            async def call() -> int:
                async with opened.connection(Deadline.after(5)) as connection:
                    await connection.execute("select pg_sleep(0.1)")
                    return connection.info.backend_pid

            before = {*await asyncio.gather(call(), call(), call())}
            line.forget()
            monkeypatch.setattr(doubt, "TRUSTED_S", 0.0)  # as if they had been idle for long
            assert await within(Deadline.after(4), call()) not in before
            assert await within(Deadline.after(4), call()) not in before


async def test_a_place_is_given_on_where_the_end_of_its_session_cannot_be_heard(cluster: Cluster) -> None:
    """A line that swallows everything: the server is asked over another one, of another pool, as this one has no place
    left. Control: it is kept for `linger_s`.
    """
    with proxy_to(cluster.pods["beta"].port) as line:
        async with (
            pool(cluster, size=1, linger_s=60.0, port=line.port) as opened,
            pool(cluster, size=1, port=line.port) as looks,
        ):
            opened.look_by(looks)
            pid = await backend_pid(opened)

            async def call() -> None:
                async with opened.connection(Deadline.after(10)) as connection:
                    await connection.execute("select pg_sleep(0.1)")

            line.forget()
            with pytest.raises(DeadlineExceeded):
                await within(Deadline.after(0.3), call())
            await within(Deadline.after(10), call())
            for _ in range(100):
                if not await asyncio.to_thread(has_session, cluster, pid):
                    return
                await asyncio.sleep(0.02)
            pytest.fail("the session that was never told goes on")


async def test_a_statement_that_does_not_end_keeps_its_place_and_no_session_is_beside_the_places(
    cluster: Cluster,
) -> None:
    """It takes no notice of a cancel. Controls, seen red: the place is given on after `linger_s`; the server is asked
    over a connection beside the places.
    """
    seconds = 4.0
    async with pool(cluster, size=1, linger_s=1.0) as opened, pool(cluster, size=1) as looks:
        opened.look_by(looks)
        ours = {await backend_pid(opened), await backend_pid(looks)}
        with psycopg.connect(cluster.pods["beta"].admin_conninfo(), autocommit=True) as admin:
            others = set(sessions(admin)) - ours
            most = 0

            async def watch() -> None:
                nonlocal most
                while True:
                    most = max(most, len(set(sessions(admin)) - others))
                    await asyncio.sleep(0.01)

            watching = asyncio.create_task(watch())
            began = time.perf_counter()
            with pytest.raises(DeadlineExceeded):
                async with opened.connection(Deadline.after(60)) as connection:
                    await within(Deadline.after(0.1), connection.execute(DEAF.format(seconds)))
            await within(Deadline.after(30), backend_pid(opened))
            served_s = time.perf_counter() - began
            watching.cancel()
            await asyncio.gather(watching, return_exceptions=True)
    assert served_s > seconds - 0.2
    assert most == 2


DEAF = """
do $$
declare ends_at timestamptz := clock_timestamp() + {} * interval '1 s';
begin
    while clock_timestamp() < ends_at loop
        begin
            perform pg_sleep(0.05);
        exception when query_canceled then null;
        end;
    end loop;
end $$
"""


def sessions(admin: psycopg.Connection) -> list[int]:
    rows = admin.execute(
        "select pid from pg_stat_activity where backend_type = 'client backend' and pid <> pg_backend_pid()"
    ).fetchall()
    return [pid for (pid,) in rows]


def has_session(cluster: Cluster, pid: int) -> bool:
    with psycopg.connect(cluster.pods["beta"].admin_conninfo()) as admin:
        return admin.execute("select from pg_stat_activity where pid = %s", (pid,)).fetchone() is not None


async def call_with(opened: Pool, seconds: float) -> None:
    async with opened.connection(Deadline.after(seconds)):
        pass


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
