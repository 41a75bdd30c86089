"""Has PostgreSQL explain a statement as it is run: prepared, with the settings of the session."""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Mapping, Sequence
from typing import Final, cast

import numpy as np
from psycopg import sql
from psycopg.pq import TransactionStatus

from podroute_router.domain import Explanation
from podroute_router.postgres.connection import Connection, Row
from podroute_router.postgres.plans import Plan, findings, remote_statements

_LONG_VECTOR: Final = re.compile(r"'\[[^'\]]{80,}\]'")
_numbers = itertools.count(1)


async def explain(
    connection: Connection,
    statement: str,
    parameters: Sequence[object],
    apply_settings: str,
    settings: Mapping[str, str],
    *,
    analyze: bool,
) -> Explanation:
    """How the statement is run.

    Args:
        connection: in no transaction.
        statement: takes the parameters as $1, $2 …, each with a cast that says its type.
        parameters: their values.
        apply_settings: sets $1 names to $2 values until the transaction ends.
        settings: what is set for the statement.
        analyze: run it too.
    """
    async with _Prepared(connection, statement, parameters) as prepared, connection.transaction():
        if settings:
            await connection.execute(apply_settings, (list(settings), list(settings.values())))
        plan = await prepared.plan()
        lines = await prepared.lines(analyze=analyze)
    return Explanation(
        sql=statement,
        settings=settings,
        remote_sql=remote_statements(plan),
        plan=_LONG_VECTOR.sub("'[…]'", "\n".join(lines)),
        findings=findings(plan),
    )


async def generic_plan(connection: Connection, statement: str, parameter_count: int) -> Plan:
    """The plan of a session that has generic plans only, whatever the parameters; the statement is not run."""
    async with _Prepared(connection, statement, [None] * parameter_count) as prepared:
        return await prepared.plan()


class _Prepared:
    """A prepared statement with values, for a while; its name is the connection's own."""

    def __init__(self, connection: Connection, statement: str, parameters: Sequence[object]) -> None:
        self._connection = connection
        self._statement = statement
        self._name = sql.Identifier(f"podroute_explained_{next(_numbers)}")
        values = sql.SQL(", ").join(map(_literal, parameters))
        self._execute = sql.SQL("execute {}({})" if parameters else "execute {}{}").format(self._name, values)

    async def __aenter__(self) -> _Prepared:
        prepare = sql.SQL("prepare {} as ").format(self._name).as_string()
        await self._connection.execute(prepare + self._statement)
        return self

    async def __aexit__(self, *_: object) -> None:
        # After an error too, where that can be: what a session has prepared outlives its transactions.
        if self._connection.pgconn.transaction_status in (TransactionStatus.IDLE, TransactionStatus.INTRANS):
            await self._connection.execute(sql.SQL("deallocate {}").format(self._name).as_string())

    async def plan(self) -> Plan:
        [(found,)] = await self._explain(sql.SQL("verbose, format json"))
        return cast("Plan", (json.loads(found) if isinstance(found, str) else found)[0]["Plan"])

    async def lines(self, *, analyze: bool) -> list[str]:
        return [line for (line,) in await self._explain(sql.SQL("verbose, analyze" if analyze else "verbose"))]

    async def _explain(self, options: sql.SQL) -> list[Row]:
        explain_it = sql.SQL("explain ({}) {}").format(options, self._execute)
        return await (await self._connection.execute(explain_it.as_string())).fetchall()


def _literal(value: object) -> sql.Composable:
    """A value whose type the prepared statement gives. A vector is written without pgvector's name, which no search
    path leads to.
    """
    if isinstance(value, np.ndarray):
        return sql.Literal(f"[{','.join(map(str, value.tolist()))}]")
    return sql.Literal(value)
