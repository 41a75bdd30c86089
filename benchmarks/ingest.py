"""How fast records are written: `python -m benchmarks.ingest`. Under a minute; prints rows per second and ratios.

The same rows, into an empty table without an index but its primary key, one process that sends, in turn within each
round: bare psycopg (`executemany`, pipelined, binary, prepared, a transaction for each batch) straight to the pod, and
`Client.upsert_many` over DIRECT and over FDW. All of them replace a record that has the same id. The medians of all
rounds make the ratios; with two cores, sender, router and servers share them.
"""

from __future__ import annotations

import json
import statistics
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import podroute
import psycopg
from pgvector.psycopg import register_vector
from podroute.values import Path as AccessPath
from podroute_router.embedded import Cluster
from podroute_router.postgres.prepare import prepare
from podroute_router.postgres.scram import verifier

from benchmarks.children import START_TIMEOUT_S, Child
from benchmarks.data import make_dataset, record_id

POD = "alpha"
RECORDS = 20_000
DIMENSION = 384
BATCH = 1000
ROUNDS = 5
EXECUTEMANY, DIRECT, FDW = "executemany", "podroute DIRECT", "podroute FDW"

Row = tuple[str, Any, dict[str, int]]


def main() -> None:
    """Measures and prints."""
    vectors = make_dataset(records=RECORDS, dimension=DIMENSION, queries=1, neighbours=1).records
    rows: list[Row] = [(record_id(i), vector, {"number": i}) for i, vector in enumerate(vectors)]
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="podroute-bench-")))
        cluster = stack.enter_context(Cluster(pods=[POD], ephemeral=True, fsync=False))
        _prepare(cluster)
        config = cluster.config_values()
        config["router"] |= {"listen": "127.0.0.1:0", "log_level": "warning"}
        (folder / "router.json").write_text(json.dumps(config), encoding="utf-8")
        router = stack.enter_context(Child("router", str(folder / "router.json")))
        client = stack.enter_context(podroute.Client(router.hear(START_TIMEOUT_S)["address"]))
        client.wait_until_serving()
        pod = cluster.pods[POD]
        connection = stack.enter_context(
            psycopg.connect(pod.admin_conninfo(pod.database), autocommit=True, cursor_factory=psycopg.RawCursor)
        )
        register_vector(connection)
        senders: dict[str, Callable[[list[Row]], float]] = {
            EXECUTEMANY: lambda rows: _by_executemany(connection, rows),
            DIRECT: lambda rows: _by_podroute(client, rows, "direct"),
            FDW: lambda rows: _by_podroute(client, rows, "fdw"),
        }
        for send in senders.values():  # connections, statements, caches
            send(rows[:BATCH])
        rates: dict[str, list[float]] = {name: [] for name in senders}
        for _ in range(ROUNDS):
            for name, send in senders.items():
                rates[name].append(len(rows) / send(rows))
    for name, measured in rates.items():
        shown = " ".join(f"{rate:,.0f}" for rate in measured)
        print(f"{name:16} {statistics.median(measured):9,.0f} rows/s   rounds: {shown}")
    median = {name: statistics.median(measured) for name, measured in rates.items()}
    ratios = {
        "ingest_over_executemany": round(median[DIRECT] / median[EXECUTEMANY], 3),
        "fdw_ingest_over_direct": round(median[FDW] / median[DIRECT], 3),
    }
    print(json.dumps({"records": RECORDS, "dimension": DIMENSION, "batch": BATCH, "ratios": ratios}))


def _prepare(cluster: Cluster) -> None:
    secret = verifier(cluster.router_role, cluster.router_password_file.read_text(encoding="utf-8").strip())
    for server in cluster.servers.values():
        is_primary = server is cluster.primary
        admin = server.admin_conninfo(server.database)
        prepare(admin, role=cluster.router_role, verifier=secret, pod=not is_primary, primary=is_primary)


def _by_executemany(connection: psycopg.Connection[Any], rows: list[Row]) -> float:
    """Seconds that it takes."""
    connection.execute(b"drop table if exists bare")
    connection.execute(
        f"create table bare (id text primary key, vec vector({DIMENSION}) not null, metadata jsonb not null)".encode()
    )
    statement = (
        "insert into bare (id, vec, metadata) values ($1, $2, $3::jsonb) "
        "on conflict (id) do update set vec = excluded.vec, metadata = excluded.metadata"
    )
    began = time.perf_counter()
    with connection.cursor(binary=True) as cursor:
        for start in range(0, len(rows), BATCH):
            batch = [(name, vector, json.dumps(metadata)) for name, vector, metadata in rows[start : start + BATCH]]
            with connection.transaction():
                cursor.executemany(statement, batch)
    return time.perf_counter() - began


def _by_podroute(client: podroute.Client, rows: list[Row], path: AccessPath) -> float:
    """Seconds that it takes."""
    client.create_collection("ingest", dimension=DIMENSION, pod=POD)
    began = time.perf_counter()
    written = client.upsert_many("ingest", rows, batch=BATCH, path=path)
    seconds = time.perf_counter() - began
    assert written.record_count == len(rows)
    client.delete_collection("ingest")
    return seconds


if __name__ == "__main__":
    main()
