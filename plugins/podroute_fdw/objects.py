"""What the FDW path needs on the primary, as values: servers, user mappings, foreign tables. Pure.

Of each collection there are two foreign tables: `<name>` over the table, for reads and deletes, and `<name>:upsert`
over the view whose rule upserts, because ON CONFLICT does not work on a foreign table and DELETE does not work on one
over a view. Of each pod there is `<pod>:control`. A colon is in no collection's name, so the names never meet.
"""

from __future__ import annotations

import math
from collections.abc import Container, Mapping
from dataclasses import dataclass, field

from podroute_router.config import Config, Database
from podroute_router.domain import Collection
from podroute_router.postgres.access import SESSION_SETTINGS, UNCOMMITTED_S
from podroute_router.postgres.prepare import CONTROL_VIEW, FDW_OBJECTS, POD_OBJECTS
from podroute_router.postgres.vector_texts import COMPONENT_BYTES
from podroute_router.sql.statements import Relation, vector_type
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict

PASSTHROUGH_SERVER_VERSION = 180000
"""From here on postgres_fdw can log in with the session's own SCRAM keys, and stores no password."""
STATISTICS_SERVER_VERSION = 180000
"""From here on a foreign table can be told how many rows to assume."""

BATCH_BYTES = 512 * 1024
"""Of records that an upsert sends to the pod at a time. With more, both servers work outside of their caches; with
fewer, there are more round trips."""
MOST_IN_BATCH = 1000
"""A statement has 65,535 parameters at most, three for each record."""

ASSUMED_ROWS = 1e9
"""So many rows foreign tables are told to have."""

_ADDRESS = (
    "host",
    "hostaddr",
    "port",
    "dbname",
    "sslmode",
    "sslrootcert",
    "sslnegotiation",
    "channel_binding",
    "target_session_attrs",
    "load_balance_hosts",
)
"""What a server takes over from a pod's DSN: where it is, never who logs in."""


@dataclass(frozen=True, slots=True)
class Server:
    """A foreign server and the router's user mapping on it."""

    name: str
    options: Mapping[str, str]
    mapping: Mapping[str, str] = field(repr=False)

    def without_secret(self) -> Server:
        """The same for a person to read."""
        shown = {key: "..." if key == "password" else value for key, value in self.mapping.items()}
        return Server(self.name, self.options, shown)


@dataclass(frozen=True, slots=True)
class ForeignTable:
    """A foreign table in the schema `podroute_fdw`.

    `dimension` is that of its vectors; None where it has no column of their type. `batch_size`: it takes records as
    text, and sends so many at a time.
    """

    name: str
    server: str
    remote: Relation
    dimension: int | None = None
    batch_size: int | None = None

    @property
    def relation(self) -> Relation:
        """Its place on the primary."""
        return Relation(FDW_OBJECTS, self.name)


def server_name(pod: str) -> str:
    """The pod's foreign server; unique in the database."""
    return f"podroute_{pod}"


def read_table(collection: str) -> Relation:
    """The foreign table that reads and deletes go through."""
    return Relation(FDW_OBJECTS, collection)


def upsert_table(collection: str) -> Relation:
    """The foreign table that upserts go through."""
    return Relation(FDW_OBJECTS, f"{collection}:upsert")


def control_table(pod: str) -> Relation:
    """The foreign table that sets settings on the pod."""
    return Relation(FDW_OBJECTS, f"{pod}:control")


def is_of(table: str, collections: Container[str], pods: Container[str]) -> bool:
    """Whether a foreign table of that name is one of these collections' or pods'."""
    name, colon, kind = table.partition(":")
    if kind == "control":
        return name in pods
    return name in collections and (kind == "upsert" or not colon)


def server(config: Config, pod: str, *, primary: Database, server_version: int) -> Server:
    """The server of a pod as the configuration wants it.

    Logs in by SCRAM pass-through where the primary can and both sides have the same login; the mapping then holds no
    password.
    """
    address = config.pods[pod]
    direct = conninfo_to_dict(address.dsn)
    seen_from_primary = conninfo_to_dict(address.primary_dsn) if address.primary_dsn else direct
    login, secret = str(direct.get("user", "")), address.secret()
    same_login = (login, secret) == (conninfo_to_dict(primary.dsn).get("user"), primary.secret())
    passthrough = server_version >= PASSTHROUGH_SERVER_VERSION and same_login
    settings = SESSION_SETTINGS | {
        # postgres_fdw reads through a cursor. Where it ships no LIMIT the pod should still plan for the first rows.
        "cursor_tuple_fraction": "0.0001",
        "client_connection_check_interval": "500ms",
        # A primary that froze before a COMMIT keeps no record locked; longer than the primary's own sessions have.
        "idle_in_transaction_session_timeout": f"{UNCOMMITTED_S + 3}s",
        "tcp_keepalives_idle": "30",
        "tcp_keepalives_interval": "5",
        "tcp_keepalives_count": "3",
        "jit": "off",
        "statement_timeout": f"{math.ceil(config.timeouts.statement_s * 1000)}",
    }
    options = {key: str(seen_from_primary[key]) for key in _ADDRESS if seen_from_primary.get(key)} | {
        "extensions": "vector",
        "batch_size": "1000",
        "fetch_size": "1000",
        # Rows that travel are what costs. With local sorts switched off (see backend) this ships ORDER BY and LIMIT
        # whatever the planner believes about the size of the table.
        "fdw_startup_cost": "100",
        "fdw_tuple_cost": "10",
        "connect_timeout": str(max(2, math.ceil(config.timeouts.connect_s))),
        "keepalives_idle": "30",
        "keepalives_interval": "5",
        "keepalives_count": "3",
        "options": " ".join(f"-c {name}={value}" for name, value in settings.items()),
    }
    if passthrough:
        options["use_scram_passthrough"] = "true"
    mapping = {"user": login}
    if not passthrough and secret is not None:
        mapping["password"] = secret
    return Server(server_name(pod), options, mapping)


def probe(pod: str) -> sql.Composed:
    """A statement that the pod has to answer."""
    return sql.SQL("select name from {}").format(control_table(pod).identifier)


def control(pod: str) -> ForeignTable:
    """The foreign table over a pod's control view."""
    return ForeignTable(control_table(pod).name, server_name(pod), Relation(POD_OBJECTS, CONTROL_VIEW))


def tables(collection: Collection) -> tuple[ForeignTable, ForeignTable]:
    """The two foreign tables of a collection."""
    place, name = collection.placement, collection.name
    base, view = Relation(place.schema, place.table), Relation(POD_OBJECTS, name)
    return (
        ForeignTable(read_table(name).name, server_name(place.pod), base, collection.dimension),
        ForeignTable(
            upsert_table(name).name, server_name(place.pod), view, batch_size=_batch_size(collection.dimension)
        ),
    )


def _batch_size(dimension: int) -> int:
    return min(max(1, BATCH_BYTES // (COMPONENT_BYTES * dimension)), MOST_IN_BATCH)


def create_server(wanted: Server) -> str:
    """Makes the server."""
    return (
        sql.SQL("create server {} foreign data wrapper postgres_fdw options ({})")
        .format(sql.Identifier(wanted.name), _options(wanted.options))
        .as_string()
    )


def alter_server(wanted: Server, standing: Mapping[str, str]) -> str:
    """Gives a standing server the options wanted."""
    return (
        sql.SQL("alter server {} options ({})")
        .format(sql.Identifier(wanted.name), _changes(wanted.options, standing))
        .as_string()
    )


def create_mapping(wanted: Server, role: str) -> str:
    """Makes the user mapping of the role."""
    return (
        sql.SQL("create user mapping for {} server {} options ({})")
        .format(sql.Identifier(role), sql.Identifier(wanted.name), _options(wanted.mapping))
        .as_string()
    )


def alter_mapping(wanted: Server, role: str, standing: Mapping[str, str]) -> str:
    """Gives a standing user mapping the options wanted."""
    return (
        sql.SQL("alter user mapping for {} server {} options ({})")
        .format(sql.Identifier(role), sql.Identifier(wanted.name), _changes(wanted.mapping, standing))
        .as_string()
    )


def create_table(wanted: ForeignTable, vector_schema: str) -> str:
    """Makes the foreign table."""
    options = {"schema_name": wanted.remote.schema, "table_name": wanted.remote.name}
    columns: sql.Composable
    if wanted.batch_size is not None:
        # Whatever their type here, postgres_fdw sends values as text; the pod gives them their types.
        columns = sql.SQL("id text not null, vec text not null, metadata text not null")
        options["batch_size"] = str(wanted.batch_size)
    elif wanted.dimension is None:
        columns = sql.SQL("name text, value text")
    else:
        columns = sql.SQL("id text not null, vec {}({}) not null, metadata jsonb not null").format(
            vector_type(vector_schema), sql.Literal(wanted.dimension)
        )
    return (
        sql.SQL("create foreign table {} ({}) server {} options ({})")
        .format(wanted.relation.identifier, columns, sql.Identifier(wanted.server), _options(options))
        .as_string()
    )


def assume_many_rows(wanted: ForeignTable) -> str:
    """Makes the planner ship every LIMIT: it keeps one that is above the rows that it assumes, a thousand at first."""
    return (
        sql.SQL(
            "select pg_catalog.pg_restore_relation_stats('schemaname', {}, 'relname', {}, "
            "'relpages', 10000000::int4, 'reltuples', {}::float4)"
        )
        .format(sql.Literal(wanted.relation.schema), sql.Literal(wanted.name), sql.Literal(ASSUMED_ROWS))
        .as_string()
    )


def drop_table(name: str) -> str:
    """Drops a foreign table."""
    return sql.SQL("drop foreign table if exists {}").format(sql.Identifier(FDW_OBJECTS, name)).as_string()


def _options(options: Mapping[str, str]) -> sql.Composable:
    return sql.SQL(", ").join(
        sql.SQL("{} {}").format(sql.Identifier(key), sql.Literal(value)) for key, value in options.items()
    )


def _changes(wanted: Mapping[str, str], standing: Mapping[str, str]) -> sql.Composable:
    """The options of an ALTER that turns `standing` into `wanted`."""
    parts = [sql.SQL("drop {}").format(sql.Identifier(key)) for key in standing if key not in wanted]
    for key, value in wanted.items():
        if standing.get(key) != value:
            verb = sql.SQL("set" if key in standing else "add")
            parts.append(sql.SQL("{} {} {}").format(verb, sql.Identifier(key), sql.Literal(value)))
    return sql.SQL(", ").join(parts)
