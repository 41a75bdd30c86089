"""What is measured: an embedded cluster with one pod, the router on it, collections, and the callers' processes."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import podroute
import psycopg
from podroute_router.embedded import Cluster
from podroute_router.postgres.prepare import prepare
from podroute_router.postgres.scram import verifier
from psycopg import sql

from benchmarks.children import START_TIMEOUT_S, Child, launch_all, wait_ready
from benchmarks.closed_loop import BareCallers, ProcessCallers
from benchmarks.data import Dataset, record_id
from benchmarks.measuring import Case

POD = "alpha"
FLOOR, DIRECT, FDW, BARE = "empty handler", "podroute DIRECT", "podroute FDW", "bare psycopg"
CLIENT = "podroute DIRECT, client"
"""As a service calls it; the others of podroute's are called with ready-made bytes."""
PATHS = {DIRECT: "ACCESS_PATH_DIRECT", CLIENT: "ACCESS_PATH_DIRECT", FDW: "ACCESS_PATH_FDW"}


def numbered(position: int) -> Mapping[str, object]:
    """Metadata of a record: little, and different each."""
    return {"number": position}


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """A cluster and its router, running."""

    cluster: Cluster
    router: Child
    address: str
    callers: list[Child]
    """Processes of `caller`."""
    folder: Path
    """For files of this run."""
    stack: ExitStack
    """Closes what else is started; the router and the servers outlive it."""

    @property
    def postgres(self) -> list[int]:
        """Ids of the servers' first processes."""
        return [server.pid for server in self.cluster.servers.values()]

    def fill(
        self, name: str, dataset: Dataset, *, limit: int, metadata: Callable[[int], Mapping[str, object]] = numbered
    ) -> Filled:
        """Makes a collection with its HNSW index through the router, and leaves PostgreSQL nothing to do of its own.

        metadata: that of the record at a position.
        """
        with podroute.Client(self.address) as client:
            client.wait_until_serving()
            collection = client.create_collection(
                name, dimension=dataset.records.shape[1], metric=dataset.metric, pod=POD
            )
            client.upsert_many(name, ((record_id(i), vector, metadata(i)) for i, vector in enumerate(dataset.records)))
            client.create_index(name)
        pod = self.cluster.pods[POD]
        placement = collection.placement
        with psycopg.connect(pod.admin_conninfo(pod.database), autocommit=True) as connection:
            table = sql.Identifier(placement.table_schema, placement.table_name)
            connection.execute(sql.SQL("vacuum analyze {}").format(table))
            connection.execute("checkpoint")
            found = connection.execute(
                "select n.nspname::text, extversion from pg_extension e "
                "join pg_namespace n on n.oid = e.extnamespace where extname = 'vector'"
            ).fetchone()
        assert found is not None
        queries = self.folder / f"{name}.npy"
        np.save(queries, dataset.queries)
        database = {
            "dsn": pod.conninfo(self.cluster.router_role),
            "password_file": str(self.cluster.router_password_file),
            "schema": placement.table_schema,
            "table": placement.table_name,
            "vector_schema": found[0],
            "metric": dataset.metric,
            "limit": limit,
        }
        return Filled(stage=self, name=name, dataset=dataset, queries=queries, database=database)

    def drop(self, name: str) -> None:
        """Deletes a collection."""
        with podroute.Client(self.address) as client:
            client.delete_collection(name)

    def versions(self) -> dict[str, str]:
        """Of what is asked."""
        pod = self.cluster.pods[POD]
        with psycopg.connect(pod.admin_conninfo(pod.database)) as connection:
            found = connection.execute(
                "select current_setting('server_version'), extversion from pg_extension where extname = 'vector'"
            ).fetchone()
        assert found is not None
        return {"PostgreSQL": found[0], "vector extension": found[1]}


@dataclass(frozen=True, slots=True, kw_only=True)
class Filled:
    """A collection that is ready to be asked."""

    stage: Stage
    name: str
    dataset: Dataset
    queries: Path
    """File of the queries."""
    database: dict[str, Any]
    """How to reach its table without the router, and what `statement.nearest` needs."""

    def target(self, address: str, path: str, **more: Any) -> dict[str, Any]:
        """What a `caller` is told."""
        return {
            "address": address,
            "queries": str(self.queries),
            "collection": self.name,
            "path": path,
            "limit": self.database["limit"],
            **more,
        }

    def grpc_callers(self, address: str, path: str, **more: Any) -> ProcessCallers:
        """The Python callers of a gRPC server."""
        return ProcessCallers(
            self.stage.callers, {"target": self.target(address, path, **more)}, queries=len(self.dataset.queries)
        )

    def podroute(self, case: str, **more: Any) -> Case:
        """DIRECT or FDW."""
        callers = self.grpc_callers(self.stage.address, PATHS[case], **more)
        return Case(name=case, callers=callers, pids=[self.stage.router.pid])

    def start_bare(self, callers: int, **differently: Any) -> Child:
        """A `bare` process, ready.

        Args:
            callers: its connections.
            differently: replaces parts of `database`.
        """
        file = self.stage.folder / f"database-{len(list(self.stage.folder.iterdir()))}.json"
        file.write_text(json.dumps(self.database | differently), encoding="utf-8")
        bare = self.stage.stack.enter_context(Child("bare", str(self.queries), str(file), str(callers)))
        bare.hear(START_TIMEOUT_S)
        return bare

    def bare(self, process: Child, settings: dict[str, str] | None = None, name: str = BARE) -> Case:
        """A `bare` process as a case."""
        return Case(name=name, callers=BareCallers(process, settings), pids=[process.pid])


@contextmanager
def open_stage(*, callers: int, settings: Mapping[str, str] | None = None) -> Iterator[Stage]:
    """Starts everything on loopback, and stops everything at the end.

    Args:
        callers: processes with a gRPC caller.
        settings: of postgresql.conf, over those that fit the machine.
    """
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="podroute-bench-")))
        processes = launch_all(stack, "caller", count=callers)  # beside the servers
        cluster = stack.enter_context(Cluster(pods=[POD], ephemeral=True, fsync=False, settings=settings))
        prepare_cluster(cluster)
        config = cluster.config_values()
        config["router"] |= {"listen": "127.0.0.1:0", "log_level": "warning"}
        file = folder / "router.json"
        file.write_text(json.dumps(config), encoding="utf-8")
        router = stack.enter_context(Child("router", str(file)))
        address = router.hear(START_TIMEOUT_S)["address"]
        wait_ready(processes)
        yield Stage(
            cluster=cluster,
            router=router,
            address=address,
            callers=processes,
            folder=folder,
            stack=stack.enter_context(ExitStack()),
        )


def prepare_cluster(cluster: Cluster) -> None:
    """Makes roles and schemas on the primary and the pods."""
    secret = verifier(cluster.router_role, cluster.router_password_file.read_text(encoding="utf-8").strip())
    for server in cluster.servers.values():
        is_primary = server is cluster.primary
        admin = server.admin_conninfo(server.database)
        prepare(admin, role=cluster.router_role, verifier=secret, pod=not is_primary, primary=is_primary)
