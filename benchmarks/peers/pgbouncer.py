"""PgBouncer in front of the pod: the proxy hop that people know, in C."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
from podroute_router.embedded import launch
from podroute_router.embedded.account import server_account
from podroute_router.embedded.ports import LOOPBACK, free_port
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from benchmarks.children import ROOT, ChildFailed
from benchmarks.peers.program import found
from benchmarks.stage import Filled

PGBOUNCER = "pgbouncer"
UNPACKED = ROOT / "build" / "pgbouncer"
"""Where `make` unpacks Debian's packages where PgBouncer is not installed."""
MISSING = "PgBouncer is not installed"
SERVER_CONNECTIONS = 16
START_TIMEOUT_S = 10.0
END_TIMEOUT_S = 3.0

_SETTINGS = """[databases]
{dbname} = host={host} port={port} dbname={dbname}
[pgbouncer]
listen_addr = {listen}
listen_port = {listen_port}
unix_socket_dir =
auth_type = scram-sha-256
auth_file = {folder}/users
pool_mode = session
default_pool_size = {connections}
max_client_conn = 100
log_connections = 0
log_disconnections = 0
"""


@contextmanager
def open_pgbouncer(filled: Filled) -> Iterator[tuple[str, int]]:
    """A conninfo of the pod through a PgBouncer of ours, without a password, and PgBouncer's process id.

    Session pooling: transaction pooling of Debian 12's version (1.18) breaks prepared statements.

    Raises:
        ChildFailed: there is no PgBouncer, or it does not start.
    """
    program = found(PGBOUNCER, UNPACKED / "usr" / "sbin")
    if program is None:
        raise ChildFailed(MISSING)
    # Beside the cluster's data, where the account that it runs as can go.
    folder = filled.stage.cluster.state_folder / PGBOUNCER
    folder.mkdir(mode=0o700)
    pod = conninfo_to_dict(filled.database["dsn"])
    password = Path(filled.database["password_file"]).read_text(encoding="utf-8").strip()
    port = free_port()
    settings = _SETTINGS.format(
        **{key: pod[key] for key in ("dbname", "host", "port")},
        listen=LOOPBACK,
        listen_port=port,
        folder=folder,
        connections=SERVER_CONNECTIONS,
    )
    _write(folder / "users", f'"{pod["user"]}" "{password}"\n')
    _write(folder / "settings", settings)
    account = server_account()  # PgBouncer refuses root, as PostgreSQL does
    if account is not None:
        for path in (folder, *folder.iterdir()):
            os.chown(path, account.uid, account.gid)
    libraries = [str(path) for path in (UNPACKED / "usr" / "lib").glob("*-linux-gnu")]
    with (filled.stage.folder / "pgbouncer.log").open("wb") as log:
        process = subprocess.Popen(
            [
                *(sys.executable, "-I", "-S", launch.__file__, str(os.getpid())),
                *((str(account.uid), str(account.gid)) if account else ("-1", "-1")),
                *(str(program), str(folder / "settings")),
            ],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            cwd="/",
            env={"LD_LIBRARY_PATH": os.pathsep.join(libraries)} if libraries else {},
            start_new_session=True,
        )
    try:
        conninfo = make_conninfo("", **{**pod, "host": LOOPBACK, "port": str(port)})
        _wait(process, conninfo, password, Path(log.name))
        yield conninfo, process.pid
    finally:
        process.terminate()
        try:
            process.wait(END_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        shutil.rmtree(folder)


def _write(path: Path, text: str) -> None:
    path.touch(mode=0o600)
    path.write_text(text, encoding="utf-8")


def _wait(process: subprocess.Popen[bytes], conninfo: str, password: str, log: Path) -> None:
    deadline = time.monotonic() + START_TIMEOUT_S
    while True:
        try:
            psycopg.connect(conninfo, password=password, connect_timeout=2).close()
        except psycopg.OperationalError as error:
            if process.poll() is not None or time.monotonic() > deadline:
                said = log.read_text(encoding="utf-8", errors="replace").strip()[-500:]
                raise ChildFailed(f"PgBouncer does not serve: {error}; it said: {said}") from None
            time.sleep(0.05)
        else:
            return
