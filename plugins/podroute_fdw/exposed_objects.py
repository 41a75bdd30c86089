"""What an exposure needs on the primary, as values: a server to read the pod by, a foreign table, the view. Pure.

SQL users have sessions of their own, so these servers are not those of the router. They log in by a mapping that
belongs to podroute_owner, who owns the view: whoever may read the view needs no rights on anything else. On the pod
such a session has the rights of podroute_reader only, and writes nothing.

The name of a foreign table says what it is made of. So a change makes another one, the view goes over to it, and what
rests on the view is left alone.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from podroute_router.config import Config, Database
from podroute_router.exposures import ColumnType, Exposed, Exposure, column_values, digest
from podroute_router.postgres.access import SESSION_SETTINGS
from podroute_router.postgres.exposed_view import Kind, View
from podroute_router.postgres.prepare import EXPOSED_OBJECTS, READER
from podroute_router.sql.statements import Relation, vector_type
from psycopg import sql

from podroute_fdw import objects
from podroute_fdw.objects import Server

_SHORT = 6


@dataclass(frozen=True, slots=True)
class ExposedTable:
    """A foreign table over an exposure's view on the pod. `prefix` begins the names of all that it ever had."""

    prefix: str
    name: str
    exposed: Exposed

    @property
    def relation(self) -> Relation:
        """Its place on the primary."""
        return Relation(EXPOSED_OBJECTS, self.name)


def server_name(pod: str) -> str:
    """The pod's server for SQL users; a colon is in no pod's name."""
    return f"podroute_{pod}:exposed"


def server(config: Config, pod: str, *, primary: Database) -> Server:
    """The server of a pod for SQL users, and the mapping of podroute_owner on it.

    It holds the password, as pass-through needs the session of the very role that logs in on the pod.
    """
    of_router = objects.server(config, pod, primary=primary, server_version=0)
    settings = SESSION_SETTINGS | {
        "hnsw.iterative_scan": "strict_order",  # nobody sorts what SQL users get
        "role": READER,
        "default_transaction_read_only": "on",
        "client_connection_check_interval": "2s",
        "jit": "off",
        "statement_timeout": f"{math.ceil(config.timeouts.statement_s * 1000)}",
    }
    kept = {key: value for key, value in of_router.options.items() if key not in ("batch_size", "fdw_startup_cost")}
    options = kept | {
        # Joins need to know how many rows there are, and lookups of a few by a key of the primary's are only thought
        # of with these.
        "use_remote_estimate": "true",
        "options": " ".join(f"-c {name}={value}" for name, value in settings.items()),
    }
    mapping = of_router.mapping
    if config.exposures is not None:
        mapping = {"user": config.exposures.user}
        if (secret := config.exposures.secret()) is not None:
            mapping["password"] = secret
    return Server(server_name(pod), options, mapping)


def prefix(exposure: Exposure) -> str:
    """Begins the names of the exposure's foreign tables."""
    return f"{exposure.collection}:{digest(*exposure.name)[:_SHORT]}"


def table(exposed: Exposed, vector_schema: str) -> ExposedTable:
    """The foreign table of an exposure."""
    exposure, collection = exposed.exposure, exposed.collection
    made_of = (
        server_name(collection.placement.pod),
        exposure.name,
        [column_values(column) for column in exposure.columns],
        exposure.code_point_order,
        collection.dimension,
        vector_schema,
    )
    start = prefix(exposure)
    return ExposedTable(start, f"{start}{digest(*made_of)[:_SHORT]}", exposed)


def create_table(wanted: ExposedTable, vector_schema: str) -> str:
    """Makes the foreign table."""
    exposure, collection = wanted.exposed.exposure, wanted.exposed.collection
    text = sql.SQL('pg_catalog.text collate pg_catalog."{}"').format(
        sql.SQL("C" if exposure.code_point_order else "default")
    )
    types = {each: sql.SQL(each.value) for each in ColumnType} | {ColumnType.TEXT: text}
    columns: list[sql.Composable] = [
        sql.SQL("id {} not null").format(text),
        sql.SQL("embedding {}({}) not null").format(vector_type(vector_schema), sql.Literal(collection.dimension)),
        sql.SQL("metadata jsonb not null"),
        *(sql.SQL("{} {}").format(sql.Identifier(column.name), types[column.type]) for column in exposure.columns),
    ]
    return (
        sql.SQL("create foreign table {} ({}) server {} options (schema_name {}, table_name {})")
        .format(
            wanted.relation.identifier,
            sql.SQL(", ").join(columns),
            sql.Identifier(server_name(collection.placement.pod)),
            sql.Literal(exposure.schema),
            sql.Literal(exposure.view),
        )
        .as_string()
    )


def drop_table(name: str) -> str:
    """Drops a foreign table."""
    return sql.SQL("drop foreign table if exists {}").format(sql.Identifier(EXPOSED_OBJECTS, name)).as_string()


def drop_server(name: str) -> str:
    """Drops a server and its mapping."""
    return sql.SQL("drop server if exists {} cascade").format(sql.Identifier(name)).as_string()


def view(wanted: ExposedTable, readers: tuple[str, ...]) -> View:
    """The view in front of the foreign table."""
    exposure = wanted.exposed.exposure
    names = [sql.Identifier(name) for name in ("id", "embedding", "metadata", *(c.name for c in exposure.columns))]
    select = sql.SQL("select {} from {}").format(sql.SQL(", ").join(names), wanted.relation.identifier)
    return View(
        exposure=exposure,
        kind=Kind.PRIMARY,
        select=select,
        digest=digest(wanted.name, readers),
        readers=readers,
    )
