"""Short reads over one connection in pipeline mode: none waits for the answer of the one before it to be sent.

A cursor of psycopg's costs the router more than the rest of a query. A lane speaks libpq: a statement is prepared once
a connection, each goes out with a sync of its own, so that an error is its own, and the answer is handed on undecoded.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import psycopg
from psycopg.pq import ExecStatus, Format
from psycopg.pq.abc import PGresult

from podroute_router.postgres.connection import Connection
from podroute_router.postgres.doubt import TRUSTED_S
from podroute_router.postgres.pace import Pace
from podroute_router.postgres.prepared import PreparedStatements

STALL_S = 0.25
"""A lane whose first statement gets no answer for so long is left, where others wait behind it, or where nothing was
heard on the lane for a while before it: its line may be dead."""

TICK_S = 0.02
"""How often a lane looks for statements whose time has run out: one timer for all of them, not one for each."""


class LaneLost(Exception):
    """The connection was closed before the answer. A read can be sent again elsewhere."""


@dataclass(slots=True, eq=False)
class _Sent:
    answer: asyncio.Future[PGresult]
    statement: str
    until: float
    result: PGresult | None = None


class Lane:
    """A connection that carries many short statements at a time.

    Args:
        connection: an idle one; it is the lane's own from now on.
        pace: is told how long each statement took, and which took so long that the lane is left.
        on_close: called once, when the lane takes no more statements.
    """

    def __init__(self, connection: Connection, *, pace: Pace, on_close: Callable[[Lane], None]) -> None:
        self.connection = connection
        self._pgconn = connection.pgconn
        self._pace = pace
        self._on_close = on_close
        self._loop = asyncio.get_running_loop()
        self._socket = self._pgconn.socket
        self._sent: deque[_Sent] = deque()
        self._prepared = PreparedStatements(self._pgconn, "lane")
        self._turn_began = time.monotonic()
        self._is_doubtful = False
        """Nothing was heard for a while before the statements that are under way."""
        self.was_lost = False
        """The connection was closed by the other side."""
        self._is_ticking = False
        self._tick_due = 0.0
        self._is_writing = False
        self._is_open = True
        self._pgconn.enter_pipeline_mode()
        self._loop.add_reader(self._socket, self._read)

    @property
    def depth(self) -> int:
        """How many statements wait for their answers."""
        return len(self._sent)

    def send(self, statement: str, values: Sequence[bytes | None], until: float) -> asyncio.Future[PGresult]:
        """Sends a statement with binary parameters.

        The future may be cancelled. It fails with LaneLost, or with TimeoutError at most `TICK_S` after `until`.

        Args:
            statement: with placeholders $1, $2 …
            values: of the placeholders, in PostgreSQL's binary format.
            until: when to give up, on the monotonic clock.
        """
        answer: asyncio.Future[PGresult] = self._loop.create_future()
        if not self._is_open:
            answer.set_exception(LaneLost())
            return answer
        if not self._sent:
            now = time.monotonic()
            self._is_doubtful = now - self._turn_began > TRUSTED_S
            self._turn_began = now
        if not self._is_ticking:
            self._await_tick()
        self._sent.append(_Sent(answer, statement, until))
        try:
            name = self._prepared.name(statement)
            self._pgconn.send_query_prepared(name, values, [Format.BINARY] * len(values), Format.BINARY)
            self._pgconn.pipeline_sync()
            self._flush()
        except psycopg.Error:
            self._lose()
        return answer

    def close(self) -> None:
        """Closes the connection now; statements without an answer fail with LaneLost."""
        if not self._is_open:
            return
        self._is_open = False
        self._loop.remove_reader(self._socket)
        if self._is_writing:
            self._loop.remove_writer(self._socket)
        self.connection.abandon()
        while self._sent:
            sent = self._sent.popleft()
            if not sent.answer.done():
                sent.answer.set_exception(LaneLost())
        self._on_close(self)

    def _tick(self) -> None:
        """Callers whose time has run out are told.

        Where nothing moves the lane is left: those behind the first statement are sent again elsewhere, and so is the
        first itself, if its caller still waits. Where it is the router that did not move, answers may lie unread.
        """
        self._is_ticking = False
        now, has_given_up = time.monotonic(), False
        is_late = now - self._tick_due > TICK_S
        for sent in self._sent:
            if not sent.answer.done() and sent.until <= now:
                sent.answer.set_exception(TimeoutError())
            has_given_up = has_given_up or sent.answer.done()
        is_needed = has_given_up or self._is_doubtful or len(self._sent) > 1
        if self._sent and is_needed and not is_late and now - self._turn_began > STALL_S:
            self._pace.stalled(self._sent[0].statement)
            self.close()
        elif self._sent:
            self._await_tick()

    def _await_tick(self) -> None:
        self._is_ticking = True
        self._tick_due = time.monotonic() + TICK_S
        self._loop.call_later(TICK_S, self._tick)

    def _flush(self) -> None:
        is_unsent = bool(self._pgconn.flush())
        if is_unsent and not self._is_writing:
            self._loop.add_writer(self._socket, self._write)
        elif self._is_writing and not is_unsent:
            self._loop.remove_writer(self._socket)
        self._is_writing = is_unsent

    def _write(self) -> None:
        try:
            self._flush()
        except psycopg.Error:
            self._lose()

    def _read(self) -> None:
        try:
            self._pgconn.consume_input()
            self._take_results()
        except psycopg.Error:
            self._lose()

    def _lose(self) -> None:
        self.was_lost = True
        self.close()

    def _take_results(self) -> None:
        was_end = False
        while self._sent and not self._pgconn.is_busy():
            result = self._pgconn.get_result()
            if result is None:
                if was_end:  # one None ends a statement's results, two say that there is no more for now
                    return
                was_end = True
                continue
            was_end = False
            status = result.status
            if status == ExecStatus.PIPELINE_SYNC:
                self._settle(self._sent.popleft())
            elif status != ExecStatus.COMMAND_OK and self._sent[0].result is None:
                self._sent[0].result = result

    def _settle(self, sent: _Sent) -> None:
        now = time.monotonic()
        seconds, self._turn_began = now - self._turn_began, now
        self._is_doubtful = False
        result = sent.result
        if result is not None and result.status == ExecStatus.TUPLES_OK:
            self._pace.took_again(sent.statement, seconds)  # where nobody waits for it any more, too
        else:
            self._prepared.forget(sent.statement)
        if not sent.answer.done():
            if result is None:
                sent.answer.set_exception(LaneLost())
            else:
                sent.answer.set_result(result)
