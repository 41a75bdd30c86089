"""pgbench on the same statement: what the pod itself can do, for a client that costs next to nothing.

The statement is the router's, prepared, but the vector is one of a table of queries on the pod, by a random number:
no vector travels and none is parsed, so no client gets more out of the pod.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
from pgvector.psycopg import register_vector
from podroute_router.embedded import find_installation
from podroute_router.postgres.access import SESSION_SETTINGS
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict

from benchmarks.children import ChildFailed
from benchmarks.closed_loop import Outcome, Window
from benchmarks.measuring import Case
from benchmarks.peers.program import Program, whole_seconds_left
from benchmarks.stage import POD, Filled
from benchmarks.statement import nearest

PGBENCH = "pgbench"
SCHEMA, TABLE = "bench", "queries"


class PgbenchCallers:
    """See `Callers`; a client of pgbench is a caller."""

    def __init__(self, program: Program, filled: Filled, statement: str, bin_dir: Path, folder: Path) -> None:
        self._program = program
        self._filled = filled
        self._statement = statement
        self._bin_dir = bin_dir
        self._folder = folder
        count = len(filled.dataset.queries)
        script = f"\\set number random(0, {count - 1})\n{statement.replace('$1', ':number')};\n"
        (folder / "script.sql").write_text(script, encoding="utf-8")

    def answers(self) -> list[list[str]]:
        """See `Callers`: what the script's statement finds."""
        pod = self._filled.stage.cluster.pods[POD]
        with psycopg.connect(pod.admin_conninfo(pod.database), cursor_factory=psycopg.RawCursor) as connection:
            return [
                [row[0] for row in connection.execute(self._statement, (number,))]
                for number in range(len(self._filled.dataset.queries))
            ]

    def offer(self, callers: int, window: Window) -> Outcome:
        """See `Callers`."""
        address = conninfo_to_dict(self._filled.database["dsn"])
        logs = self._folder / "logs"
        shutil.rmtree(logs, ignore_errors=True)
        logs.mkdir()
        self._program.start(
            [
                str(self._bin_dir / PGBENCH),
                *("--no-vacuum", "--protocol=prepared", "--file=../script.sql", "--log", "--log-prefix=calls"),
                *(f"--client={callers}", "--jobs=1", f"--time={whole_seconds_left(window)}"),
                *(f"--host={address['host']}", f"--port={address['port']}", f"--username={address['user']}"),
                str(address["dbname"]),
            ],
            folder=logs,
            environment={
                "PGPASSFILE": str(self._folder / "passwords"),
                "PGOPTIONS": " ".join(f"-c {name}={value}" for name, value in SESSION_SETTINGS.items()),
            },
        )

        def outcome() -> list[float]:
            said = self._program.finish(window, logs)
            if "number of failed transactions: 0 " not in said:
                raise ChildFailed(f"calls of pgbench failed: {said.strip()[-500:]}")
            # client number µs script seconds microseconds: the last two are when the call ended
            lines = [line.split() for file in logs.glob("calls.*") for line in file.read_text("ascii").splitlines()]
            return window.ended_within((int(line[4]) + int(line[5]) / 1e6, int(line[2]) / 1e6) for line in lines)

        return outcome


@contextmanager
def open_pgbench(filled: Filled) -> Iterator[Case]:
    """Puts the queries on the pod and gives pgbench as a case."""
    stage = filled.stage
    pod = stage.cluster.pods[POD]
    vector = sql.Identifier(filled.database["vector_schema"], "vector")
    table = sql.Identifier(SCHEMA, TABLE)
    with psycopg.connect(pod.admin_conninfo(pod.database)) as connection:
        register_vector(connection)
        connection.execute(sql.SQL("create schema {}").format(sql.Identifier(SCHEMA)))
        connection.execute(sql.SQL("create table {} (number int primary key, vec {} not null)").format(table, vector))
        with connection.cursor() as cursor:
            cursor.executemany(
                sql.SQL("insert into {} values (%s, %s)").format(table), list(enumerate(filled.dataset.queries))
            )
        role = sql.Identifier(stage.cluster.router_role)
        connection.execute(sql.SQL("grant usage on schema {} to {}").format(sql.Identifier(SCHEMA), role))
        connection.execute(sql.SQL("grant select on {} to {}").format(table, role))
        connection.execute(sql.SQL("analyze {}").format(table))
    stored = sql.SQL("(select vec from {} where number = $1)").format(table).as_string()
    folder = stage.folder / PGBENCH
    folder.mkdir()
    address = conninfo_to_dict(filled.database["dsn"])
    password = Path(filled.database["password_file"]).read_text(encoding="utf-8").strip()
    passwords = folder / "passwords"
    passwords.touch(mode=0o600)
    fields = (address["host"], address["port"], address["dbname"], address["user"], password)
    passwords.write_text(":".join(map(str, fields)) + "\n", encoding="utf-8")
    with Program(PGBENCH) as program:
        statement = nearest(filled.database).replace("$1", stored)
        yield Case(
            name=PGBENCH,
            callers=PgbenchCallers(program, filled, statement, find_installation().bin_dir, folder),
        )
