"""Looks for the secrets of the session's servers where none may be."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

import psycopg
from podroute_router.embedded import Cluster, Server
from psycopg import sql
from servers import SECRETS

from .report import Result

_TABLES = """
select n.nspname, c.relname from pg_class c join pg_namespace n on n.oid = c.relnamespace
where c.relkind = 'r' and n.nspname like 'podroute%'
"""
_CATALOGS = (
    "pg_user_mapping",
    "pg_foreign_server",
    "pg_foreign_table",
    "pg_description",
    "pg_views",
    "pg_db_role_setting",
)


class SecretScan:
    """What was looked at, and what was found."""

    def __init__(self) -> None:
        self.found: list[str] = []
        self.places = 0
        self.bytes = 0

    def look_at(self, place: str, content: bytes) -> None:
        """Looks at one output, log or table."""
        self.places += 1
        self.bytes += len(content)
        self.found += [f"{place}: {_around(content, secret)}" for secret in _spellings(SECRETS) if secret in content]

    def look_through(self, cluster: Cluster) -> None:
        """Looks at all that a cluster keeps but the files with the passwords and the roles' own entries."""
        for server in cluster.servers.values():
            for place, content in _kept_by(server):
                self.look_at(f"{server.name}: {place}", content)
        for path in (cluster.state_folder / "router").rglob("*"):
            if path.is_file():
                self.look_at(str(path.name), path.read_bytes())

    def look_at_processes(self, pids: Iterable[int]) -> None:
        """Looks at the arguments and the environment of processes."""
        for pid in pids:
            folder = Path("/proc", str(pid))
            for name in ("cmdline", "environ"):
                self.look_at(f"{name} of a process", (folder / name).read_bytes())

    def result(self) -> Result:
        """What the run has to say of it."""
        return Result(
            promise="No secret is in an output, a log, the catalog, a user mapping or a saved map",
            load="all that ran before",
            faults="passwords and SCRAM verifiers looked for; control: a router that logs one is found",
            figure=f"{len(self.found)} found in {self.places} places, {self.bytes / 1e6:.1f} MB",
            bound="0",
            held=not self.found,
            subject="Secrets",
            module="secret_scan",
        )


def _spellings(secrets: Iterable[str]) -> Iterator[bytes]:
    """The secrets, and the keys that a verifier is made of."""
    for secret in secrets:
        yield secret.encode()
        if secret.startswith("SCRAM"):
            yield from (key.encode() for key in secret.rpartition("$")[2].split(":"))


def _around(content: bytes, secret: bytes) -> str:
    """The line in which it stands, without it: this is printed, too."""
    before, _, after = content.partition(secret)
    newline = b"\n"
    return f"{before.rpartition(newline)[2][-200:]!r} … {after.partition(newline)[0][:200]!r}"


def _kept_by(server: Server) -> Iterator[tuple[str, bytes]]:
    if server.log_file.exists():
        yield "log", server.log_file.read_bytes()
    if not server.is_running:
        return
    with psycopg.connect(server.admin_conninfo(server.database), autocommit=True) as admin:
        tables = [("pg_catalog", name) for name in _CATALOGS] + admin.execute(_TABLES).fetchall()
        for schema, name in tables:
            rows = admin.execute(sql.SQL("select t::text from {} t").format(sql.Identifier(schema, name))).fetchall()
            yield f"{schema}.{name}", "\n".join(row[0] for row in rows).encode()
