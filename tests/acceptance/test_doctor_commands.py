"""`podroute doctor` and `podroute reconcile`, with a configuration file and without a router.

The installed command is run once, as starting a process takes longer than what it is to do.
"""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import podroute
import podroute_command
import psycopg
import pytest
import pytest_asyncio
from click.testing import CliRunner, Result
from podroute_router.cli.root import root
from podroute_router.config import make_config
from podroute_router.embedded import Cluster
from podroute_router.server import Router
from servers import router_values, separate_primary


async def run(*arguments: str, **variables: str) -> Result:
    """Runs the command in a thread, where no event loop runs."""
    return await asyncio.to_thread(CliRunner().invoke, root, arguments, env=variables)


@pytest.fixture
def primary(cluster: Cluster) -> str:
    """A primary of the test's own: the name of its database."""
    return separate_primary(cluster)


@pytest.fixture
def config_file(cluster: Cluster, primary: str, tmp_path: Path) -> Path:
    values = router_values(cluster, primary=primary)
    path = tmp_path / "podroute.toml"
    lines = []
    for section, keys in (("primary", values["primary"]), *((f"pods.{n}", v) for n, v in values["pods"].items())):
        lines += [f"[{section}]", *(f"{key} = {json.dumps(value)}" for key, value in keys.items())]
    path.write_text("\n".join(lines), encoding="utf-8")
    return path


@pytest_asyncio.fixture
async def collection(cluster: Cluster, primary: str) -> AsyncIterator[str]:
    """A collection of a router that has gone."""
    name = f"c_{uuid.uuid4().hex[:12]}"
    router = await Router.start(make_config(router_values(cluster, primary=primary)))
    async with podroute.AsyncClient(router.address) as client:
        await client.create_collection(name, dimension=3, pod="alpha")
    await router.stop()
    yield name
    alpha = cluster.pods["alpha"]
    with psycopg.connect(alpha.admin_conninfo(alpha.database), autocommit=True) as admin:
        admin.execute(f"drop table vecs.{name} cascade".encode())


@pytest.fixture
def admin(cluster: Cluster, primary: str) -> Iterator[psycopg.Connection]:
    with psycopg.connect(cluster.primary.admin_conninfo(primary), autocommit=True) as connection:
        yield connection


async def test_drift_is_told_printed_as_sql_and_mended(
    config_file: Path, collection: str, admin: psycopg.Connection
) -> None:
    option = f"--config={config_file}"
    healthy = podroute_command.run("doctor", option)
    assert healthy.returncode == 0, healthy.stderr + healthy.stdout
    assert "note" in healthy.stdout  # it has no index

    admin.execute("alter server podroute_alpha options (drop extensions)")
    admin.execute(f"drop foreign table podroute_fdw.{collection}".encode())
    sick = await run("doctor", option)
    assert sick.exit_code == 1, sick.stderr
    assert "extensions is not set, should be 'vector'" in sick.stdout
    assert "podroute reconcile" in sick.stdout
    told = json.loads((await run("doctor", "--json", PODROUTE_CONFIG=str(config_file))).stdout)
    assert [(each["kind"], each["thing"]) for each in told] == [
        ("drift", f"foreign table podroute_fdw.{collection}"),
        ("drift", "server podroute_alpha"),
        ("note", f"table vecs.{collection}"),
    ]

    printed = await run("reconcile", option, "--dry-run")
    assert printed.exit_code == 1
    assert printed.stdout.startswith("-- primary\nset role podroute_owner;\n")
    assert 'alter server "podroute_alpha" options (add "extensions" \'vector\');' in printed.stdout
    assert (await run("doctor", option)).exit_code == 1, "a dry run changes nothing"

    mended = await run("reconcile", option)
    assert mended.exit_code == 0, mended.stdout + mended.stderr
    assert (await run("doctor", option)).exit_code == 0


async def test_the_sql_of_a_dry_run_mends_too(config_file: Path, collection: str, admin: psycopg.Connection) -> None:
    admin.execute(f"drop foreign table podroute_fdw.{collection}".encode())
    admin.execute("alter server podroute_alpha options (set port '1')")
    printed = await run("reconcile", f"--config={config_file}", "--dry-run")
    admin.execute(printed.stdout.encode())
    assert (await run("doctor", f"--config={config_file}")).exit_code == 0


async def test_what_needs_an_administrator_is_left_and_told(
    config_file: Path, collection: str, admin: psycopg.Connection
) -> None:
    admin.execute("revoke usage on foreign data wrapper postgres_fdw from podroute_owner")
    printed = await run("reconcile", f"--config={config_file}", "--dry-run")
    assert "-- not podroute's to mend: podroute pods prepare --primary" in printed.stdout.splitlines()
    left = await run("reconcile", f"--config={config_file}")
    assert left.exit_code == 1
    assert "podroute pods prepare --primary" in left.stdout


async def test_without_a_catalog_the_doctor_cannot_look(config_file: Path, admin: psycopg.Connection) -> None:
    admin.execute("drop schema podroute_catalog cascade")
    failed = await run("doctor", f"--config={config_file}")
    assert failed.exit_code == 2
    assert "NOT_PREPARED" in failed.stderr
    assert "Traceback" not in failed.stderr
