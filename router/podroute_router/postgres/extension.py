"""What a connection must know of pgvector before it can carry vectors."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from functools import cache

import numpy as np
import psycopg
from pgvector.psycopg.vector import VectorBinaryLoader, VectorLoader, register_vector_info
from psycopg.abc import Dumper as AnyDumper
from psycopg.adapt import AdaptersMap, PyFormat
from psycopg.types import TypeInfo

from podroute_router.errors import FailedPrecondition
from podroute_router.postgres.connection import Connection

MINIMUM_SERVER = 150000
MINIMUM_VECTOR = (0, 8, 0)
"""The first release with iterative scans."""
SAFE_VECTOR = (0, 8, 2)
"""The first release without CVE-2026-3172 (parallel HNSW builds)."""

_FACTS = """
select current_setting('server_version_num')::int, current_setting('server_encoding'), e.extversion, n.nspname, t.oid,
       t.typarray
from pg_extension e join pg_namespace n on n.oid = e.extnamespace
join pg_type t on t.typnamespace = n.oid and t.typname = 'vector'
where e.extname = 'vector'
"""
_SETTINGS = "select set_config(name, value, false) from unnest($1::text[], $2::text[]) as s (name, value)"

_log = logging.getLogger(__name__)


async def ready(connection: Connection, settings: Mapping[str, str], facts: Mapping[str, object]) -> None:
    """Readies a connection for vectors and applies the session settings.

    Raises:
        FailedPrecondition: the server or pgvector is missing something.
    """
    async with connection.pipeline():
        await connection.execute(_SETTINGS, [list(settings), list(settings.values())])
        row = await (await connection.execute(_FACTS)).fetchone()
    if row is None:
        raise FailedPrecondition("NOT_PREPARED", "pgvector is not installed; run `podroute pods prepare`", facts=facts)
    server_version, encoding, version, schema, oid, array_oid = row
    if server_version < MINIMUM_SERVER or _parts(version) < MINIMUM_VECTOR or encoding != "UTF8":
        raise FailedPrecondition(
            "UNSUPPORTED_DATABASE",
            f"podroute needs PostgreSQL 15, pgvector 0.8.0 and UTF8, or later; this is {server_version // 10000}, "
            f"{version} and {encoding}",
            facts=facts,
        )
    if _parts(version) < SAFE_VECTOR:
        _log.warning("pgvector %s has CVE-2026-3172, fixed in 0.8.2 (%s)", version, dict(facts))
    _register(connection, TypeInfo("vector", oid, array_oid))
    connection.vector_schema = schema


def _register(connection: Connection, vector: TypeInfo) -> None:
    """Has the connection read vectors, and write arrays as such."""
    vector.register(connection)
    for dumper in _dumpers(vector.oid, vector.array_oid):
        connection.adapters.register_dumper(np.ndarray, dumper)
    for loader in (VectorLoader, VectorBinaryLoader):
        connection.adapters.register_loader(vector.oid, loader)


@cache
def _dumpers(oid: int, array_oid: int) -> list[type[AnyDumper]]:
    """Of text and binary. pgvector makes new classes at each registration, and psycopg keeps every class for good."""
    adapters = AdaptersMap(psycopg.adapters)
    register_vector_info(adapters, TypeInfo("vector", oid, array_oid))  # type: ignore[arg-type]  # any context will do
    return [adapters.get_dumper(np.ndarray, written) for written in (PyFormat.TEXT, PyFormat.BINARY)]


def _parts(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split(".") if part.isdigit())
