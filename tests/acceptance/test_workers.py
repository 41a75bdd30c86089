"""Several workers share a port: all serve, one that dies is replaced, they drain in turn and keep to one budget."""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import signal
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import podroute
import psycopg
import pytest
import pytest_asyncio
from podroute_command import Running, run, started
from podroute_router.catalog import saved_map
from podroute_router.config import ConfigError, make_config
from podroute_router.embedded import Cluster, processes
from podroute_router.server import SAVED_MAP, Router
from podroute_router.workers.port import reserved
from servers import router_values

DIMENSION = 4
WORKERS = 2
CONNECTIONS, FDW_CONNECTIONS = 5, 3
POD = "beta"
REPLACED_S = 6.0
"""Two seconds on a machine that has nothing else to do."""
OWN_CONNECTION = [("grpc.use_local_subchannel_pool", 1), ("grpc.enable_retries", 0)]
"""Otherwise a process has one connection to a router, however many channels."""


@pytest_asyncio.fixture(scope="module")
async def collection(client: podroute.AsyncClient) -> AsyncIterator[str]:
    name = "workers"
    await client.create_collection(name, dimension=DIMENSION, pod=POD)
    await client.upsert(name, [("a", [1.0] * DIMENSION, {})])
    yield name
    await client.delete_collection(name)


def configuration(cluster: Cluster, folder: Path, *, port: int = 0) -> Path:
    """A file for two workers."""
    values = router_values(cluster)
    sections = {
        "router": {"listen": f"127.0.0.1:{port}", "workers": WORKERS, "log_level": "debug", "log_format": "json"}
        | {"state_dir": str(folder / "state")},
        "limits": {"connections_per_pod": CONNECTIONS, "fdw_connections_per_pod": FDW_CONNECTIONS}
        | {"calls_per_pod": 1024},
        "primary": values["primary"],
        **{f"pods.{name}": pod for name, pod in values["pods"].items()},
    }
    file = folder / "podroute.toml"
    lines = [
        line
        for section, keys in sections.items()
        for line in (f"[{section}]", *(f"{key} = {json.dumps(value)}" for key, value in keys.items()))
    ]
    file.write_text("\n".join(lines), encoding="utf-8")
    return file


class Service:
    """A running supervisor."""

    def __init__(self, running: Running, folder: Path) -> None:
        self.running = running
        self.folder = folder
        self.address = running.wait_for(r"serving on (\S+) with 2 workers", on_stderr=True)

    def lines(self) -> list[dict[str, Any]]:
        """What supervisor and workers have logged."""
        return [json.loads(line) for line in self.running.err.splitlines() if line.endswith("}")]

    def workers(self) -> list[int]:
        """The process ids of its workers."""
        supervisor = self.running.process.pid
        return sorted(pid for pid, process in processes.running().items() if process.parent == supervisor)

    def answering(self) -> set[int]:
        """The workers that have answered calls."""
        return {line["worker"] for line in self.lines() if line["event"] == "call"}

    def client(self) -> podroute.AsyncClient:
        """A client with a connection of its own."""
        return podroute.AsyncClient(self.address, options=OWN_CONNECTION)


@pytest.fixture(scope="module")
def others(cluster: Cluster, collection: str) -> set[int]:
    """The sessions that the pod has from elsewhere, such as the router of all tests."""
    return set(sessions(cluster))


@pytest.fixture(scope="module")
def service(cluster: Cluster, others: set[int], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """Two workers that serve."""
    folder = tmp_path_factory.mktemp("workers")
    with started("serve", "--config", configuration(cluster, folder)) as running:
        yield Service(running, folder)


@asynccontextmanager
async def clients_of_both(service: Service, collection: str) -> AsyncIterator[list[podroute.AsyncClient]]:
    """As many clients as it takes until both workers have answered one of them."""
    before = len(service.lines())
    async with AsyncExitStack() as stack:
        clients = []
        for _ in range(40):
            client = await stack.enter_async_context(service.client())
            clients.append(client)
            assert (await client.count(collection)).count == 1
            if {line["worker"] for line in service.lines()[before:] if line["event"] == "call"} == {1, 2}:
                break
        else:
            pytest.fail("one worker answered all of 40 connections")
        yield clients


@contextmanager
def admin(cluster: Cluster) -> Iterator[psycopg.Connection]:
    """A session on the pod."""
    server = cluster.pods[POD]
    with psycopg.connect(server.admin_conninfo(server.database), autocommit=True) as connection:
        yield connection


@contextmanager
def held_up(cluster: Cluster, collection: str) -> Iterator[None]:
    """Calls on the collection stay in flight meanwhile."""
    with admin(cluster) as connection, connection.transaction():
        connection.execute(f"lock table vecs.{collection} in access exclusive mode".encode())
        yield


def sessions(cluster: Cluster) -> dict[int, str]:
    """The program behind each session of the pod's, but for ours."""
    with admin(cluster) as connection:
        return dict(
            connection.execute(
                "select pid, application_name from pg_stat_activity"
                " where backend_type = 'client backend' and pid <> pg_backend_pid()"
            ).fetchall()
        )


async def until(holds: Callable[[], bool], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, f"not within {seconds:g} s"
        await asyncio.sleep(0.02)


async def test_every_worker_answers(service: Service, collection: str) -> None:
    async with clients_of_both(service, collection):
        assert service.answering() == {1, 2}


async def test_workers_keep_to_one_budget_of_connections(
    cluster: Cluster, others: set[int], service: Service, collection: str
) -> None:
    def of_service() -> Counter[str]:
        return Counter(name for pid, name in sessions(cluster).items() if pid not in others)

    async with clients_of_both(service, collection) as clients:
        for _, client, path in itertools.product(range(5), clients, ("direct", "fdw")):  # once known, queries use lanes
            await asyncio.gather(*(client.query(collection, [1.0] * DIMENSION, path=path) for _ in range(10)))
        with held_up(cluster, collection):
            calls = [
                asyncio.create_task(call(path=path, timeout=20))
                for client in clients
                for path in ("direct", "fdw")
                for _ in range(CONNECTIONS)
                for call in (
                    partial(client.count, collection),
                    partial(client.query, collection, [1.0] * DIMENSION),
                    partial(client.query, collection, [1.0] * DIMENSION, exact=True),
                    partial(client.fetch, collection, ["a"]),
                    partial(client.upsert, collection, [("a", [1.0] * DIMENSION, {})]),
                )
            ]
            most = Counter[str]()
            for _ in range(15):
                await asyncio.sleep(0.1)
                most |= of_service()
        await asyncio.gather(*calls)
    # Each worker has one more, by which it looks how the pod is.
    assert CONNECTIONS < most["podroute"] <= CONNECTIONS + WORKERS
    assert 0 < most["postgres_fdw"] <= FDW_CONNECTIONS


async def test_a_port_that_workers_share_is_taken_for_everybody_else(
    cluster: Cluster, service: Service, tmp_path: Path
) -> None:
    port = int(service.address.rpartition(":")[2])
    refused = await asyncio.to_thread(run, "serve", "--config", configuration(cluster, tmp_path, port=port))
    assert refused.returncode == 2
    assert refused.stderr.startswith(f"podroute: router.listen: cannot listen on 127.0.0.1:{port}; is the port taken?")
    values = router_values(cluster)
    values["router"]["listen"] = service.address
    with pytest.raises(ConfigError, match=r"router\.listen"):
        await Router.start(make_config(values))


async def test_a_worker_that_is_killed_is_replaced_and_takes_only_its_own_calls_with_it(
    cluster: Cluster, service: Service, collection: str
) -> None:
    before = service.workers()
    async with clients_of_both(service, collection) as clients:
        with held_up(cluster, collection):
            calls = [asyncio.create_task(client.count(collection, path="direct", timeout=20)) for client in clients]
            await asyncio.sleep(0.3)
            os.kill(before[0], signal.SIGKILL)
            killed_at = time.monotonic()
            await until(lambda: any(call.done() for call in calls), 2)
            async with service.client() as newcomer:
                await newcomer.wait_until_serving(5)
        ended = await asyncio.gather(*calls, return_exceptions=True)
    lost = [error for error in ended if isinstance(error, BaseException)]
    assert {type(error) for error in lost} == {podroute.Unavailable}
    assert len(lost) < len(ended)
    await until(lambda: "serves again" in service.running.err, killed_at + REPLACED_S - time.monotonic())
    after = service.workers()
    assert len(after) == WORKERS
    assert before[1] in after
    (line,) = [line for line in service.lines() if "takes its place" in line["event"]]
    assert f"(process {before[0]}) was killed by SIGKILL" in line["event"]
    async with clients_of_both(service, collection):
        pass


async def test_sigterm_drains_the_workers_in_turn_and_no_call_fails(
    cluster: Cluster, service: Service, collection: str
) -> None:
    async with clients_of_both(service, collection) as clients:
        with held_up(cluster, collection):
            calls = [asyncio.create_task(client.count(collection, timeout=20)) for client in clients]
            await asyncio.sleep(0.3)
            service.running.process.send_signal(signal.SIGTERM)
            await until(lambda: bool(stopping(service)), 5)
            # One drains; the port is served by the other.
            async with service.client() as newcomer:
                await newcomer.wait_until_serving(5)
            assert stopping(service) == [1]
        assert [(await call).count for call in calls] == [1] * len(calls)
    assert await asyncio.to_thread(service.running.process.wait, 10) == 0
    assert stopping(service) == [1, 2]
    state = Path(service.folder, "state", SAVED_MAP)
    assert collection in saved_map.load(state).collections


def stopping(service: Service) -> list[int]:
    """The workers that were told to stop, in order."""
    return [line["worker"] for line in service.lines() if line["event"] == "stopping" and "worker" in line]


async def test_workers_end_with_their_supervisor(cluster: Cluster, tmp_path: Path) -> None:
    with started("serve", "--config", configuration(cluster, tmp_path)) as running:
        service = Service(running, tmp_path)
        workers = service.workers()
        assert len(workers) == WORKERS
        running.end(signal.SIGKILL)
        await until(lambda: not processes.running().keys() & set(workers), 5)
    host, _, port = service.address.rpartition(":")
    with reserved(f"{host}:{port}"):
        pass


async def test_what_keeps_the_workers_from_starting_is_told_once(cluster: Cluster, tmp_path: Path) -> None:
    file = configuration(cluster, tmp_path)
    failed = await asyncio.to_thread(run, "serve", "--config", file, PODROUTE_ROUTER__DIRECT_BACKEND="none_such")
    assert failed.returncode == 2
    assert failed.stderr.count("none_such") == 1
    assert failed.stderr.startswith("podroute: router.direct_backend: ")
