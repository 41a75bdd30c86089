"""Where growth is measured: eight pods on two servers, catalogs of any number of collections, routers of each."""

from __future__ import annotations

import asyncio
import json
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import psycopg
from podroute_router.catalog.store import CHANNEL, CatalogStore
from podroute_router.config import Config, make_config
from podroute_router.domain import Deadline
from podroute_router.embedded import Cluster
from podroute_router.embedded.server import Server
from podroute_router.postgres.pool import Pool
from podroute_router.postgres.prepare import COLLECTIONS, OWNER, POD_OBJECTS, prepare
from podroute_router.postgres.scram import verifier
from psycopg import sql

from benchmarks.children import START_TIMEOUT_S, Child

SERVERS = ("east", "west")
"""Of the pods, unless they are on the primary's."""
PODS = tuple(f"pod_{number}" for number in range(8))
DIMENSION = 64
RECORDS = 20
"""In each collection that has a table."""
TABLES_A_TRANSACTION = 50
MIGRATION_S = 30.0


def collection_name(number: int) -> str:
    """The name of the collection of that number, and of its table."""
    return f"c{number:05d}"


def pod_of(number: int) -> str:
    """The pod that holds it."""
    return PODS[number % len(PODS)]


class GrowthStage:
    """Databases and routers. Collection `n` of every catalog is the same table on the same pod.

    Args:
        cluster: a started one; its pods' servers have the pods, or the primary's where there are none.
        folder: for the routers' files.
        children: ends the routers.
    """

    def __init__(self, cluster: Cluster, folder: Path, children: ExitStack) -> None:
        self._cluster = cluster
        self._servers = tuple(cluster.pods.values()) or (cluster.primary,)
        self._folder = folder
        self._children = children
        self._routers = 0
        self._secret = verifier(cluster.router_role, cluster.router_password_file.read_text(encoding="utf-8").strip())
        for server in self._servers:
            first, *others = (pod for pod in PODS if self._server(pod) is server)
            self._make_database(server, first)
            prepare(
                server.admin_conninfo(first), role=cluster.router_role, verifier=self._secret, pod=True, primary=False
            )
            for pod in others:
                self._make_database(server, pod, template=first)

    @property
    def postgres_pids(self) -> list[int]:
        """Ids of the servers' first processes."""
        return [server.pid for server in self._cluster.servers.values()]

    def make_tables(self, numbers: Sequence[int]) -> None:
        """Makes tables with records, and the views of the FDW path, by the statements that CreateCollection has."""
        with ThreadPoolExecutor(len(self._servers)) as threads:
            list(threads.map(lambda pod: self._make_tables_of(pod, [n for n in numbers if pod_of(n) == pod]), PODS))

    def make_catalog(self, collections: int) -> str:
        """A database with a catalog of so many collections and an empty FDW path; its name.

        The rows are those that CreateCollection writes, in bulk, each under a revision of its own.
        """
        name, server = f"catalog_{collections}", self._cluster.primary
        self._make_database(server, name)
        prepare(
            server.admin_conninfo(name),
            role=self._cluster.router_role,
            verifier=self._secret,
            pod=False,
            primary=True,
        )
        asyncio.run(_migrate(make_config(self.config(name))))
        with self.admin(name) as connection:
            connection.execute(
                "insert into podroute_catalog.pods (name, revision) select unnest(%s::text[]), 1", [list(PODS)]
            )
            with connection.cursor().copy(
                "copy podroute_catalog.collections (name, pod, table_schema, table_name, dimension, metric, "
                "generation, revision) from stdin"
            ) as copy:
                for number in range(collections):
                    table = collection_name(number)
                    copy.write_row((table, pod_of(number), COLLECTIONS, table, DIMENSION, "cosine", 1, number + 2))
            connection.execute("update podroute_catalog.revision set revision = %s", [collections + 1])
            connection.execute("analyze")
        return name

    def change(self, catalog: str, number: int) -> int:
        """Adds the collection of that number to a catalog as another router would, and returns the revision."""
        table = collection_name(number)
        with self.admin(catalog) as connection, connection.transaction():
            row = connection.execute(
                "update podroute_catalog.revision set revision = revision + 1 returning revision"
            ).fetchone()
            assert row is not None
            connection.execute(
                "insert into podroute_catalog.collections (name, pod, table_schema, table_name, dimension, metric, "
                "generation, revision) values (%s, %s, %s, %s, %s, 'cosine', 1, %s)",
                [table, pod_of(number), COLLECTIONS, table, DIMENSION, row[0]],
            )
            connection.execute("select pg_notify(%s, %s)", [CHANNEL, str(row[0])])
        return int(row[0])

    def count(self, catalog: str) -> tuple[int, int]:
        """How many foreign tables a catalog's database has, and its bytes on disk."""
        with self.admin(catalog) as connection:
            row = connection.execute(
                "select (select count(*) from pg_foreign_table), pg_database_size(current_database())"
            ).fetchone()
        assert row is not None
        return int(row[0]), int(row[1])

    def admin(self, database: str) -> psycopg.Connection[Any]:
        """The superuser's connection to a database of the primary's server."""
        return psycopg.connect(self._cluster.primary.admin_conninfo(database), autocommit=True)

    def config(
        self, catalog: str, *, fdw: bool = True, state_dir: Path | None = None, catalog_port: int | None = None
    ) -> dict[str, Any]:
        """A router's configuration.

        Args:
            catalog: database of the catalog, and of the FDW path.
            fdw: the catalog's database is also the primary.
            state_dir: keeps the saved map.
            catalog_port: where the catalog is believed to be instead, for one that is away.
        """
        role, password = self._cluster.router_role, {"password_file": str(self._cluster.router_password_file)}
        database = {"dsn": self._cluster.primary.conninfo(role, catalog), **password}
        values: dict[str, Any] = {
            "router": {"listen": "127.0.0.1:0", "log_level": "warning"},
            "primary" if fdw else "catalog": database,
            "pods": {pod: {"dsn": self._server(pod).conninfo(role, pod), **password} for pod in PODS},
        }
        if state_dir is not None:
            values["router"]["state_dir"] = str(state_dir)
        if catalog_port is not None:
            values["router"]["log_level"] = "error"  # it would warn of what is wanted
            values["catalog"] = {"dsn": f"host=127.0.0.1 port={catalog_port} dbname={catalog} user={role}", **password}
        return values

    def start_router(self, values: Mapping[str, Any], *, module: str = "router") -> tuple[Child, str]:
        """A router's process and its address, as soon as it accepts calls; it ends with the stage, or before."""
        file = self._folder / f"router_{self._routers}.json"
        self._routers += 1
        file.write_text(json.dumps(values), encoding="utf-8")
        child = self._children.enter_context(Child(module, str(file)))
        return child, child.hear(START_TIMEOUT_S)["address"]

    def folder(self, name: str) -> Path:
        """A folder of that name, for a router."""
        made = self._folder / name
        made.mkdir(exist_ok=True)
        return made

    def _server(self, pod: str) -> Server:
        return self._servers[PODS.index(pod) % len(self._servers)]

    def _make_database(self, server: Server, name: str, *, template: str = "template1") -> None:
        with psycopg.connect(server.admin_conninfo(), autocommit=True) as connection:
            connection.execute(
                sql.SQL("create database {} template {}").format(sql.Identifier(name), sql.Identifier(template))
            )

    def _make_tables_of(self, pod: str, numbers: Sequence[int]) -> None:
        with psycopg.connect(self._server(pod).admin_conninfo(pod), autocommit=True) as connection:
            connection.execute(sql.SQL("set role {}").format(sql.Identifier(OWNER)))
            connection.execute(
                sql.SQL(
                    "create temporary table records as select 'record-' || i as id, "
                    "(select array_agg(sin(i * j) order by j) from generate_series(1, {}) j)::vector({}) as vec, "
                    "jsonb_build_object('number', i) as metadata from generate_series(1, {}) i"
                ).format(sql.Literal(DIMENSION), sql.Literal(DIMENSION), sql.Literal(RECORDS))
            )
            for start in range(0, len(numbers), TABLES_A_TRANSACTION):
                names = [collection_name(number) for number in numbers[start : start + TABLES_A_TRANSACTION]]
                with connection.transaction():
                    connection.execute(sql.SQL(";").join([_table(name) for name in names]))


def _table(name: str) -> sql.Composed:
    return sql.SQL(
        "create table {table} (id text primary key, vec public.vector({dimension}) not null, "
        "metadata jsonb not null default '{{}}'::jsonb);"
        "create view {view} as select id::text as id, vec, metadata from {table};"
        "create rule upsert as on insert to {view} do instead insert into {table} (id, vec, metadata) "
        "values (new.id, new.vec, new.metadata) "
        "on conflict (id) do update set vec = excluded.vec, metadata = excluded.metadata;"
        "insert into {table} select id, vec, metadata from records;"
        "analyze {table}"
    ).format(
        table=sql.Identifier(COLLECTIONS, name),
        view=sql.Identifier(POD_OBJECTS, name),
        dimension=sql.Literal(DIMENSION),
    )


async def _migrate(config: Config) -> None:
    """Makes the catalog's own objects, as the first router does."""
    pool = Pool(config.catalog_database, size=1, linger_s=1.0, connect_timeout_s=MIGRATION_S, facts={})
    try:
        await CatalogStore(pool).migrate(Deadline.after(MIGRATION_S))
    finally:
        await pool.close()


@contextmanager
def open_growth_stage(servers: Sequence[str] = SERVERS) -> Iterator[GrowthStage]:
    """Starts the servers on loopback, and stops servers and routers at the end.

    Args:
        servers: of the pods; none puts the pods on the primary's server, which starts sooner.
    """
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="podroute-bench-")))
        settings = {"max_connections": "400", "autovacuum": "off", "shared_buffers": "512MB"}
        cluster = stack.enter_context(Cluster(pods=servers, ephemeral=True, fsync=False, settings=settings))
        yield GrowthStage(cluster, folder, stack)
