"""A connection that a call has left keeps its place in the pool until the server has ended what it ran."""

from __future__ import annotations

import asyncio
import time

import psycopg
import pytest
from chaos.proxy import proxy_to
from podroute_router.domain import Deadline
from podroute_router.embedded import Cluster
from podroute_router.errors import DeadlineExceeded, Unavailable, Unreachable
from podroute_router.postgres import doubt
from podroute_router.wrappers import within

from integration.pools import backend_pid, call_with, end_backend, pool


def sessions_in(cluster: Cluster, statement: str) -> int:
    with psycopg.connect(cluster.pods["beta"].admin_conninfo()) as admin:
        [(count,)] = admin.execute(
            "select count(*) from pg_stat_activity where query = %s and state = 'active'", (statement,)
        ).fetchall()
        return int(count)


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

            async def leave_a_deaf_statement() -> None:
                async with opened.connection(Deadline.after(60)) as connection:
                    statement = asyncio.create_task(connection.execute(DEAF.format(seconds)))
                    while not is_asleep(admin, connection.info.backend_pid):  # before that a cancel ends it
                        await asyncio.sleep(0.01)
                    await within(Deadline.after(0.1), asyncio.wait_for(statement, None))

            watching = asyncio.create_task(watch())
            started = time.perf_counter()
            with pytest.raises(DeadlineExceeded):
                await leave_a_deaf_statement()
            await within(Deadline.after(30), backend_pid(opened))
            served_s = time.perf_counter() - started
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


def is_asleep(admin: psycopg.Connection, pid: int) -> bool:
    row = admin.execute("select wait_event from pg_stat_activity where pid = %s", (pid,)).fetchone()
    return row == ("PgSleep",)


def has_session(cluster: Cluster, pid: int) -> bool:
    with psycopg.connect(cluster.pods["beta"].admin_conninfo()) as admin:
        return admin.execute("select from pg_stat_activity where pid = %s", (pid,)).fetchone() is not None
