"""A write is committed by whoever waits for it, counts its records, and leaves nothing behind where it failed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Any

import psycopg
import pytest
import pytest_asyncio
from podroute_router.config import Database
from podroute_router.domain import Deadline
from podroute_router.embedded import Cluster
from podroute_router.errors import DeadlineExceeded, InvalidArgument, Unavailable
from podroute_router.postgres.arrays import encoded
from podroute_router.postgres.connection import Connection
from podroute_router.postgres.pool import Pool
from podroute_router.postgres.prepared import PREPARED_MAX
from podroute_router.postgres.writing import transaction, write, write_alone

INSERT = "insert into pg_temp.records select unnest($1::text[])"
_SLOW_CHECK = """
create function pg_temp.rest() returns trigger language plpgsql as
    'begin perform pg_catalog.pg_sleep(10); return null; end';
create constraint trigger rest after insert on pg_temp.records deferrable initially {checked}
    for each row execute function pg_temp.rest()
"""
_WAITS = "select from pg_stat_activity where pid = %s and wait_event = 'PgSleep'"


@pytest_asyncio.fixture
async def pool(cluster: Cluster) -> AsyncIterator[Pool]:
    """Of one connection, which has an empty table of its own."""
    database = Database(
        dsn=cluster.pods["beta"].conninfo(cluster.router_role), password_file=cluster.router_password_file
    )

    async def with_table(connection: Connection) -> None:
        await connection.execute("create temp table records (id text primary key)")

    opened = Pool(database, size=1, linger_s=5.0, connect_timeout_s=2.0, facts={}, setup=with_table)
    yield opened
    await opened.close()


async def run(pool: Pool, statement: str) -> list[tuple[Any, ...]]:
    """The rows of a statement."""
    async with pool.connection(Deadline.after(5)) as connection:
        cursor = await connection.execute(statement)
        return await cursor.fetchall() if cursor.description else []


async def written(pool: Pool, ids: Sequence[str], statement: str = INSERT) -> int:
    """How many records the statement wrote."""
    async with pool.connection(Deadline.after(5), writes=True) as connection:
        return await write_alone(connection, statement, [encoded(ids)])


async def written_in_two(pool: Pool, ids: Sequence[str]) -> int:
    """The same in a transaction of two statements."""
    async with pool.connection(Deadline.after(5), writes=True) as connection, transaction(connection):
        return sum([await write(connection, INSERT, [encoded([each])]) for each in ids])


async def stored(pool: Pool) -> list[str]:
    return [str(row[0]) for row in await run(pool, "select id from pg_temp.records order by id")]


async def test_a_write_counts_its_records_and_is_committed(pool: Pool) -> None:
    assert await written(pool, ["a", "b"]) == 2
    assert await written(pool, []) == 0
    assert await written(pool, ["b", "c"], "delete from pg_temp.records where id = any($1::text[])") == 1
    assert await run(pool, "select pg_current_xact_id_if_assigned()") == [(None,)]  # no transaction is open
    assert await stored(pool) == ["a"]


@pytest.mark.parametrize("writes", [written, written_in_two])
async def test_a_write_that_fails_leaves_nothing_and_the_session_goes_on(
    pool: Pool, writes: Callable[[Pool, Sequence[str]], Awaitable[int]]
) -> None:
    [(pid,)] = await run(pool, "select pg_backend_pid()")
    for _ in range(2):
        with pytest.raises(InvalidArgument, match="refuses a value"):
            await writes(pool, ["same", "same"])
    assert await writes(pool, ["a", "b"]) == 2
    assert await stored(pool) == ["a", "b"]
    assert await run(pool, "select pg_backend_pid()") == [(pid,)]


async def test_statements_that_the_server_forgot_are_prepared_anew(pool: Pool) -> None:
    assert await written(pool, ["a"]) == 1
    await run(pool, "deallocate all")
    assert await written(pool, ["b"]) == 1
    assert await stored(pool) == ["a", "b"]


async def test_a_connection_keeps_the_statements_used_last(pool: Pool) -> None:
    for number in range(PREPARED_MAX + 10):
        await written(pool, [str(number)], f"{INSERT} /* {number} */")
    [(count,)] = await run(pool, "select count(*) from pg_prepared_statements where name like 'write%'")
    assert count == PREPARED_MAX
    assert await written(pool, ["again"], f"{INSERT} /* 0 */") == 1


async def test_a_large_write_is_sent_whole(pool: Pool) -> None:
    ids = [f"{number}-{'x' * 500}" for number in range(20_000)]  # more than any buffer on the way holds
    assert await written(pool, ids) == len(ids)


async def test_a_write_whose_caller_left_is_not_committed(pool: Pool, cluster: Cluster) -> None:
    [(pid,)] = await run(pool, "select pg_backend_pid()")
    statement = "insert into pg_temp.records select id from unnest($1::text[]) as id, pg_catalog.pg_sleep(10)"
    call = asyncio.create_task(written(pool, ["left"], statement))
    await asyncio.sleep(0.2)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    with psycopg.connect(cluster.pods["beta"].admin_conninfo()) as admin:
        for _ in range(100):
            if not admin.execute("select from pg_stat_activity where pid = %s", (pid,)).fetchall():
                break
            admin.rollback()
            await asyncio.sleep(0.02)
        else:
            pytest.fail("the statement still runs")
    assert await stored(pool) == []  # of a session of its own: the one before has gone with its table


async def test_a_transaction_whose_caller_left_between_statements_does_not_wait_for_the_server(
    pool: Pool, cluster: Cluster
) -> None:
    has_written = asyncio.Event()

    async def call() -> None:
        async with pool.connection(Deadline.after(5), writes=True) as connection, transaction(connection):
            await write(connection, INSERT, [encoded(["left"])])
            has_written.set()
            await asyncio.sleep(10)

    leaving = asyncio.create_task(call())
    await has_written.wait()
    cluster.pods["beta"].freeze()
    try:
        leaving.cancel()
        done, _ = await asyncio.wait({leaving}, timeout=2)
    finally:
        cluster.pods["beta"].thaw()
    assert done
    assert leaving.cancelled()
    assert await stored(pool) == []


@pytest.mark.parametrize("writes", [written, written_in_two])
async def test_what_the_server_said_when_it_ended_the_session_is_known(
    pool: Pool, cluster: Cluster, writes: Callable[[Pool, Sequence[str]], Awaitable[int]]
) -> None:
    [(pid,)] = await run(pool, "select pg_backend_pid()")
    await run(pool, _SLOW_CHECK.format(checked="immediate"))
    call = asyncio.create_task(writes(pool, ["a"]))
    with psycopg.connect(cluster.pods["beta"].admin_conninfo(), autocommit=True) as admin:
        while not admin.execute(_WAITS, (pid,)).fetchall():
            await asyncio.sleep(0.01)
        admin.execute("select pg_terminate_backend(%s)", (pid,))
    with pytest.raises(Unavailable) as failed:
        await call
    assert failed.value.reason == "OUTCOME_UNKNOWN"
    assert isinstance(failed.value.__cause__, psycopg.errors.AdminShutdown)


@pytest.mark.parametrize("writes", [written, written_in_two])
@pytest.mark.parametrize("checked", ["deferred", "immediate"], ids=["in its COMMIT", "before"])
async def test_the_outcome_of_a_write_that_somebody_cancelled_is_unknown_from_its_commit_on(
    pool: Pool, cluster: Cluster, writes: Callable[[Pool, Sequence[str]], Awaitable[int]], checked: str
) -> None:
    [(pid,)] = await run(pool, "select pg_backend_pid()")
    await run(pool, _SLOW_CHECK.format(checked=checked))
    call = asyncio.create_task(writes(pool, ["a"]))
    with psycopg.connect(cluster.pods["beta"].admin_conninfo(), autocommit=True) as admin:
        while not admin.execute(_WAITS, (pid,)).fetchall():
            await asyncio.sleep(0.01)
        admin.execute("select pg_cancel_backend(%s)", (pid,))
    with pytest.raises((Unavailable, DeadlineExceeded)) as failed:
        await call
    assert failed.value.reason == ("OUTCOME_UNKNOWN" if checked == "deferred" else "STATEMENT_TIMEOUT")
    assert await stored(pool) == []
