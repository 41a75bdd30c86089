"""Folders that servers can enter, and looks into a server from outside."""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psycopg
from podroute_router.embedded import (
    Server,
    processes,
)


@contextlib.contextmanager
def open_folder() -> Iterator[Path]:
    """A new folder that the servers' account can enter; pytest's own are closed to others."""
    folder = Path(tempfile.mkdtemp(prefix="podroute-test-", dir="/tmp"))
    folder.chmod(0o755)
    try:
        yield folder
    finally:
        shutil.rmtree(folder)


def run_as_nobody(python: str, code: str, *arguments: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [python, "-c", code, *arguments],
        input=b"",
        capture_output=True,
        env={"PYTHONPATH": os.pathsep.join(sys.path)},
        cwd="/",
        timeout=60,
        check=False,
        user="nobody",
        group=pwd.getpwnam("nobody").pw_gid,
        extra_groups=[],
    )


def connect(server: Server) -> psycopg.Connection:
    return psycopg.connect(server.admin_conninfo(server.database), autocommit=True)


def value(server: Server, query: str) -> object:
    with connect(server) as connection:
        row = connection.execute(query).fetchone()
        assert row is not None
        return row[0]


def processes_of(server: Server) -> list[int]:
    return [server.pid, *processes.children(server.pid)]
