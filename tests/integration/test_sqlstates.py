"""What PostgreSQL says becomes what docs/errors.md says: each SQLSTATE is provoked on a real server, by its cause where
that can be had, else by a statement that raises it.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import NamedTuple

import psycopg
import pytest
import pytest_asyncio
from podroute_router.api.status import code_of
from podroute_router.config import Database
from podroute_router.domain import Deadline
from podroute_router.embedded import Cluster
from podroute_router.errors import PodrouteError, Unreachable
from podroute_router.postgres.connection import Connection
from podroute_router.postgres.connector import trust_no_schema
from podroute_router.postgres.errors import GONE, TABLE
from podroute_router.postgres.pool import Pool
from pydantic import SecretStr

PAGE = Path(__file__).parents[2] / "docs" / "errors.md"
FACTS = {"pod": "alpha", "path": "direct"}


class Row(NamedTuple):
    """A row of the table in docs/errors.md."""

    states: tuple[str, ...]
    code: str
    reason: str
    retry: str


def documented() -> list[Row]:
    _, _, section = PAGE.read_text(encoding="utf-8").partition("## What PostgreSQL said\n")
    section, _, _ = section.partition("\n## ")
    rows = [
        [cell.strip() for cell in line.strip("| ").split(" | ")] for line in section.splitlines() if line[:2] == "| "
    ]
    return [
        Row(tuple(states.split(", ")), code, reason, retry)
        for states, _, code, reasons, retry in rows[1:]
        for reason in re.findall(r"`([A-Z_]+)`", reasons)
    ]


def row_of(state: str, reason: str) -> Row:
    """The row that counts for the SQLSTATE: that of the longest beginning."""
    beginnings = [each for row in documented() for each in row.states if state.startswith(each)]
    chosen = max(beginnings, key=len, default="other")
    (found,) = (row for row in documented() if chosen in row.states and row.reason == reason)
    return found


class Fault(NamedTuple):
    """Statements of one transaction, of which the last one fails, and who runs them where."""

    statements: tuple[str, ...]
    where: str = "as administrator"


def fault(*statements: str, where: str = "as administrator") -> Fault:
    return Fault(statements, where)


def raised(state: str) -> Fault:
    return fault(f"do $$ begin raise exception 'as asked' using errcode = '{state}'; end $$")


FAULTS: dict[str, Fault] = {
    "22012": fault("select 1 / 0"),
    "22P02": fault("select 'a'::jsonb"),
    "22003": fault("select 1e300::float4"),
    "23502": fault("create temp table t (a int not null)", "insert into t values (null)"),
    "23505": fault("create temp table t (a int unique)", "insert into t values (1), (1)"),
    "23514": fault("create temp table t (a int check (a > 1))", "insert into t values (1)"),
    "25006": fault("set transaction read only", "create table t (a int)"),
    "42501": fault("select * from pg_authid", where="as router"),
    "42804": fault("create temp table t (a int)", "insert into t select array[1]"),
    "42P01": fault("select from vecs.nothing_here"),
    "42883": fault("select nothing_here()"),
    "42601": fault("selec"),
    "53400": fault(
        "set local temp_file_limit = 64",
        "set local work_mem = 64",
        "select count(*) from (select g from generate_series(1, 100000) g order by -g offset 1) s",
    ),
    "53100": raised("53100"),
    "53200": raised("53200"),
    "53300": raised("53300"),
    "54011": fault(f"create temp table t ({', '.join(f'a{i} int' for i in range(1601))})"),
    "54001": fault(f"select '{'[' * 20000}'::jsonb"),
    "57014": fault("set local statement_timeout = 20", "select pg_sleep(5)"),
    "57P01": fault("select pg_terminate_backend(pg_backend_pid())", "select 1"),
    "57P03": raised("57P03"),
    "08001": fault(
        "create server nowhere foreign data wrapper postgres_fdw options (host '127.0.0.1', port '1')",
        "create user mapping for current_user server nowhere options (user 'a', password 'b')",
        "create foreign table public.nowhere (a int) server nowhere",
        "select * from public.nowhere",
        where="on the primary",
    ),
    "08006": raised("08006"),
    "58030": raised("58030"),
    "P0001": fault("do $$ begin raise exception 'no'; end $$"),
    "P0002": raised("P0002"),
    "XX000": raised("XX000"),
}
"""By SQLSTATE. A full disk, used up memory and a server that starts cannot be had at will."""


@pytest_asyncio.fixture(scope="module")
async def pools(cluster: Cluster) -> AsyncIterator[dict[str, Pool]]:
    alpha, primary = cluster.pods["alpha"], cluster.primary
    password = SecretStr(cluster.admin_password_file.read_text(encoding="ascii").strip())
    databases = {
        "as router": Database(dsn=alpha.conninfo(cluster.router_role), password_file=cluster.router_password_file),
        "as administrator": Database(dsn=alpha.conninfo("postgres"), password=password),
        "on the primary": Database(dsn=primary.conninfo("postgres"), password=password),
    }
    opened = {
        where: Pool(database, size=4, linger_s=1, connect_timeout_s=5, facts=FACTS, setup=trust_no_schema)
        for where, database in databases.items()
    }
    yield opened
    for pool in opened.values():
        await pool.close()


async def outcome(pool: Pool, run: Callable[[Connection], Awaitable[object]], *, writes: bool = False) -> PodrouteError:
    """The error that the call ends with."""
    try:
        async with pool.connection(Deadline.after(20), writes=writes) as connection:
            await run(connection)
    except PodrouteError as error:
        return error
    pytest.fail("nothing went wrong")


def assert_as_documented(error: PodrouteError, state: str) -> None:
    cause = error.__cause__
    assert isinstance(cause, psycopg.Error)
    assert cause.sqlstate == state
    row = row_of(state, error.reason)
    assert (code_of(error).name, error.reason) == (row.code, row.reason)
    assert (error.retry_after_s is not None) == row.retry.startswith(("later", "check"))
    assert str(cause) not in error.message
    assert not {"message", "detail", "query"} & error.facts.keys()


@pytest.mark.parametrize("state", FAULTS)
@pytest.mark.parametrize("writes", [False, True], ids=["read", "write"])
async def test_what_postgresql_says_is_told_as_documented(pools: dict[str, Pool], state: str, writes: bool) -> None:
    async def run(connection: Connection) -> None:
        async with connection.transaction():
            for statement in FAULTS[state].statements:
                await connection.execute(statement.encode())

    error = await outcome(pools[FAULTS[state].where], run, writes=writes)
    assert_as_documented(error, state)
    if {error.reason} & {"OUTCOME_UNKNOWN", "CONNECTION_LOST"}:
        assert error.reason == ("OUTCOME_UNKNOWN" if writes else "CONNECTION_LOST")


async def test_a_pod_that_refuses_the_primarys_password_is_told_from_one_that_is_away(
    pools: dict[str, Pool], cluster: Cluster
) -> None:
    alpha = cluster.pods["alpha"]

    async def run(connection: Connection) -> None:
        async with connection.transaction():
            for statement in (
                f"create server alpha_too foreign data wrapper postgres_fdw "
                f"options (host '127.0.0.1', port '{alpha.port}')",
                f"create user mapping for current_user server alpha_too "
                f"options (user '{cluster.router_role}', password 'b')",
                "create foreign table public.nowhere (a int) server alpha_too",
                "select * from public.nowhere",
            ):
                await connection.execute(statement.encode())

    error = await outcome(pools["on the primary"], run, writes=True)
    assert_as_documented(error, "08001")
    assert error.reason == "POD_REFUSES_PRIMARY"


Other = Callable[[Connection, Connection], Awaitable[object]]
"""What two sessions do, of which the second one fails."""


async def lost_update(first: Connection, second: Connection) -> None:
    async with second.transaction():
        await second.execute(b"set transaction isolation level repeatable read")
        await second.execute(b"select * from public.sqlstates")
        await first.execute(b"update public.sqlstates set b = 1 where a = 1")
        await second.execute(b"update public.sqlstates set b = 2 where a = 1")


async def deadlock(first: Connection, second: Connection) -> None:
    async with first.transaction():
        await first.execute(b"set local deadlock_timeout = '10s'")
        await first.execute(b"update public.sqlstates set b = 1 where a = 1")
        async with second.transaction():
            await second.execute(b"set local deadlock_timeout = '20ms'")
            await second.execute(b"update public.sqlstates set b = 1 where a = 2")
            waiting = asyncio.create_task(first.execute(b"update public.sqlstates set b = 1 where a = 2"))
            await asyncio.sleep(0.05)
            try:
                await second.execute(b"update public.sqlstates set b = 1 where a = 1")
            finally:
                await second.execute(b"rollback")
                await waiting


async def locked(first: Connection, second: Connection) -> None:
    async with first.transaction(), second.transaction():
        await first.execute(b"lock table public.sqlstates")
        await second.execute(b"set local lock_timeout = 20")
        await second.execute(b"select * from public.sqlstates")


async def changed_layout(first: Connection, second: Connection) -> None:
    for _ in range(2):
        await second.execute(b"select * from public.sqlstates", prepare=True)
        await first.execute(b"alter table public.sqlstates add column c int")


@pytest.mark.parametrize(
    ("state", "happens"),
    [("40001", lost_update), ("40P01", deadlock), ("55P03", locked), ("0A000", changed_layout)],
    ids=["40001", "40P01", "55P03", "0A000"],
)
async def test_what_another_session_brings_about_is_told_as_documented(
    pools: dict[str, Pool], state: str, happens: Other
) -> None:
    pool = pools["as administrator"]
    async with pool.connection(Deadline.after(20)) as first:
        await first.execute(b"create table public.sqlstates (a int, b int)")
        try:
            await first.execute(b"insert into public.sqlstates values (1, 0), (2, 0)")
            error = await outcome(pool, lambda second: happens(first, second), writes=True)
        finally:
            await first.execute(b"drop table public.sqlstates")
    assert_as_documented(error, state)


def test_every_sqlstate_of_the_table_is_documented_and_provoked() -> None:
    states = {state for row in documented() for state in row.states}
    assert states == {*TABLE, *GONE, "other"}
    provoked = {*FAULTS, "40001", "40P01", "55P03", "0A000"}
    assert {each for each in states - {"other"} if not any(state.startswith(each) for state in provoked)} == set()


async def test_a_session_that_is_refused_was_never_begun(cluster: Cluster) -> None:
    """53300, 28P01 and 3D000 come with no SQLSTATE from libpq, as nothing was sent; other paths may be tried."""
    alpha = cluster.pods["alpha"]
    password = SecretStr(cluster.router_password_file.read_text(encoding="utf-8").strip())
    with psycopg.connect(alpha.admin_conninfo(), autocommit=True) as admin:
        admin.execute("create database full_house connection limit 0")
        for user, name, secret in (
            (cluster.router_role, "vectors", SecretStr("another")),
            (cluster.router_role, "nowhere", password),
            (cluster.router_role, "full_house", password),
        ):
            pool = Pool(
                Database(dsn=alpha.conninfo(user, name), password=secret),
                size=1,
                linger_s=1,
                connect_timeout_s=5,
                facts=FACTS,
            )
            error = await outcome(pool, lambda connection: connection.execute(b"select 1"))
            assert (type(error), error.reason) == (Unreachable, "SESSION_REFUSED")
        admin.execute("drop database full_house")
