"""The data plane in SQL: what a collection's records go through on either path.

A backend says which relations hold a collection and how a setting reaches the pod; the rest is the same on both paths.
"""

from __future__ import annotations

import asyncio
import math
import random
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass

import psycopg

from podroute_router.domain import Deadline, Match, PlainQuery, Query, QueryResult, Record, Selection
from podroute_router.errors import Aborted
from podroute_router.filters import Filter
from podroute_router.postgres.arrays import Encoded, set_element_type, text_array, vector_array
from podroute_router.postgres.connection import Connection, Row
from podroute_router.postgres.lane_query import LaneQuery
from podroute_router.postgres.lanes import Lanes
from podroute_router.postgres.pool import Pool
from podroute_router.postgres.vector_texts import vector_text_array
from podroute_router.sql import statements
from podroute_router.sql.filters import compile_filter
from podroute_router.sql.statements import Relation

SESSION_SETTINGS = {
    "hnsw.iterative_scan": "strict_order",
    "ivfflat.iterative_scan": "relaxed_order",
}
"""A scan goes on until it has `limit` matches, in the order of their distance."""

LATENCY_SETTINGS = {
    "client_connection_check_interval": "2s",  # a statement whose router died ends
    "jit": "off",  # compiling takes longer than these statements
    "search_path": "",
}
"""For every session that serves calls."""

LANE_LIMIT = 100
"""Largest `limit` of a query that goes over a lane."""

TEXT_COMPONENTS = 256 * 1024
"""Of the vectors that are written as text at a time, 4 MiB: libpq copies a statement whole."""

_ANSWER_MARGIN_S = 0.05
"""Left of a deadline for the answer, after an exact pass."""
_FIRST_PAUSE_S = 0.005
_LONGEST_PAUSE_S = 0.2


@dataclass(frozen=True, slots=True, kw_only=True)
class Relations:
    """The relations through which a collection is reached."""

    read: Relation
    upsert: Relation
    upsert_as_text: bool
    """See `statements.upsert`."""
    apply_settings: str
    """Statement that sets $1 names to $2 values on the pod until the transaction ends."""


LOCAL_SETTINGS = "select set_config(name, value, true) from unnest($1::text[], $2::text[]) as s (name, value)"
"""`Relations.apply_settings` where the session is on the pod itself."""


class TableAccess:
    """Runs the data plane's statements over one pool.

    Args:
        pool: connections to the database that has the relations.
        lanes: to the same database, for short queries.
        exact_pass_s: bound on the exact pass of a query whose index stopped short.
    """

    def __init__(self, pool: Pool, lanes: Lanes, *, exact_pass_s: float) -> None:
        self._pool = pool
        self._lanes = lanes
        self._exact_pass_s = exact_pass_s
        self._vector_schema: str | None = None

    async def upsert(self, relations: Relations, records: Sequence[Record], deadline: Deadline) -> int:
        """Writes the records in one transaction."""
        # In the order of their ids, so that two upserts wait for each other and never deadlock.
        ordered = sorted(records, key=lambda record: record.id)
        as_text = relations.upsert_as_text
        first, *others = _parts(ordered) if as_text else [ordered]
        encoded = await _encode(first, as_text=as_text)

        async def write() -> int:
            async with self._pool.connection(deadline, writes=True) as connection:
                statement = statements.upsert(relations.upsert, connection.vector_schema, as_text=as_text)
                if not as_text:
                    set_element_type(encoded[1], connection.adapters.types.get_oid("vector"))
                if not others:
                    return await _write(connection, statement, encoded)
                async with connection.transaction():
                    count = await _write(connection, statement, encoded)
                    for part in others:
                        count += await _write(connection, statement, await _encode(part, as_text=as_text))
                    return count

        return await _until_no_conflict(write, deadline)

    async def delete(self, relations: Relations, selection: Selection, deadline: Deadline) -> int:
        """Deletes the records selected in one transaction."""
        parameters: tuple[object, ...]
        if selection.filter is not None:
            statement, parameters = statements.delete_matching(relations.read), compile_filter(selection.filter)
        else:
            statement, parameters = statements.delete_ids(relations.read), (sorted(selection.ids or ()),)

        async def write() -> int:
            async with self._pool.connection(deadline, writes=True) as connection:
                return await _write(connection, statement, parameters)

        return await _until_no_conflict(write, deadline)

    async def fetch(self, relations: Relations, ids: Sequence[str], deadline: Deadline) -> list[Record]:
        """The records with these ids, in any order."""
        async with self._pool.connection(deadline) as connection:
            rows = await _read(connection, statements.fetch(relations.read, connection.vector_schema), (list(ids),))
        return [Record(id=row[0], vector=row[1].to_numpy(), metadata=row[2]) for row in rows]

    async def count(self, relations: Relations, filter: Filter | None, deadline: Deadline) -> int:
        """How many records match."""
        statement = statements.count(relations.read, filtered=filter is not None)
        async with self._pool.connection(deadline) as connection:
            rows = await _read(connection, statement, compile_filter(filter) if filter is not None else ())
        return int(rows[0][0])

    def prepare_query(self, relations: Relations, query: PlainQuery) -> LaneQuery | None:
        """The query over lanes; None where its answer may be large, or no connection has told yet where pgvector is."""
        if self._vector_schema is None or query.limit > LANE_LIMIT:
            return None
        statement = statements.query(
            relations.read,
            self._vector_schema,
            query.metric,
            query.limit,
            filtered=False,
            exact=False,
            include_metadata=query.include_metadata,
            include_vector=False,
        )
        return LaneQuery(
            statement,
            limit=query.limit,
            include_metadata=query.include_metadata,
            lanes=self._lanes,
        )

    async def query(self, relations: Relations, query: Query, deadline: Deadline) -> QueryResult:
        """The nearest records; an exact pass follows where an index stopped short of the limit."""
        parameters: tuple[object, ...] = (query.vector,)
        if query.filter is not None:
            parameters += compile_filter(query.filter)
        settings = {}
        if query.params.ef_search is not None:
            settings["hnsw.ef_search"] = str(query.params.ef_search)
        async with self._pool.connection(deadline) as connection:
            self._vector_schema = connection.vector_schema
            statement = _query_statement(connection.vector_schema, relations, query, exact=query.params.exact)
            began = time.monotonic()
            rows = await _read(connection, statement, parameters, relations, settings)
            self._lanes.pace.took(statement, time.monotonic() - began)
            complete = True
            if len(rows) < query.limit and not query.params.exact:
                budget_s = min(self._exact_pass_s, deadline.remaining_s() - _ANSWER_MARGIN_S)
                exact = _query_statement(connection.vector_schema, relations, query, exact=True)
                found = await _read_within(connection, exact, parameters, relations, budget_s)
                complete = found is not None
                rows = rows if found is None else found
        return QueryResult(matches=[_match(row, query) for row in rows], complete=complete)


def _query_statement(vector_schema: str, relations: Relations, query: Query, *, exact: bool) -> str:
    return statements.query(
        relations.read,
        vector_schema,
        query.metric,
        query.limit,
        filtered=query.filter is not None,
        exact=exact,
        include_metadata=query.include_metadata,
        include_vector=query.include_vector,
    )


def _match(row: Row, query: Query) -> Match:
    return Match(
        id=row[0],
        distance=row[1],
        metadata=row[2] if query.include_metadata else None,
        vector=row[-1].to_numpy() if query.include_vector else None,
    )


def _parts(records: Sequence[Record]) -> list[Sequence[Record]]:
    """As many as are written as text at a time."""
    size = max(1, TEXT_COMPONENTS // len(records[0].vector))
    return [records[start : start + size] for start in range(0, len(records), size)]


async def _encode(records: Sequence[Record], *, as_text: bool) -> tuple[Encoded, Encoded, Encoded]:
    """Ids, vectors and metadata as parameters."""
    encode = vector_text_array if as_text else vector_array
    return (
        text_array([record.id for record in records]),
        await encode([record.vector for record in records]),
        text_array([record.metadata for record in records]),
    )


async def _write(connection: Connection, statement: str, parameters: Sequence[object]) -> int:
    cursor = await connection.execute(statement, parameters, prepare=True, binary=True)
    return cursor.rowcount


async def _read(
    connection: Connection,
    statement: str,
    parameters: Sequence[object],
    relations: Relations | None = None,
    settings: Mapping[str, str] | None = None,
) -> list[Row]:
    """All rows of a statement; settings need `relations` and end with the statement."""
    if not settings or relations is None:
        cursor = await connection.execute(statement, parameters, prepare=True, binary=True)
        return await cursor.fetchall()
    async with connection.pipeline(), connection.transaction():
        await connection.execute(
            relations.apply_settings, (list(settings), list(settings.values())), prepare=True, binary=True
        )
        cursor = await connection.execute(statement, parameters, prepare=True, binary=True)
        return await cursor.fetchall()


async def _read_within(
    connection: Connection, statement: str, parameters: Sequence[object], relations: Relations, seconds: float
) -> list[Row] | None:
    """All rows, or None where the pod needs longer."""
    if seconds <= 0:
        return None
    settings = {"statement_timeout": f"{math.ceil(seconds * 1000)}ms"}
    try:
        return await _read(connection, statement, parameters, relations, settings)
    except psycopg.errors.QueryCanceled:
        return None


async def _until_no_conflict(write: Callable[[], Awaitable[int]], deadline: Deadline) -> int:
    """Runs a transaction anew while concurrent ones win against it, until the deadline."""
    pause_s = _FIRST_PAUSE_S
    while True:
        try:
            return await write()
        except Aborted:
            if deadline.remaining_s() <= pause_s:
                raise
            await asyncio.sleep(pause_s * random.uniform(0.5, 1.5))  # noqa: S311 (jitter)
            pause_s = min(pause_s * 2, _LONGEST_PAUSE_S)
