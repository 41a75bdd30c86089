"""The other commands, against the session's router and servers."""

from __future__ import annotations

import asyncio
import json
import signal
import socket
import subprocess
import sys
import uuid
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import click
import podroute
import podroute_command
import psycopg
import pytest
import pytest_asyncio
from click.testing import CliRunner, Result
from podroute_router import __version__
from podroute_router.cli.root import COMMANDS, root
from podroute_router.embedded import Cluster
from podroute_router.server import Router
from servers import router_values

SECRET = "correct-horse-battery"


async def invoke(address: str, *arguments: str, stdin: str = "") -> Result:
    """Runs a command in a thread, as the router serves in this one."""
    return await asyncio.to_thread(CliRunner().invoke, root, arguments, input=stdin, env={"PODROUTE_ADDRESS": address})


@pytest_asyncio.fixture
async def collection(client: podroute.AsyncClient) -> AsyncIterator[str]:
    name = f"c_{uuid.uuid4().hex[:12]}"
    await client.create_collection(name, dimension=3, metric="l2", pod="beta")
    yield name
    await client.delete_collection(name)


async def test_a_collection_is_made_indexed_shown_and_deleted(router: Router) -> None:
    name = f"c_{uuid.uuid4().hex[:12]}"
    made = await invoke(
        router.address, "collections", "create", name, "--dimension", "4", "--metric", "l1", "--pod", "alpha"
    )
    assert (made.exit_code, made.output) == (0, f"created {name} (4 components, l1) on pod alpha\n")
    indexed = await invoke(router.address, "collections", "index", name, "--m", "8", "--metric", "cosine")
    assert indexed.exit_code == 0
    assert indexed.output.endswith(f"serves cosine queries of {name}\n")
    got = await invoke(router.address, "collections", "get", name)
    assert got.output.splitlines()[-1].split() == [name, "4", "l1", "alpha"]
    kept = await invoke(router.address, "collections", "delete", name, stdin="n\n")
    assert kept.exit_code == 1
    deleted = await invoke(router.address, "collections", "delete", name, "--yes")
    assert (deleted.exit_code, deleted.output) == (0, f"deleted {name}\n")
    gone = await invoke(router.address, "collections", "get", name)
    assert gone.exit_code == 1
    assert gone.stderr == f"podroute: there is no collection '{name}' [COLLECTION_NOT_FOUND]\n"


async def test_indexes_are_made_listed_and_dropped(router: Router, collection: str) -> None:
    for arguments, told in (
        (("--method", "ivfflat", "--lists", "3"), "serves l2 queries of"),
        (("--method", "metadata-gin"), "serves filters on metadata of"),
        (("--m", "8", "--replace"), "serves l2 queries of"),
    ):
        made = await invoke(router.address, "collections", "index", collection, *arguments)
        assert made.exit_code == 0, made.stderr
        assert told in made.output
    listed = await invoke(router.address, "collections", "indexes", collection)
    *_, of_metadata, of_vectors = (line.split() for line in listed.output.splitlines())
    assert of_metadata[1:3] == ["metadata_gin", "unknown"]
    assert of_vectors[1:5] == ["hnsw", "l2", "m=8,", "ef_construction=64"]
    as_json = json.loads((await invoke(router.address, "collections", "indexes", collection, "--json")).output)
    assert [(index["method"], index["m"], index["valid"]) for index in as_json] == [
        ("metadata_gin", None, True),
        ("hnsw", 8, True),
    ]
    dropped = await invoke(router.address, "collections", "drop-index", collection, of_vectors[0])
    assert (dropped.exit_code, dropped.output) == (0, f"dropped index {of_vectors[0]} of {collection}\n")
    again = await invoke(router.address, "collections", "drop-index", collection, of_vectors[0])
    assert again.exit_code == 1
    assert "[INDEX_NOT_FOUND]" in again.stderr


async def test_adopting_wants_to_know_what(router: Router) -> None:
    for arguments in (("--all", "--table", "a"), ("--as", "b")):
        refused = await invoke(router.address, "collections", "adopt", "--pod", "alpha", *arguments)
        assert refused.exit_code == 2
    missing = await invoke(router.address, "collections", "adopt", "--pod", "alpha", "--table", "no_such_table")
    assert missing.exit_code == 1
    assert "[TABLE_NOT_FOUND]" in missing.stderr


async def test_collections_pods_and_map_are_shown_as_tables_and_as_json(router: Router, collection: str) -> None:
    for command in (("collections", "list"), ("map", "show"), ("pods", "list")):
        shown = await invoke(router.address, *command)
        assert shown.exit_code == 0
        assert "beta" in shown.output
        assert (collection in shown.output) is (command[0] != "pods")
    listed = json.loads((await invoke(router.address, "collections", "list", "--json")).output)
    got = json.loads((await invoke(router.address, "collections", "get", collection, "--json")).output)
    shard_map = json.loads((await invoke(router.address, "map", "show", "--json")).output)
    pods = json.loads((await invoke(router.address, "pods", "list", "--json")).output)
    assert got["placement"] | {"generation": 0} == {
        "pod": "beta",
        "table_schema": "vecs",
        "table_name": collection,
        "generation": 0,
    }
    assert got in listed
    assert got in shard_map["collections"]
    assert {"alpha", "beta"} <= {pod["name"] for pod in pods}


async def test_a_refused_call_ends_with_its_reason_and_code_1(router: Router, collection: str) -> None:
    refused = await invoke(router.address, "collections", "create", collection, "--dimension", "3")
    assert refused.exit_code == 1
    assert refused.stderr == f"podroute: there is a collection '{collection}' already [COLLECTION_EXISTS]\n"


def test_a_router_that_is_not_there_is_named() -> None:
    refused = CliRunner().invoke(root, ["pods", "list", "--address", "127.0.0.1:1"])
    assert refused.exit_code == 1
    assert refused.stderr.startswith("podroute: no router answers at 127.0.0.1:1: ")
    assert refused.stderr.count("\n") == 1


def test_preparing_twice_makes_a_role_that_logs_in(cluster: Cluster, tmp_path: Path) -> None:
    server = cluster.pods["alpha"]
    (tmp_path / "dsn").write_text(server.admin_conninfo(server.database) + "\n")
    (tmp_path / "password").write_text(SECRET + "\n")
    prepare = ["pods", "prepare", "--pod", "--role", "cli_router"]
    by_file = [*prepare, "--dsn-file", str(tmp_path / "dsn"), "--password-file", str(tmp_path / "password")]
    by_environment = {
        "PODROUTE_ADMIN_DSN": server.admin_conninfo(server.database),
        "PODROUTE_ROUTER_PASSWORD": SECRET,
    }
    for arguments, variables in ((by_file, {}), (prepare, by_environment)):
        outcome = CliRunner().invoke(root, arguments, env=variables)
        assert outcome.output == f"prepared 127.0.0.1:{server.port}/vectors as pod for role cli_router\n"
        assert outcome.exit_code == 0
    with psycopg.connect(server.conninfo("cli_router"), password=SECRET) as connection:
        connection.execute("create table vecs.made_by_the_router ()")
        connection.rollback()


def test_a_dry_run_prints_the_sql_without_secrets_and_needs_none() -> None:
    arguments = ["pods", "prepare", "--primary", "--pod", "--role", 'odd"role', "--dry-run"]
    outcome = CliRunner().invoke(root, arguments, env={"PODROUTE_ROUTER_PASSWORD": SECRET})
    assert outcome.exit_code == 0
    assert 'grant "podroute_owner" to "odd""role";' in outcome.output
    assert 'create schema if not exists "podroute_catalog"' in outcome.output
    assert SECRET not in outcome.output
    assert "SCRAM-SHA-256$4096" not in outcome.output


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "--pod, --primary or both"),
        (["--pod"], "PODROUTE_ADMIN_DSN"),
        (["--pod", "--dsn", f"host=127.0.0.1 password={SECRET}"], "every user of this machine can read"),
        (["--pod", "--dsn", f"postgresql://admin:{SECRET}@127.0.0.1/db"], "every user of this machine can read"),
        (["--pod", "--dsn", f"{SECRET} host"], "no libpq connection string"),
        (["--pod", "--dsn", "host=127.0.0.1"], "PODROUTE_ROUTER_PASSWORD"),
        (["--pod", "--dsn", "host=127.0.0.1", "--password-file", "/nowhere"], "No such file"),
        (["--pod", "--dsn", "host=127.0.0.1", "--dsn-file", "/nowhere"], "either --dsn or --dsn-file"),
    ],
)
def test_prepare_says_what_it_lacks_and_never_repeats_a_secret(arguments: list[str], said: str) -> None:
    outcome = CliRunner().invoke(root, ["pods", "prepare", *arguments])
    assert outcome.exit_code == 2
    assert said in " ".join(outcome.stderr.split())
    assert SECRET not in outcome.output


def test_a_database_that_cannot_be_prepared_is_named_with_the_cause(cluster: Cluster) -> None:
    server = cluster.pods["alpha"]
    outcome = CliRunner().invoke(
        root,
        ["pods", "prepare", "--pod"],
        env={
            "PODROUTE_ADMIN_DSN": server.admin_conninfo("no_such_database"),
            "PODROUTE_ROUTER_PASSWORD": SECRET,
        },
    )
    assert outcome.exit_code == 1
    assert outcome.stderr.startswith(f"podroute: 127.0.0.1:{server.port}/no_such_database was not changed: ")
    assert "does not exist" in outcome.stderr
    assert outcome.stderr.count("\n") == 1


def configuration(cluster: Cluster, folder: Path) -> Path:
    """The TOML file of a router of the cluster."""
    values = router_values(cluster)
    sections = {"router": values["router"], "primary": values["primary"]}
    sections |= {f"pods.{name}": pod for name, pod in values["pods"].items()}
    text = "".join(
        f"[{section}]\n" + "".join(f"{key} = {json.dumps(value)}\n" for key, value in keys.items())
        for section, keys in sections.items()
    )
    path = folder / "podroute.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_serve_runs_a_router_until_sigterm(cluster: Cluster, tmp_path: Path) -> None:
    with podroute_command.started("serve", "--config", configuration(cluster, tmp_path)) as serve:
        address = serve.wait_for(r"serving on (127\.0\.0\.1:\d+)", on_stderr=True)
        with podroute.Client(address) as client:
            client.wait_until_serving()
            assert {pod.name for pod in client.pods()} >= {"alpha", "beta"}
        assert serve.end(signal.SIGTERM) == 0
        lines = [json.loads(line) for line in serve.err.splitlines()]
        assert {f"serving on {address}", "stopping"} <= {line["event"] for line in lines}
        assert "error" not in {line["level"] for line in lines}
        assert serve.out == ""


def test_serve_says_in_one_line_what_is_wrong_with_its_configuration(tmp_path: Path) -> None:
    odd = tmp_path / "odd.toml"
    odd.write_text("[router]\nlisten_on = 'x'\n")
    for config, said in (
        ("/nowhere/podroute.toml", "/nowhere/podroute.toml: No such file or directory"),
        (odd, "router.listen_on"),
    ):
        outcome = CliRunner().invoke(root, ["serve"], env={"PODROUTE_CONFIG": str(config)})
        assert outcome.exit_code == 2
        assert outcome.stderr.startswith("podroute: ")
        assert said in outcome.stderr
        assert outcome.stderr.count("\n") == 1


def test_serve_says_in_one_line_why_it_cannot(cluster: Cluster, tmp_path: Path) -> None:
    working = str(configuration(cluster, tmp_path))
    with closing(socket.create_server(("127.0.0.1", 0))) as other:
        taken = f"127.0.0.1:{other.getsockname()[1]}"
        cases = (
            ({"PODROUTE_ROUTER__LISTEN": taken}, f"cannot listen on {taken}"),
            ({"PODROUTE_ROUTER__DIRECT_BACKEND": "none"}, "no plugin offers a backend 'none'"),
        )
        with ThreadPoolExecutor() as threads:
            outcomes = threads.map(
                lambda case: podroute_command.run("serve", PODROUTE_CONFIG=working, **case[0]), cases
            )
        for (_, said), outcome in zip(cases, outcomes, strict=True):
            assert outcome.returncode == 2
            assert outcome.stderr.startswith("podroute: ")
            assert said in outcome.stderr
            assert outcome.stderr.count("\n") == 1


def test_the_list_of_commands_shows_what_each_says_of_itself() -> None:
    context = click.Context(root)
    loaded = {name: root.get_command(context, name) for name in COMMANDS}
    assert {name: command and command.get_short_help_str(100) for name, command in loaded.items()} == COMMANDS
    listed = CliRunner().invoke(root, ["--help"]).output
    assert all(f"{name:<11}  {said}\n" in listed for name, said in COMMANDS.items())


@pytest.mark.parametrize(("arguments", "unwanted"), [("--help", "grpc psycopg pydantic rich"), ("map -h", "psycopg")])
def test_a_command_loads_what_it_needs_and_no_more(arguments: str, unwanted: str) -> None:
    code = (
        "import sys; from podroute_router.cli.root import root; root(sys.argv[2].split(), standalone_mode=False); "
        "sys.exit(' '.join(set(sys.argv[1].split()) & set(sys.modules)) or None)"
    )
    outcome = subprocess.run(
        [sys.executable, "-c", code, unwanted, arguments], capture_output=True, text=True, timeout=60, check=False
    )
    assert (outcome.returncode, outcome.stderr) == (0, "")


def test_the_version_is_the_packages() -> None:
    assert podroute_command.run("--version").stdout == f"podroute, version {__version__}\n"


@pytest.mark.parametrize("module", ["click", "psycopg"])
def test_without_the_router_extra_it_says_what_to_install(module: str) -> None:
    code = "import sys; sys.modules[sys.argv.pop(1)] = None; from podroute_router.cli import main; main()"
    outcome = subprocess.run(
        [sys.executable, "-c", code, module, "pods", "list"], capture_output=True, text=True, timeout=60, check=False
    )
    assert outcome.returncode == 1
    assert outcome.stderr == (
        f"podroute: {module} is missing; the command line needs: pip install 'podroute[router]'\n"
    )
