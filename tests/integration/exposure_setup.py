"""What the tests of exposures share: a schema that podroute may use, roles of SQL users, and plans."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

import psycopg
from podroute_router.embedded import Cluster, Server

PASSWORD = "of-a-test"


@dataclass
class Databases:
    """Sessions of administrators, by server, and of SQL users on the primary."""

    primary: psycopg.Connection
    pods: dict[str, psycopg.Connection]
    server: Server
    roles: list[str] = field(default_factory=list)

    @property
    def alpha(self) -> psycopg.Connection:
        return self.pods["alpha"]

    def role(self) -> str:
        """A role of the primary that may do nothing, and cannot log in."""
        name = f"web_{uuid.uuid4().hex[:8]}"
        self.primary.execute(f"create role {name} nologin".encode())
        self.roles.append(name)
        return name

    @contextmanager
    def as_role(self, role: str) -> Iterator[psycopg.Connection]:
        """A session of a login that may only become the role, as that of a REST layer."""
        login = f"rest_{uuid.uuid4().hex[:8]}"
        self.primary.execute(f"create role {login} login noinherit password '{PASSWORD}' in role {role}".encode())
        self.roles.append(login)
        conninfo = self.server.conninfo(login)
        with psycopg.connect(conninfo, password=PASSWORD, autocommit=True, prepare_threshold=None) as connection:
            connection.execute(f"set role {role}".encode())
            yield connection


@contextmanager
def databases(cluster: Cluster) -> Iterator[Databases]:
    with ExitStack() as stack:

        def session(server: Server) -> psycopg.Connection:
            return stack.enter_context(psycopg.connect(server.admin_conninfo(server.database), autocommit=True))

        found = Databases(
            session(cluster.primary), {name: session(pod) for name, pod in cluster.pods.items()}, cluster.primary
        )
        for connection in (found.primary, *found.pods.values()):
            connection.execute("grant usage, create on schema public to podroute_owner")
        yield found
        for connection in (found.primary, *found.pods.values()):
            connection.execute("revoke create on schema public from podroute_owner")
        for role in reversed(found.roles):
            found.primary.execute(f"drop owned by {role}".encode())
            found.primary.execute(f"drop role {role}".encode())


def plan(connection: psycopg.Connection, statement: str, types: str = "", values: tuple[object, ...] = ()) -> Any:
    """The plan of a prepared statement, as the session's settings have it made."""
    name = f"p_{uuid.uuid4().hex[:8]}"
    with psycopg.ClientCursor(connection) as cursor:
        cursor.execute(f"prepare {name}{f'({types})' if types else ''} as {statement}".encode())
        places = f"({', '.join(['%s'] * len(values))})" if values else ""
        cursor.execute(f"explain (verbose, format json) execute {name}{places}".encode(), list(values))
        [(found,)] = cursor.fetchall()
    return (json.loads(found) if isinstance(found, str) else found)[0]["Plan"]


def nodes(root: Any) -> Iterator[Any]:
    yield root
    for child in root.get("Plans", ()):
        yield from nodes(child)


def remote_sql(root: Any) -> str:
    [found] = [node["Remote SQL"] for node in nodes(root) if "Remote SQL" in node]
    return str(found)


def relations(connection: psycopg.Connection, name: str) -> set[tuple[str, str]]:
    """Schema and kind of all that is called so, or is a foreign table of a collection that is."""
    return set(
        connection.execute(
            "select nspname::text, relkind::text from pg_class c join pg_namespace n on n.oid = c.relnamespace "
            "where relname = %s or relname like %s and nspname = 'podroute_exposed'",
            [name, f"{name}:%"],
        ).fetchall()
    )
