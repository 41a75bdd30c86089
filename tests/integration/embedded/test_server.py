"""One embedded server: its password, settings, freezing, killing, and what it says when it cannot start."""

from __future__ import annotations

import os
import select
import socket
import time
from pathlib import Path

import psycopg
import pytest
from podroute_router.embedded import (
    Cluster,
    EmbeddedError,
    Server,
    ServerFailed,
    StateFolderInUse,
    find_installation,
    processes,
    server,
)
from podroute_router.embedded.settings import configuration_file
from psycopg.conninfo import make_conninfo

from .harness import connect, processes_of, value


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
