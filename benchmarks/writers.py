"""Ways to write the same rows into an empty collection of their own; each tells the seconds that it took."""

from __future__ import annotations

import itertools
import json
import os
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from typing import Any, Protocol

import podroute
import psycopg
from pgvector.psycopg import register_vector
from podroute.values import Path as AccessPath
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict

from benchmarks.children import START_TIMEOUT_S, VECS_PYTHON, Child, ChildFailed
from benchmarks.stage import POD, Stage

Row = tuple[str, Any, dict[str, int]]
"""Id, vector, metadata."""

WRITE_TIMEOUT_S = 300.0
READY_S = 10.0
"""Within which the primary has the foreign tables of a new collection."""

_numbers = itertools.count()


class Writer(Protocol):
    """A way to write rows."""

    @property
    def sender(self) -> int:
        """Id of the process that sends them."""
        ...

    def write(self, rows: Sequence[Row]) -> float:
        """Writes them into an empty table and removes it; seconds of the writing alone."""
        ...


class Executemany:
    """Bare psycopg straight to the pod: pipelined, binary, prepared, a transaction for each batch.

    Args:
        stage: has the pod.
        batch: rows in a transaction.
        indexed: with an HNSW index in place.
        connections: that write at the same time, each a share of the batches.
    """

    def __init__(self, stage: Stage, *, batch: int, indexed: bool = False, connections: int = 1) -> None:
        pod = stage.cluster.pods[POD]
        self._batch = batch
        self._indexed = indexed
        self._connections = []
        for _ in range(connections):
            connection = stage.stack.enter_context(
                psycopg.connect(pod.admin_conninfo(pod.database), autocommit=True, cursor_factory=psycopg.RawCursor)
            )
            register_vector(connection)
            self._connections.append(connection)

    @property
    def sender(self) -> int:
        """See `Writer`."""
        return os.getpid()

    def write(self, rows: Sequence[Row]) -> float:
        """See `Writer`."""
        table = sql.Identifier(f"bare_{next(_numbers)}")
        first = self._connections[0]
        layout = sql.SQL("create table {} (id text primary key, vec vector({}) not null, metadata jsonb not null)")
        first.execute(layout.format(table, sql.Literal(len(rows[0][1]))))
        if self._indexed:
            first.execute(sql.SQL("create index on {} using hnsw (vec vector_cosine_ops)").format(table))
        batches = [rows[start : start + self._batch] for start in range(0, len(rows), self._batch)]
        statement = sql.SQL(
            "insert into {} (id, vec, metadata) values ($1, $2, $3::jsonb) "
            "on conflict (id) do update set vec = excluded.vec, metadata = excluded.metadata"
        ).format(table)
        count = len(self._connections)
        began = time.perf_counter()
        with ThreadPoolExecutor(count) as threads:
            list(threads.map(lambda i: _execute(self._connections[i], statement, batches[i::count]), range(count)))
        seconds = time.perf_counter() - began
        first.execute(sql.SQL("drop table {}").format(table))
        return seconds


def _execute(connection: psycopg.Connection[Any], statement: sql.Composed, batches: Sequence[Sequence[Row]]) -> None:
    with connection.cursor(binary=True) as cursor:
        for batch in batches:
            with connection.transaction():
                cursor.executemany(statement, [(name, vector, json.dumps(about)) for name, vector, about in batch])


class Podroute:
    """`Client.upsert_many`.

    Args:
        client: of the stage's router.
        path: direct or fdw.
        batch: most rows in a request.
        indexed: with an HNSW index in place.
    """

    def __init__(self, client: podroute.Client, path: AccessPath, *, batch: int, indexed: bool = False) -> None:
        self._client = client
        self._path: AccessPath = path
        self._batch = batch
        self._indexed = indexed

    @property
    def sender(self) -> int:
        """See `Writer`."""
        return os.getpid()

    def write(self, rows: Sequence[Row]) -> float:
        """See `Writer`."""
        with empty_collection(self._client, dimension=len(rows[0][1])) as name:
            if self._indexed:
                self._client.create_index(name)
            # Foreign tables follow a moment later, and sessions open with the first call.
            self._client.upsert_many(name, rows[:1], path=self._path, patience=READY_S)
            began = time.perf_counter()
            written = self._client.upsert_many(name, rows, batch=self._batch, path=self._path)
            seconds = time.perf_counter() - began
        if written.record_count != len(rows):
            raise RuntimeError(f"{written.record_count} of {len(rows)} rows were written")
        return seconds


class Vecs:
    """vecs, in a process and an environment of its own."""

    def __init__(self, process: Child) -> None:
        self._process = process

    @property
    def sender(self) -> int:
        """See `Writer`."""
        return self._process.pid

    def write(self, rows: Sequence[Row]) -> float:
        """See `Writer`; the process has the rows already."""
        seconds: float = self._process.ask({"rows": len(rows)}, WRITE_TIMEOUT_S)["seconds"]
        return seconds


@contextmanager
def empty_collection(client: podroute.Client, *, dimension: int) -> Iterator[str]:
    """The name of a collection that is deleted at the end."""
    name = f"written_{next(_numbers)}"
    client.create_collection(name, dimension=dimension, pod=POD)
    try:
        yield name
    finally:
        client.delete_collection(name)


def start_vecs(stage: Stage, vectors_file: str) -> Vecs:
    """Starts the process of vecs; raises ChildFailed where vecs is not installed."""
    if not VECS_PYTHON.exists():
        raise ChildFailed("vecs is not installed: `make bench` and `make bench-smoke` do that")
    pod = stage.cluster.pods[POD]
    address = conninfo_to_dict(pod.conninfo(stage.cluster.router_role))
    # As an administrator: vecs makes schema and extension where they are missing, and asks for the right to do so.
    file = stage.folder / "vecs-writer.json"
    file.write_text(
        json.dumps(
            {key: address[key] for key in ("host", "port", "dbname")}
            | {"user": "postgres", "password_file": str(stage.cluster.admin_password_file)}
        ),
        encoding="utf-8",
    )
    with ExitStack() as opened:
        process = opened.enter_context(Child("vecs_writer", vectors_file, str(file), python=VECS_PYTHON))
        process.hear(START_TIMEOUT_S)
        stage.stack.push(opened.pop_all())
    return Vecs(process)
