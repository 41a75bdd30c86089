"""What is measured: an embedded cluster with one filled pod, the router, its peers, and the callers' processes."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import podroute
import psycopg
from podroute_router.embedded import Cluster
from podroute_router.postgres.prepare import prepare
from podroute_router.postgres.scram import verifier
from psycopg import sql

from benchmarks.children import START_TIMEOUT_S, Child
from benchmarks.data import Dataset, record_id
from benchmarks.load import BareCallers, GrpcCallers, first_query
from benchmarks.measuring import Case

POD = "alpha"
COLLECTION = "bench"
FLOOR, DIRECT, FDW, BARE = "empty handler", "podroute DIRECT", "podroute FDW", "bare psycopg"

RECORDS_A_CALL = 1000
FILL_TIMEOUT_S = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """All cases, ready to be measured."""

    cases: list[Case]
    postgres: list[int]
    """Ids of the servers' first processes."""
    versions: dict[str, str]


@contextmanager
def open_stage(dataset: Dataset, *, limit: int, callers: int) -> Iterator[Stage]:
    """Starts everything on loopback, fills the collection, and stops everything at the end.

    Args:
        dataset: what goes into the collection, and the queries.
        limit: matches a query asks for.
        callers: most callers at a time.
    """
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="podroute-bench-")))
        cluster = stack.enter_context(Cluster(pods=[POD], ephemeral=True, fsync=False))
        prepare_cluster(cluster)
        config = cluster.config_values()
        config["router"] |= {"listen": "127.0.0.1:0", "log_level": "warning"}
        router = stack.enter_context(Child("router", str(_write(folder / "router.json", config))))
        address = router.hear(START_TIMEOUT_S)["address"]
        placement = _fill(address, dataset)
        versions = _settle(cluster, placement)

        queries = folder / "queries.npy"
        np.save(queries, dataset.queries)
        pod_file = _write(
            folder / "pod.json",
            config["pods"][POD]
            | {"schema": placement.table_schema, "table": placement.table_name, "limit": limit}
            | {"vector_schema": versions.pop("vector schema")},
        )
        floor = stack.enter_context(Child("floor", str(limit)))
        bare = stack.enter_context(Child("bare", str(queries), str(pod_file), str(callers)))
        processes = [
            stack.enter_context(Child("caller", str(queries), str(first_query(number, callers, len(dataset.queries)))))
            for number in range(callers)
        ]
        floor_address = floor.hear(START_TIMEOUT_S)["address"]
        for child in (bare, *processes):
            child.hear(START_TIMEOUT_S)

        def grpc_case(name: str, server: Child, at: str, path: str) -> Case:
            target = {"address": at, "collection": COLLECTION, "path": f"ACCESS_PATH_{path}", "limit": limit}
            return Case(name=name, callers=GrpcCallers(processes, target), pid=server.pid)

        yield Stage(
            cases=[
                grpc_case(FLOOR, floor, floor_address, "DIRECT"),
                grpc_case(DIRECT, router, address, "DIRECT"),
                grpc_case(FDW, router, address, "FDW"),
                Case(name=BARE, callers=BareCallers(bare), pid=bare.pid),
            ],
            postgres=[server.pid for server in cluster.servers.values()],
            versions=versions,
        )


def _write(path: Path, values: object) -> Path:
    path.write_text(json.dumps(values), encoding="utf-8")
    return path


def prepare_cluster(cluster: Cluster) -> None:
    """Makes roles and schemas on the primary and the pods."""
    secret = verifier(cluster.router_role, cluster.router_password_file.read_text(encoding="utf-8").strip())
    for server in cluster.servers.values():
        is_primary = server is cluster.primary
        admin = server.admin_conninfo(server.database)
        prepare(admin, role=cluster.router_role, verifier=secret, pod=not is_primary, primary=is_primary)


def _fill(address: str, dataset: Dataset) -> podroute.Placement:
    """Makes the collection and its HNSW index through the router."""
    with podroute.Client(address, timeout_s=FILL_TIMEOUT_S) as client:
        client.wait_until_serving()
        collection = client.create_collection(COLLECTION, dimension=dataset.records.shape[1], pod=POD)
        for start in range(0, len(dataset.records), RECORDS_A_CALL):
            vectors = dataset.records[start : start + RECORDS_A_CALL]
            client.upsert(
                COLLECTION, [(record_id(start + i), vector, {"number": start + i}) for i, vector in enumerate(vectors)]
            )
        client.create_index(COLLECTION)
        return collection.placement


def _settle(cluster: Cluster, placement: podroute.Placement) -> dict[str, str]:
    """Leaves PostgreSQL nothing to do of its own during the measurements; returns versions and pgvector's schema."""
    server = cluster.pods[POD]
    with psycopg.connect(server.admin_conninfo(server.database), autocommit=True) as connection:
        table = sql.Identifier(placement.table_schema, placement.table_name)
        connection.execute(sql.SQL("vacuum analyze {}").format(table))
        connection.execute("checkpoint")
        row = connection.execute(
            "select current_setting('server_version'), extversion, nspname::text from pg_extension e "
            "join pg_namespace n on n.oid = e.extnamespace where extname = 'vector'"
        ).fetchone()
    assert row is not None
    return {"PostgreSQL": row[0], "vector extension": row[1], "vector schema": row[2]}
