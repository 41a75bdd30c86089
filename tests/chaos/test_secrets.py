"""Passwords stay where they are: in their files, in the memory of routers, and as verifiers in pg_authid."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import podroute
import podroute_command
import psycopg
import pytest
from podroute_command import run
from podroute_router.config import make_config
from podroute_router.embedded import Cluster
from servers import router_values

from .routers import RouterProcess, router_process
from .secret_scan import SecretScan

NAME = "secretive"


def debugging(cluster: Cluster, **router: object) -> dict[str, Any]:
    values = router_values(cluster)
    values["router"] |= {"log_level": "debug", **router}
    return values


async def use(router: RouterProcess, cluster: Cluster) -> None:
    """Calls that do well and calls that do not, on both paths, also with a pod down."""
    async with podroute.AsyncClient(router.address, options=[("grpc.enable_retries", 0)]) as client:
        while "alpha" not in (await client.shard_map()).pods:
            await asyncio.sleep(0.02)
        await client.create_collection(NAME, dimension=2, pod="alpha")
        for path in ("direct", "fdw"):
            await client.upsert(NAME, [("a", [1.0, 2.0], {})], path=path)
            await client.query(NAME, [1.0, 2.0], path=path)
            with pytest.raises(podroute.InvalidArgument):
                await client.query(NAME, [1.0], path=path)
        cluster.pods["alpha"].kill()
        try:
            for path in ("direct", "fdw"):
                with pytest.raises(podroute.Unavailable):
                    await client.query(NAME, [1.0, 2.0], path=path, timeout=5)
        finally:
            cluster.pods["alpha"].start()
        await client.delete_collection(NAME)


def open_files(pids: Iterable[int]) -> list[str]:
    return [str(each.readlink()) for pid in pids for each in Path(f"/proc/{pid}/fd").iterdir()]


@pytest.mark.full
@pytest.mark.parametrize("workers", [1, 2])
async def test_no_secret_is_told_at_level_debug_nor_shown_by_processes(
    cluster: Cluster, secret_scan: SecretScan, tmp_path: Path, workers: int
) -> None:
    """Control: `test_a_router_that_logs_a_secret_is_found`."""
    with router_process(debugging(cluster, workers=workers), tmp_path) as router:
        if workers > 1:  # the first that serves says so before the others
            router.running.wait_for(rf"(with {workers} workers)", on_stderr=True)
        await use(router, cluster)
        family = router.running.family()
        assert len(family) == (1 if workers == 1 else 1 + workers)
        secret_scan.look_at_processes(family)
        assert not [name for name in open_files(family) if "memfd" in name], "what the supervisor handed over"
        router.running.end(signal.SIGTERM)
        assert "debug" in router.running.err
    secret_scan.look_through(cluster)
    assert not secret_scan.found


async def test_a_router_that_logs_a_secret_is_found(
    cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is made to: a caller asks for a collection of that name. The run's own scan does not look."""
    monkeypatch.setattr(podroute_command, "LISTENERS", [])
    secret = cluster.router_password_file.read_text(encoding="utf-8").strip()
    scan = SecretScan()
    with router_process(debugging(cluster), tmp_path) as router:
        async with podroute.AsyncClient(router.address) as client:
            with pytest.raises(podroute.Error):
                await client.count(secret)
        scan.look_at("the log", router.running.err.encode())
    assert scan.found


def test_a_user_mapping_with_a_password_is_found(cluster: Cluster) -> None:
    secret = cluster.router_password_file.read_text(encoding="utf-8").strip()
    scan = SecretScan()
    with psycopg.connect(cluster.primary.admin_conninfo("app")) as admin:
        admin.execute("create server leaky foreign data wrapper postgres_fdw")
        admin.execute(f"create user mapping for current_user server leaky options (password '{secret}')".encode())
        rows = admin.execute("select u::text from pg_user_mapping u").fetchall()
        admin.rollback()
    scan.look_at("pg_user_mapping", "\n".join(row[0] for row in rows).encode())
    assert scan.found


def test_pods_prepare_tells_no_secret(cluster: Cluster, secret_scan: SecretScan, tmp_path: Path) -> None:
    dsn = tmp_path / "dsn"
    alpha = cluster.pods["alpha"]
    dsn.write_text(alpha.admin_conninfo(alpha.database), encoding="utf-8")
    arguments = ("pods", "prepare", "--pod", "--dsn-file", dsn, "--password-file", cluster.router_password_file)
    for more in ((), ("--dry-run",)):
        done = run(*arguments, *more)
        assert done.returncode == 0, done.stderr
    bad = run(*arguments, "--role", "no'body", "--dsn-file", tmp_path / "nowhere")
    assert bad.returncode != 0
    assert not secret_scan.found


def test_a_configuration_shows_no_secret(cluster: Cluster) -> None:
    secret = cluster.router_password_file.read_text(encoding="utf-8").strip()
    values = router_values(cluster)
    values["primary"] |= {"password": secret, "dsn": f"{values['primary']['dsn']} password={secret}"}
    config = make_config(values)
    scan = SecretScan()
    for shown in (repr(config), str(config), repr(config.primary)):
        scan.look_at("configuration", shown.encode())
    assert config.primary is not None
    assert secret in config.primary.secrets()
    assert not scan.found
