"""Many short reads share a connection, and none pays for another's trouble."""

from __future__ import annotations

import asyncio
import socket
import struct
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import psycopg
import pytest
import uvloop
from podroute_router.config import Database
from podroute_router.domain import Deadline
from podroute_router.embedded import Cluster
from podroute_router.errors import DeadlineExceeded
from podroute_router.postgres.lanes import DEPTH_MAX, Lanes, NoLane
from podroute_router.postgres.pace import SHORT_S
from podroute_router.postgres.pool import Pool
from podroute_router.postgres.prepared import PREPARED_MAX
from psycopg.pq.abc import PGresult

NUMBER = "select $1::int4, pg_backend_pid()"


@asynccontextmanager
async def lanes(cluster: Cluster, *, size: int = 2, port: int | None = None) -> AsyncIterator[Lanes]:
    server = cluster.pods["beta"]
    dsn = server.conninfo(cluster.router_role).replace(f"port={server.port}", f"port={port or server.port}")
    database = Database(dsn=dsn, password_file=cluster.router_password_file)
    pool = Pool(database, size=1, linger_s=5.0, connect_timeout_s=2.0, facts={"pod": "beta"})
    opened = pool.lanes(size)
    yield opened
    await opened.close()
    await pool.close()


def int4(number: int) -> bytes:
    return struct.pack(">i", number)


async def answered(opened: Lanes, statement: str, value: bytes, seconds: float = 10.0) -> PGresult:
    """Reads again where there was no lane, as a caller would take another way."""
    deadline = Deadline.after(seconds)
    while True:
        try:
            return await opened.read(statement, (value,), deadline)
        except NoLane:
            if not deadline.remaining_s():
                raise
            await asyncio.sleep(0.005)


async def read(opened: Lanes, statement: str, number: int, seconds: float = 10.0) -> tuple[int, int]:
    answer = await answered(opened, statement, int4(number), seconds)
    value, pid = (answer.get_value(0, column) for column in (0, 1))
    return struct.unpack(">i", value or b"")[0], struct.unpack(">i", pid or b"")[0]


async def test_each_call_gets_its_own_answer_over_few_connections(cluster: Cluster) -> None:
    async with lanes(cluster) as opened:
        pids: set[int] = set()
        for _ in range(100):
            answers = await asyncio.gather(*(read(opened, NUMBER, i) for i in range(200)))
            assert [value for value, _ in answers] == list(range(200))
            pids |= {pid for _, pid in answers}
            if len(pids) > 1:  # the second lane is made on the side
                break
        assert len(pids) == 2


async def test_large_requests_and_answers_go_through_in_pieces(cluster: Cluster) -> None:
    async with lanes(cluster, size=1) as opened:
        text = b"x" * 3_000_000
        answers = await asyncio.gather(*(answered(opened, "select $1::text", text, 20) for _ in range(8)))
        assert [answer.get_value(0, 0) for answer in answers] == [text] * 8


async def test_an_error_is_its_own_callers_only(cluster: Cluster) -> None:
    async with lanes(cluster, size=1) as opened:
        await read(opened, NUMBER, 0)
        failing = {0: "select $1::int4 / 0, 1", 5: "nonsense"}
        statements = [failing.get(i % 15, failing[0] if i % 3 == 0 else NUMBER) for i in range(DEPTH_MAX)]
        calls = [opened.read(statement, (int4(i),), Deadline.after(10)) for i, statement in enumerate(statements)]
        outcomes = await asyncio.gather(*calls, return_exceptions=True)
        for i, outcome in enumerate(outcomes):
            if statements[i] == NUMBER:
                assert not isinstance(outcome, BaseException)
                assert outcome.get_value(0, 0) == int4(i)
            else:
                assert isinstance(outcome, NoLane), "whoever takes the other way meets the error, and tells it"
        assert not opened.pace.is_short(failing[0])
        assert (await read(opened, NUMBER, 7))[0] == 7


async def test_statements_that_fail_leave_nothing_prepared(cluster: Cluster) -> None:
    kept = "select count(*)::int4, $1::int4 from pg_prepared_statements"
    async with lanes(cluster, size=1) as opened:
        await read(opened, NUMBER, 0)
        for i in range(40):
            with pytest.raises(NoLane):
                await opened.read(f"select $1::int4 / 0, {i % 2}", (int4(i),), Deadline.after(10))
        assert (await read(opened, kept, 0))[0] == 2, "the first one and this one"


async def test_a_lane_takes_no_more_than_it_can_answer_soon(cluster: Cluster) -> None:
    slow = "select $1::int4, 1 from pg_sleep(0.01)"
    async with lanes(cluster, size=1) as opened:
        await read(opened, NUMBER, 0)
        calls = [opened.read(slow, (int4(i),), Deadline.after(0.1)) for i in range(3 * DEPTH_MAX)]
        outcomes = await asyncio.gather(*calls, return_exceptions=True)
        assert sum(isinstance(outcome, NoLane) for outcome in outcomes) == 2 * DEPTH_MAX
        assert any(isinstance(outcome, DeadlineExceeded) for outcome in outcomes)
        began = time.perf_counter()
        await read(opened, NUMBER, 1)
        assert time.perf_counter() - began < 1.0, "what was given up is run before it, and is not much"


async def test_what_a_statement_took_counts_where_its_callers_gave_up_too(cluster: Cluster) -> None:
    slow = "select $1::int4, 1 from pg_sleep(0.1)"
    async with lanes(cluster, size=1) as opened:
        await read(opened, NUMBER, 0)
        opened.pace.took(slow, SHORT_S * 0.99)
        with pytest.raises(DeadlineExceeded):
            await opened.read(slow, (int4(1),), Deadline.after(0.04))
        assert opened.pace.is_short(slow)
        await read(opened, NUMBER, 1)
        assert not opened.pace.is_short(slow)


def test_a_router_that_stood_still_reads_what_has_come_meanwhile(cluster: Cluster) -> None:
    uvloop.run(_stand_still(cluster))  # which looks at its timers before it reads


async def _stand_still(cluster: Cluster) -> None:
    ours, others = socket.socketpair()
    with ours, others:
        await _read_over_a_pause(cluster, ours, others)


async def _read_over_a_pause(cluster: Cluster, ours: socket.socket, others: socket.socket) -> None:
    async with lanes(cluster, size=1) as opened:
        _, pid = await read(opened, NUMBER, 0)
        slow = "select $1::int4, pg_backend_pid() from pg_sleep(0.05)"
        calls = [asyncio.create_task(opened.read(slow, (int4(i),), Deadline.after(10))) for i in range(4)]
        await asyncio.sleep(0.06)
        loop = asyncio.get_running_loop()

        def stand_still() -> None:  # as it may over a large request
            loop.remove_reader(ours)
            time.sleep(0.5)

        loop.add_reader(ours, stand_still)
        others.send(b"x")
        assert [answer.get_value(0, 0) for answer in await asyncio.gather(*calls)] == [int4(i) for i in range(4)]
        assert (await read(opened, NUMBER, 0))[1] == pid


async def test_closing_waits_for_no_server(cluster: Cluster) -> None:
    async with lanes(cluster, size=1) as opened:
        await read(opened, NUMBER, 0)
        busy = asyncio.create_task(opened.read("select $1::int4, 1 from pg_sleep(30)", (int4(1),), Deadline.after(20)))
        await asyncio.sleep(0.05)
        began = time.perf_counter()
        await opened.close()
        assert time.perf_counter() - began < 1.0
        with pytest.raises(NoLane):
            await busy


async def test_a_read_whose_connection_is_closed_can_be_sent_again(cluster: Cluster) -> None:
    async with lanes(cluster, size=1) as opened:
        _, pid = await read(opened, NUMBER, 0)
        slow = "select $1::int4, pg_backend_pid() from pg_sleep(0.15)"
        with psycopg.connect(cluster.pods["beta"].admin_conninfo(), autocommit=True) as admin:
            calls = [asyncio.create_task(read(opened, slow if i == 0 else NUMBER, i)) for i in range(10)]
            await asyncio.sleep(0.05)
            admin.execute("select pg_terminate_backend(%s, 2000)", (pid,))
        answers = await asyncio.gather(*calls)
        assert [value for value, _ in answers] == list(range(10))
        assert pid not in {used for _, used in answers}


async def test_a_caller_that_gives_up_on_a_stalled_lane_frees_the_others(cluster: Cluster) -> None:
    async with lanes(cluster, size=2) as opened:
        await read(opened, NUMBER, 0)
        stalled = asyncio.create_task(read(opened, "select $1::int4, 1 from pg_sleep(30)", 1))
        await asyncio.sleep(0.05)
        behind = [asyncio.create_task(read(opened, NUMBER, i)) for i in range(10)]
        await asyncio.sleep(0.5)
        began = time.perf_counter()
        stalled.cancel()
        assert [value for value, _ in await asyncio.gather(*behind)] == list(range(10))
        assert time.perf_counter() - began < 1.0


async def test_a_statement_that_takes_long_keeps_nobody_waiting(cluster: Cluster) -> None:
    slow = "select $1::int4, 1 from pg_sleep(30)"
    async with lanes(cluster, size=1) as opened:
        await read(opened, NUMBER, 0)
        opened.pace.took(slow, 0.001)
        patient = asyncio.create_task(opened.read(slow, (int4(1),), Deadline.after(20)))
        await asyncio.sleep(0.05)
        behind = [asyncio.create_task(read(opened, NUMBER, i)) for i in range(10)]
        began = time.perf_counter()
        assert [value for value, _ in await asyncio.gather(*behind)] == list(range(10))
        assert time.perf_counter() - began < 2.0
        with pytest.raises(NoLane):  # its caller takes the way of slow statements
            await patient
        assert not opened.pace.is_short(slow)


async def test_a_statement_that_keeps_nobody_waiting_may_take_long(cluster: Cluster) -> None:
    async with lanes(cluster, size=1) as opened:
        _, pid = await read(opened, NUMBER, 0)
        assert await read(opened, "select $1::int4, pg_backend_pid() from pg_sleep(0.6)", 1) == (1, pid)


async def test_a_cancelled_call_leaves_the_others_alone(cluster: Cluster) -> None:
    async with lanes(cluster, size=1) as opened:
        calls = [asyncio.create_task(read(opened, NUMBER, i)) for i in range(100)]
        await asyncio.sleep(0.001)
        for call in calls[::2]:
            call.cancel()
        outcomes = await asyncio.gather(*calls, return_exceptions=True)
        assert [outcome[0] for outcome in outcomes[1::2] if isinstance(outcome, tuple)] == list(range(1, 100, 2))


async def test_a_lane_keeps_the_statements_that_were_used_last(cluster: Cluster) -> None:
    kept = "select count(*)::int4, $1::int4 from pg_prepared_statements"
    async with lanes(cluster, size=1) as opened:
        _, pid = await read(opened, NUMBER, 0)
        for i in range(2 * PREPARED_MAX + 10):
            assert await read(opened, f"select $1::int4 + {i}, pg_backend_pid()", 1) == (i + 1, pid)
            assert await read(opened, NUMBER, i) == (i, pid)
        assert (await read(opened, kept, 0))[0] == PREPARED_MAX
        assert (await read(opened, f"{kept} where statement = '{NUMBER}'", 0))[0] == 1


async def test_a_read_ends_at_its_deadline_and_those_behind_it_are_served(cluster: Cluster) -> None:
    async with lanes(cluster, size=1) as opened:
        await read(opened, NUMBER, 0)
        late = asyncio.create_task(read(opened, "select $1::int4, 1 from pg_sleep(30)", 1, 0.4))
        await asyncio.sleep(0.05)
        behind = [asyncio.create_task(read(opened, NUMBER, i)) for i in range(10)]
        began = time.perf_counter()
        with pytest.raises(DeadlineExceeded) as caught:
            await late
        assert caught.value.reason == "DEADLINE_EXCEEDED"
        assert caught.value.facts == {"pod": "beta"}
        assert time.perf_counter() - began < 0.5
        assert [value for value, _ in await asyncio.gather(*behind)] == list(range(10))


async def test_a_short_deadline_harms_no_neighbour(cluster: Cluster) -> None:
    async with lanes(cluster, size=1) as opened:
        _, pid = await read(opened, NUMBER, 0)
        slow = "select $1::int4, pg_backend_pid() from pg_sleep(0.2)"
        first = asyncio.create_task(read(opened, slow, 1))
        hasty = asyncio.create_task(read(opened, NUMBER, 2, 0.03))
        assert await first == (1, pid)
        with pytest.raises(DeadlineExceeded):
            await hasty
        assert await read(opened, NUMBER, 3) == (3, pid)


async def test_no_read_waits_for_a_connection(cluster: Cluster) -> None:
    for size, port in ((2, None), (2, 1), (0, None)):
        async with lanes(cluster, size=size, port=port) as opened:
            with pytest.raises(NoLane):
                await opened.read(NUMBER, (int4(1),), Deadline.after(10))


async def test_closed_lanes_are_none(cluster: Cluster) -> None:
    async with lanes(cluster) as opened:
        await read(opened, NUMBER, 1)
    with pytest.raises(NoLane):
        await opened.read(NUMBER, (int4(1),), Deadline.after(10))
