"""Which statements a connection in pipeline mode has prepared."""

from __future__ import annotations

from collections import OrderedDict

from psycopg.pq.abc import PGconn

PREPARED_MAX = 256
"""Prepared statements a connection keeps: so many of psycopg's, and so many of a `PreparedStatements`."""


class PreparedStatements:
    """Has each statement prepared once; the server keeps those that were used last.

    Args:
        pgconn: in pipeline mode whenever it is used here.
        prefix: of the statements' names.
    """

    def __init__(self, pgconn: PGconn, prefix: str) -> None:
        self._pgconn = pgconn
        self._prefix = prefix
        self._names: OrderedDict[str, bytes] = OrderedDict()
        """The one used longest ago first."""
        self._named = 0
        self._unused: list[bytes] = []
        """Names of statements that failed; the server closes them before the next one."""

    def __len__(self) -> int:
        """How many have a name."""
        return len(self._names)

    def __contains__(self, statement: str) -> bool:
        """True where it has a name."""
        return statement in self._names

    def name(self, statement: str) -> bytes:
        """The name of the statement; where it has none yet, it is sent to be prepared."""
        name = self._names.get(statement)
        if name is not None:
            self._names.move_to_end(statement)
            return name
        if len(self._names) >= PREPARED_MAX:
            _, oldest = self._names.popitem(last=False)
            self._pgconn.send_close_prepared(oldest)
        while self._unused:
            self._pgconn.send_close_prepared(self._unused.pop())
        self._named += 1
        name = self._names[statement] = f"{self._prefix}_{self._named}".encode()
        self._pgconn.send_prepare(name, statement.encode())
        return name

    def forget(self, statement: str) -> None:
        """It failed, and may not have been prepared."""
        if (name := self._names.pop(statement, None)) is not None:
            self._unused.append(name)

    def forget_all(self) -> None:
        """The server has none of them any more."""
        self._names.clear()
        self._unused.clear()
