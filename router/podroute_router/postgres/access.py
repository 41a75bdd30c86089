"""The data plane in SQL: what a collection's records go through on either path.

A backend says which relations hold a collection and how a setting reaches the pod; the rest is the same on both paths.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass

from podroute_router.domain import (
    Counting,
    Deadline,
    Explainable,
    Explanation,
    IncompleteReason,
    Match,
    MetadataUpdate,
    PlainQuery,
    Query,
    QueryResult,
    Record,
    ScannedRecord,
    ScanPage,
    Selection,
    UpdateMode,
    UpsertMode,
)
from podroute_router.filters import Filter
from podroute_router.names import check_id_sizes
from podroute_router.postgres.arrays import Encoded, encoded, set_element_type, text_array, vector_array
from podroute_router.postgres.asked import counting, deletion, searching, selection_parameters
from podroute_router.postgres.connection import Connection, Row
from podroute_router.postgres.explaining import explain
from podroute_router.postgres.guard import PushdownGuard
from podroute_router.postgres.lane_query import LaneQuery
from podroute_router.postgres.lanes import Lanes
from podroute_router.postgres.partial_upserts import in_parts
from podroute_router.postgres.pool import Pool
from podroute_router.postgres.running import read, read_within, until_no_conflict
from podroute_router.postgres.vector_texts import vector_text_array
from podroute_router.postgres.writing import transaction, write, write_alone
from podroute_router.sql import statements
from podroute_router.sql.filters import compile_filter
from podroute_router.sql.settings import scan_settings
from podroute_router.sql.statements import Relation

SESSION_SETTINGS = {
    "hnsw.iterative_scan": "relaxed_order",
    "ivfflat.iterative_scan": "relaxed_order",
}
"""A scan goes on until it has `limit` matches, in about the order of their distance: the router sorts them.

A strict one passes over what comes nearer than what it gave already.
"""

LATENCY_SETTINGS = {
    "client_connection_check_interval": "500ms",  # a statement whose router died ends
    "jit": "off",  # compiling takes longer than these statements
    "search_path": "",
    # A session whose router has gone without a word ends too; else it would wait for two hours.
    "tcp_keepalives_idle": "30",
    "tcp_keepalives_interval": "5",
    "tcp_keepalives_count": "3",
}
"""For every session that callers may wait for."""

UNCOMMITTED_S = 5
"""A router that froze between a write and its COMMIT keeps the records locked for so long."""

LANE_LIMIT = 100
"""Largest `limit` of a query that goes over a lane."""

TEXT_COMPONENTS = 256 * 1024
"""Of the vectors that are written as text at a time, 4 MiB: libpq copies a statement whole."""

IDS_AT_A_TIME = 1000
"""Of records deleted: decoded before other calls have their turn."""

_ANSWER_MARGIN_S = 0.05
"""Left of a deadline for the answer, after an exact pass."""


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


def call_settings(statement_s: float) -> dict[str, str]:
    """For every session that serves calls on records; `statement_s` is the bound on a statement."""
    return LATENCY_SETTINGS | {
        "statement_timeout": f"{math.ceil(statement_s * 1000)}ms",
        "idle_in_transaction_session_timeout": f"{UNCOMMITTED_S}s",
    }


class TableAccess:
    """Runs the data plane's statements over one pool.

    Args:
        pool: connections to the database that has the relations.
        lanes: to the same database, for short queries.
        exact_pass_s: bound on the exact pass of a query whose index stopped short.
        guard: refuses what a pod behind the database does not do whole; None where the database is the pod itself.
    """

    def __init__(self, pool: Pool, lanes: Lanes, *, exact_pass_s: float, guard: PushdownGuard | None = None) -> None:
        self._pool = pool
        self._lanes = lanes
        self._exact_pass_s = exact_pass_s
        self._guard = guard
        self._vector_schema: str | None = None

    def forget_plans(self) -> None:
        """Has every statement looked at again before it is run: those of lanes too, which come here first."""
        if self._guard is not None:
            self._guard.forget()
            self._lanes.pace.forget()

    async def upsert(
        self,
        relations: Relations,
        records: Sequence[Record],
        deadline: Deadline,
        mode: UpsertMode = UpsertMode.REPLACE,
    ) -> int:
        """Writes the records, as far as the mode lets them be written, in one transaction."""
        # In the order of their ids, so that two upserts wait for each other and never deadlock.
        ordered = sorted(records, key=lambda record: record.id)
        if mode is not UpsertMode.REPLACE:
            return await self._upsert_some(relations, ordered, mode, deadline)
        as_text = relations.upsert_as_text
        first, *others = _parts(ordered) if as_text else [ordered]
        parameters = await _encode(first, as_text=as_text)

        async def attempt() -> int:
            async with self._pool.connection(deadline, writes=True) as connection:
                statement = statements.upsert(relations.upsert, connection.vector_schema, as_text=as_text)
                if not as_text:
                    set_element_type(parameters[1], connection.adapters.types.get_oid("vector"))
                if not others:
                    return await write_alone(connection, statement, parameters)
                async with transaction(connection):
                    count = await write(connection, statement, parameters)
                    for part in others:
                        count += await write(connection, statement, await _encode(part, as_text=as_text))
                    return count

        return await until_no_conflict(attempt, deadline)

    async def _upsert_some(
        self, relations: Relations, records: Sequence[Record], mode: UpsertMode, deadline: Deadline
    ) -> int:
        """Writes those of the records whose ids are new, or else those whose ids exist."""
        table, foreign = relations.read, relations.upsert_as_text
        parts = await in_parts(records, foreign=foreign, mode=mode)

        async def attempt() -> int:
            async with self._pool.connection(deadline, writes=True) as connection:
                if mode is UpsertMode.INSERT_ONLY:
                    statement = statements.insert_new(table, connection.vector_schema)
                elif foreign:
                    statement = statements.update_existing_foreign(table, len(records[0].vector))
                else:
                    statement = statements.update_existing(table, connection.vector_schema)
                if mode is UpsertMode.INSERT_ONLY or not foreign:
                    for _, vectors, _ in parts:
                        set_element_type(vectors, connection.adapters.types.get_oid("vector"))
                else:
                    await self._check(connection, statement, parts[0])
                if len(parts) == 1:
                    return await write_alone(connection, statement, parts[0])
                async with transaction(connection):
                    return sum([await write(connection, statement, part) for part in parts])

        return await until_no_conflict(attempt, deadline)

    async def update_metadata(self, relations: Relations, update: MetadataUpdate, deadline: Deadline) -> int:
        """Changes the metadata of the records selected in one transaction."""
        selection = update.selection
        chosen, narrowed = selection_parameters(selection)
        statement = statements.update_metadata(
            relations.read,
            merge=update.mode is UpdateMode.MERGE,
            filtered=selection.filter is not None,
            narrowed=narrowed,
        )
        parameters = [encoded(parameter) for parameter in (update.metadata, *chosen)]

        async def attempt() -> int:
            async with self._pool.connection(deadline, writes=True) as connection:
                await self._check(connection, statement, (update.metadata, *chosen))
                return await write_alone(connection, statement, parameters)

        return await until_no_conflict(attempt, deadline)

    async def scan(self, relations: Relations, page: ScanPage, deadline: Deadline) -> list[ScannedRecord]:
        """The next records by id."""
        async with self._pool.connection(deadline) as connection:
            statement = statements.scan(
                relations.read,
                connection.vector_schema,
                page.limit,
                filtered=page.filter is not None,
                include_metadata=page.include_metadata,
                include_vector=page.include_vector,
            )
            condition = compile_filter(page.filter) if page.filter is not None else ()
            await self._check(connection, statement, (page.after, *condition))
            rows = await read(connection, statement, (page.after, *condition))
        return [
            ScannedRecord(
                id=row[0],
                metadata=row[1] if page.include_metadata else None,
                vector=row[-1].to_numpy() if page.include_vector else None,
            )
            for row in rows
        ]

    async def delete(self, relations: Relations, selection: Selection, deadline: Deadline) -> int:
        """Deletes the records selected in one transaction."""
        statement, chosen = deletion(relations.read, selection)
        parameters = [encoded(parameter) for parameter in chosen]

        async def attempt() -> int:
            async with self._pool.connection(deadline, writes=True) as connection:
                await self._check(connection, statement, chosen)
                return await write_alone(connection, statement, parameters)

        return await until_no_conflict(attempt, deadline)

    async def delete_returning(
        self, relations: Relations, selection: Selection, most_bytes: int, deadline: Deadline
    ) -> list[str]:
        """Deletes the records selected in one transaction, unless their ids have more than so many bytes."""
        chosen, narrowed = selection_parameters(selection)
        filtered = selection.filter is not None
        statement = statements.delete_returning(relations.read, filtered=filtered, narrowed=narrowed)
        sizes = statements.id_sizes(relations.read, narrowed=narrowed) if filtered else ""

        async def attempt() -> list[str]:
            async with self._pool.connection(deadline, writes=True) as connection:
                await self._check(connection, statement, chosen)
                if sizes:  # a filter may match more records than the router, or the primary, has room for
                    await self._check(connection, sizes, chosen)
                    [(count, all_bytes)] = await read(connection, sizes, chosen)
                    check_id_sizes(count, all_bytes or 0, most_bytes)
                ids: list[str] = []
                id_bytes = 0
                async with transaction(connection):
                    cursor = await connection.execute(statement, chosen, prepare=True, binary=True)
                    while rows := await cursor.fetchmany(IDS_AT_A_TIME):
                        ids += [row[0] for row in rows]
                        id_bytes += sum(len(row[0].encode()) for row in rows)
                        check_id_sizes(len(ids), id_bytes, most_bytes)  # raised here, it takes the deletion back
                        await asyncio.sleep(0)
                return ids

        return await until_no_conflict(attempt, deadline)

    async def fetch(self, relations: Relations, ids: Sequence[str], deadline: Deadline) -> list[Record]:
        """The records with these ids, in any order."""
        async with self._pool.connection(deadline) as connection:
            statement = statements.fetch(relations.read, connection.vector_schema)
            await self._check(connection, statement, (list(ids),))
            rows = await read(connection, statement, (list(ids),))
        return [Record(id=row[0], vector=row[1].to_numpy(), metadata=row[2]) for row in rows]

    async def count(self, relations: Relations, filter: Filter | None, deadline: Deadline) -> int:
        """How many records match."""
        statement, parameters = counting(relations.read, filter)
        async with self._pool.connection(deadline) as connection:
            await self._check(connection, statement, parameters)
            rows = await read(connection, statement, parameters)
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
        settings = scan_settings(query.params)
        async with self._pool.connection(deadline) as connection:
            self._vector_schema = connection.vector_schema
            statement, parameters = searching(connection.vector_schema, relations.read, query, exact=query.params.exact)
            await self._check(connection, statement, parameters)
            began = time.monotonic()
            rows = await read(connection, statement, parameters, relations.apply_settings, settings)
            if not settings:  # with them it takes another time, which says nothing of the plain query
                self._lanes.pace.took(statement, time.monotonic() - began)
            reason = None
            if len(rows) < query.limit and query.params.limits_scan:
                reason = IncompleteReason.SCAN_LIMITED
            elif len(rows) < query.limit and not query.params.exact:
                budget_s = min(self._exact_pass_s, deadline.remaining_s() - _ANSWER_MARGIN_S)
                exact, parameters = searching(connection.vector_schema, relations.read, query, exact=True)
                await self._check(connection, exact, parameters)
                found = await read_within(connection, exact, parameters, relations.apply_settings, budget_s)
                reason = IncompleteReason.TIMED_OUT if found is None else None
                rows = rows if found is None else found
        return QueryResult(matches=[_match(row, query) for row in rows], incomplete_reason=reason)

    async def _check(self, connection: Connection, statement: str, parameters: Sequence[object]) -> None:
        if self._guard is not None:
            await self._guard.check(connection, statement, len(parameters))

    async def explain(
        self, relations: Relations, asked: Explainable, deadline: Deadline, *, analyze: bool
    ) -> Explanation:
        """How the call would be run; of a query its first statement, not the exact pass that may follow."""
        settings: dict[str, str] = {}
        parameters: tuple[object, ...]
        async with self._pool.connection(deadline) as connection:
            match asked:
                case Query():
                    settings = scan_settings(asked.params)
                    statement, parameters = searching(
                        connection.vector_schema, relations.read, asked, exact=asked.params.exact
                    )
                case Counting(filter=condition):
                    statement, parameters = counting(relations.read, condition)
                case _:
                    statement, parameters = deletion(relations.read, asked)
            return await explain(connection, statement, parameters, relations.apply_settings, settings, analyze=analyze)


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
