"""The router's password is changed under load, in place, and no call fails."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import grpc
import podroute
import psycopg
import pytest
from podroute.errors import from_rpc_error
from podroute.v1 import vector_service_pb2, vector_service_pb2_grpc
from podroute_router.embedded import Cluster, Server
from podroute_router.embedded.server import new_password
from psycopg import sql
from servers import kept_verifier, prepared_cluster, router_values

from .conftest import DIRECT, FDW
from .report import Report, Result
from .routers import router_process
from .scale import Scale

COLLECTION = "rotating"
DIMENSION = 4


@pytest.fixture(scope="module")
def rotating() -> Iterator[Cluster]:
    """A cluster whose passwords may be changed."""
    with prepared_cluster() as cluster:
        yield cluster


class Load:
    """Callers of both paths that write and read in turn. Where they grow in number new sessions are needed."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._stub = vector_service_pb2_grpc.VectorServiceStub(channel)
        self._callers: list[asyncio.Task[None]] = []
        self._ending = False
        self.served = 0
        self.failures: Counter[str] = Counter()

    async def grow(self) -> None:
        """Two more callers of each path; returns when they have had time for some calls."""
        for path in (DIRECT, FDW) * 2:
            self._callers.append(asyncio.create_task(self._call(path, len(self._callers))))
        await asyncio.sleep(0.4)

    async def end(self) -> None:
        self._ending = True
        await asyncio.gather(*self._callers)

    async def _call(self, path: int, number: int) -> None:
        write = vector_service_pb2.UpsertRequest(collection=COLLECTION, path=path)
        write.records.add(id=str(number)).vector.values.extend([float(number)] * DIMENSION)
        read = vector_service_pb2.QueryRequest(collection=COLLECTION, path=path, limit=2)
        read.vector.values.extend([1.0] * DIMENSION)
        while not self._ending:
            for rpc, request in ((self._stub.Upsert, write), (self._stub.Query, read)):
                try:
                    await rpc(request, timeout=20)
                except grpc.aio.AioRpcError as error:
                    self.failures[from_rpc_error(error).reason] += 1
                else:
                    self.served += 1


@asynccontextmanager
async def loaded(cluster: Cluster, password_file: Path) -> AsyncIterator[Load]:
    """A router that reads the file, and the first callers. They try nothing again."""
    values = router_values(cluster)
    for address in (values["primary"], *(values["pods"][name] for name in cluster.pods)):
        address["password_file"] = str(password_file)
    values["limits"] = {"connections_per_pod": 24, "fdw_connections_per_pod": 24}
    with router_process(values, password_file.parent) as router:
        async with (
            podroute.AsyncClient(router.address) as client,
            grpc.aio.insecure_channel(router.address, [("grpc.enable_retries", 0)]) as channel,
        ):
            while "alpha" not in (await client.shard_map()).pods:
                await asyncio.sleep(0.02)
            await client.create_collection(COLLECTION, dimension=DIMENSION, pod="alpha")
            load = Load(channel)
            await load.grow()
            yield load
            await load.end()
            await client.delete_collection(COLLECTION)


def replace(file: Path, *passwords: str) -> None:
    """At once: a reader of a file that is written into may find half of it."""
    file.with_suffix(".new").write_text("".join(f"{each}\n" for each in passwords), encoding="utf-8")
    file.with_suffix(".new").replace(file)


async def change_password(cluster: Cluster, server: Server, password: str) -> None:
    """As `podroute pods prepare` does."""
    secret = await asyncio.to_thread(kept_verifier, cluster.router_role, password)
    statement = sql.SQL("alter role {} password {}").format(sql.Identifier(cluster.router_role), sql.Literal(secret))
    with psycopg.connect(server.admin_conninfo(), autocommit=True) as admin:
        admin.execute(statement)


def sessions(cluster: Cluster) -> int:
    """How many the router, and the primary on its behalf, have on the pod."""
    with psycopg.connect(cluster.pods["alpha"].admin_conninfo(), autocommit=True) as admin:
        found = admin.execute("select count(*) from pg_stat_activity where usename = %s", [cluster.router_role])
        [(count,)] = found.fetchall()
    return int(count)


async def test_a_change_of_the_password_under_load_fails_no_call(
    rotating: Cluster, report: Report, scale: Scale, tmp_path: Path
) -> None:
    """As docs/operations.md says: a second line in the file, the roles, then the new line alone. After each step the
    load grows, so that new sessions have to be opened in between. Controls: the next test; without `LoginsAwaited`
    calls over FDW fail with POD_REFUSES_PRIMARY.
    """
    file = tmp_path / "password"
    rounds = int(scale.pick(1, 5))
    current = rotating.router_password_file.read_text(encoding="utf-8").strip()
    file.write_text(f"{current}\n", encoding="utf-8")
    opened = 0
    served, failures = 0, Counter[str]()
    for _ in range(rounds):
        async with loaded(rotating, file) as load:
            new = new_password()
            before = sessions(rotating)
            replace(file, current, new)
            await load.grow()
            for server in (rotating.pods["alpha"], rotating.pods["beta"], rotating.primary):
                await change_password(rotating, server, new)
                await load.grow()
            replace(file, new)
            current = new
            await load.grow()
            opened += sessions(rotating) - before
        served += load.served
        failures += load.failures
    rotating.router_password_file.write_text(f"{current}\n", encoding="utf-8")
    report.add(
        Result(
            promise="A pod's password is changed under load without a failed call",
            load=f"{served:,} calls over both paths, {opened} new sessions on the pod",
            faults=f"{rounds} changes, in place; control: without the second line calls fail",
            figure=f"{failures.total()} failed",
            bound="0",
            held=not failures,
        )
    )
    assert opened >= 6 * rounds, "no new session was needed"
    assert served > 100
    assert failures == Counter()


async def test_without_the_second_line_calls_fail_meanwhile(rotating: Cluster, tmp_path: Path) -> None:
    file = tmp_path / "password"
    old = rotating.router_password_file.read_text(encoding="utf-8").strip()
    file.write_text(f"{old}\n", encoding="utf-8")
    new = new_password()
    async with loaded(rotating, file) as load:
        for server in rotating.servers.values():
            await change_password(rotating, server, new)
        for _ in range(10):  # until a new session is needed
            await load.grow()
            if load.failures:
                break
        replace(file, new)
    rotating.router_password_file.write_text(f"{new}\n", encoding="utf-8")
    assert "SESSION_REFUSED" in load.failures
