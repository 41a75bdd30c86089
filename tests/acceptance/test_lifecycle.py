"""A router starts, keeps serving while its catalog is away, tells of its health, and stops without failing calls."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import podroute
import psycopg
import pytest
import pytest_asyncio
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from podroute_router.catalog.saved_map import SavedMapError
from podroute_router.config import ConfigError, make_config
from podroute_router.embedded import Cluster
from podroute_router.errors import PodrouteError
from podroute_router.server import SAVED_MAP, Router
from servers import router_values

DIMENSION = 4
SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


@asynccontextmanager
async def running(values: dict[str, Any]) -> AsyncIterator[Router]:
    router = await Router.start(make_config(values))
    try:
        yield router
    finally:
        await router.stop(grace_s=1)


@pytest_asyncio.fixture
async def collection(client: podroute.AsyncClient) -> AsyncIterator[str]:
    name = "lifecycle"
    await client.create_collection(name, dimension=DIMENSION, pod="beta")
    await client.upsert(name, [("a", [1.0] * DIMENSION, {})])
    yield name
    await client.delete_collection(name)


@asynccontextmanager
async def no_logins(cluster: Cluster) -> AsyncIterator[None]:
    """The catalog's database takes no one in, and ends who is in; the pods serve."""
    with psycopg.connect(cluster.primary.admin_conninfo(), autocommit=True) as admin:
        admin.execute(f"alter database {cluster.primary.database} allow_connections false".encode())
        try:
            admin.execute(
                "select pg_terminate_backend(pid, 2000) from pg_stat_activity where datname = %s",
                (cluster.primary.database,),
            )
            yield
        finally:
            admin.execute(f"alter database {cluster.primary.database} allow_connections true".encode())


async def health(address: str, service: str) -> int:
    async with grpc.aio.insecure_channel(address) as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        return (await stub.Check(health_pb2.HealthCheckRequest(service=service))).status


async def until_health(address: str, service: str, wanted: int) -> None:
    for _ in range(100):
        try:
            if await health(address, service) == wanted:
                return
        except grpc.aio.AioRpcError as error:
            if error.code() is not grpc.StatusCode.NOT_FOUND:
                raise
        await asyncio.sleep(0.05)
    pytest.fail(f"{service!r} did not become {wanted}")


async def test_a_router_starts_from_its_saved_map_while_the_catalog_is_away(
    cluster: Cluster, collection: str, tmp_path: Path
) -> None:
    values = router_values(cluster)
    values["router"]["state_dir"] = str(tmp_path)
    async with running(values):
        pass
    assert (tmp_path / SAVED_MAP).exists()
    async with no_logins(cluster), running(values) as router, podroute.AsyncClient(router.address) as client:
        assert (await client.count(collection, path="direct")).count == 1
        with pytest.raises(podroute.Unavailable):
            await client.create_collection("impossible", dimension=DIMENSION, timeout=3)


async def test_a_router_serves_on_while_the_catalog_is_away_and_hears_of_it_after(
    cluster: Cluster, collection: str
) -> None:
    async with running(router_values(cluster)) as router, podroute.AsyncClient(router.address) as client:
        async with no_logins(cluster):
            assert (await client.count(collection)).count == 1
        for _ in range(100):
            try:
                await client.create_collection("afterwards", dimension=DIMENSION, pod="beta")
                break
            except podroute.Unavailable:
                await asyncio.sleep(0.05)
        else:
            pytest.fail("the catalog was not used again")
        assert (await client.upsert("afterwards", [("a", [1.0] * DIMENSION, {})], path="fdw")).upserted_count == 1
        await client.delete_collection("afterwards")


async def test_without_catalog_and_saved_map_a_router_does_not_start(cluster: Cluster) -> None:
    async with no_logins(cluster):
        with pytest.raises(PodrouteError):
            await Router.start(make_config(router_values(cluster)))


async def test_a_saved_map_that_was_damaged_is_refused_loudly(cluster: Cluster, tmp_path: Path) -> None:
    values = router_values(cluster)
    values["router"]["state_dir"] = str(tmp_path)
    (tmp_path / SAVED_MAP).write_bytes(b"{}")
    async with no_logins(cluster):
        with pytest.raises(SavedMapError, match=SAVED_MAP):
            await Router.start(make_config(values))


async def test_a_taken_port_is_told(cluster: Cluster) -> None:
    values = router_values(cluster)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        values["router"]["listen"] = f"127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(ConfigError, match=r"router\.listen"):
            await Router.start(make_config(values))


async def test_health_tells_of_the_whole_and_of_each_pod(cluster: Cluster) -> None:
    values = router_values(cluster)
    values["timeouts"] = {"probe_interval_s": 0.2}
    async with running(values) as router:
        await until_health(router.address, "", SERVING)
        for pod in values["pods"]:
            await until_health(router.address, f"pod:{pod}", SERVING)
        cluster.pods["beta"].freeze()
        try:
            await until_health(router.address, "pod:beta", NOT_SERVING)
            assert await health(router.address, "pod:alpha") == SERVING
            assert await health(router.address, "") == SERVING
        finally:
            cluster.pods["beta"].thaw()
        await until_health(router.address, "pod:beta", SERVING)


async def services(address: str) -> set[str]:
    async with grpc.aio.insecure_channel(address) as channel:
        stub = reflection_pb2_grpc.ServerReflectionStub(channel)
        calls = stub.ServerReflectionInfo(iter([reflection_pb2.ServerReflectionRequest(list_services="*")]))
        async for answer in calls:
            return {service.name for service in answer.list_services_response.service}
    return set()


async def test_reflection_is_a_switch(cluster: Cluster, router: Router) -> None:
    assert {"podroute.v1.VectorService", "podroute.v1.CollectionService", "grpc.health.v1.Health"} <= await services(
        router.address
    )
    values = router_values(cluster)
    values["router"]["reflection"] = False
    async with running(values) as silent:
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await services(silent.address)
        assert refused.value.code() is grpc.StatusCode.UNIMPLEMENTED


async def test_sigterm_lets_calls_in_flight_end(cluster: Cluster, collection: str, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    values = router_values(cluster)
    config = tmp_path / "podroute.toml"
    pods = "".join(
        f'[pods.{name}]\ndsn = "{pod["dsn"]}"\npassword_file = "{pod["password_file"]}"\n'
        for name, pod in values["pods"].items()
        if "dsn" in pod
    )
    primary = values["primary"]
    config.write_text(
        f'[router]\nlisten = "127.0.0.1:{port}"\nlog_format = "json"\n'
        f'[primary]\ndsn = "{primary["dsn"]}"\npassword_file = "{primary["password_file"]}"\n{pods}',
        encoding="utf-8",
    )
    command = [sys.executable, "-c", "from podroute_router.cli import main; main()", "serve", "--config", str(config)]
    process = await asyncio.to_thread(
        subprocess.Popen, command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    )
    try:
        async with podroute.AsyncClient(f"127.0.0.1:{port}", options=[("grpc.enable_retries", 0)]) as client:
            await client.wait_until_serving(20)
            for _ in range(4):  # warm
                await client.count(collection)
            cluster.pods["beta"].freeze()
            try:
                calls = [asyncio.create_task(client.count(collection, timeout=10)) for _ in range(4)]
                await asyncio.sleep(0.3)
                os.kill(process.pid, signal.SIGTERM)
                await asyncio.sleep(0.5)
                assert process.poll() is None
            finally:
                cluster.pods["beta"].thaw()
            assert [(await call).count for call in calls] == [1] * 4
        assert await asyncio.to_thread(process.wait, 10) == 0
    finally:
        if process.poll() is None:
            process.kill()
        await asyncio.to_thread(process.communicate)
