"""The common recipe for pgvector behind postgres_fdw, as blog posts have it: a server, a mapping, a foreign table.

Without the server option `extensions 'vector'` the primary may not let the pod sort by distance: every row travels.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import psycopg
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict

from benchmarks.stage import Filled

RECIPE = "common FDW recipe"
SCHEMA = "recipe"


def make_recipe(filled: Filled) -> dict[str, Any]:
    """Makes the foreign table on the primary; returns what a `bare` process needs to ask it."""
    cluster = filled.stage.cluster
    primary = cluster.primary
    password = cluster.admin_password_file.read_text(encoding="utf-8").strip()
    pod = conninfo_to_dict(filled.database["dsn"])
    with psycopg.connect(primary.admin_conninfo(primary.database)) as connection:
        found = connection.execute(
            "select n.nspname::text from pg_extension e "
            "join pg_namespace n on n.oid = e.extnamespace where extname = 'vector'"
        ).fetchone()
        assert found is not None
        vector_schema = found[0]
        connection.execute(sql.SQL("create schema {}").format(sql.Identifier(SCHEMA)))
        connection.execute(
            sql.SQL("create server {} foreign data wrapper postgres_fdw options (host {}, port {}, dbname {})").format(
                sql.Identifier(SCHEMA), *(sql.Literal(str(pod[key])) for key in ("host", "port", "dbname"))
            )
        )
        connection.execute(
            sql.SQL("create user mapping for current_user server {} options (user 'postgres', password {})").format(
                sql.Identifier(SCHEMA), sql.Literal(password)
            )
        )
        connection.execute(
            sql.SQL(
                "create foreign table {} (id text, vec {}({}), metadata jsonb) server {} "
                "options (schema_name {}, table_name {})"
            ).format(
                sql.Identifier(SCHEMA, filled.database["table"]),
                sql.Identifier(vector_schema, "vector"),
                sql.Literal(filled.dataset.records.shape[1]),
                sql.Identifier(SCHEMA),
                sql.Literal(filled.database["schema"]),
                sql.Literal(filled.database["table"]),
            )
        )
    return {
        "dsn": primary.conninfo("postgres"),
        "password_file": str(Path(cluster.admin_password_file)),
        "schema": SCHEMA,
        "vector_schema": vector_schema,
    }
