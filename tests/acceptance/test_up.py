"""`podroute up`, as its users run it: a process of its own, ended by a signal."""

from __future__ import annotations

import signal
import socket
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import podroute
import podroute_command
import pytest
from click.testing import CliRunner
from podroute_router.cli.root import root
from podroute_router.embedded import processes
from scraped import get

SERVES = r"podroute serves on (127\.0\.0\.1:\d+)\n"
PYTHON = r"From Python:\n((?:  .+\n)+)"


@pytest.fixture
def folder() -> Iterator[Path]:
    with podroute_command.open_folder() as opened:
        yield opened


def test_started_again_it_finds_its_data_and_a_signal_stops_everything(folder: Path) -> None:
    for number in (signal.SIGTERM, signal.SIGINT):
        # What names another router's databases is not for this one.
        elsewhere = {
            "PODROUTE_PRIMARY__DSN": "host=nowhere.invalid",
            "PODROUTE_PODS__ALPHA__DSN": "host=nowhere.invalid",
        }
        with podroute_command.started("up", "--state-dir", folder / "state", **elsewhere) as up:
            with podroute.Client(up.wait_for(SERVES)) as client:
                if number == signal.SIGTERM:
                    client.create_collection("kept", dimension=2, pod="beta")
                    client.upsert("kept", [("a", [1, 2], {"n": 1})], path="fdw")
                else:
                    assert client.fetch("kept", ["a"], path="direct").records[0].metadata == {"n": 1}
            family = up.family()
            assert len(family) > 3
            assert up.end(number) == 0
            assert processes.wait_gone(family, 0) == []
            assert up.err == ""
            assert up.out.endswith("stopping ...\nstopped\n")


def test_where_its_port_is_taken_it_chooses_another_and_in_the_end_leaves_nothing(folder: Path) -> None:
    with closing(socket.socket()) as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            other.bind(("127.0.0.1", 50051))
            other.listen()
        except OSError:
            pass  # taken already
        with podroute_command.started("up", "--ephemeral", "--state-dir", folder) as up:
            address = up.wait_for(SERVES)
            assert address != "127.0.0.1:50051"
            assert f"podroute collections list --address {address}" in up.out
            assert get(up.wait_for(r"metrics  http://(\S+)/metrics"), "/healthz") == (200, "serving\n")
            # The lines that it shows are lines that run.
            exec(up.wait_for(PYTHON).replace("\n  ", "\n").strip(), shown := {})
            assert [match.id for match in shown["client"].query("docs", [1, 2, 3]).matches] == ["a", "b"]
            shown["client"].close()
            family = up.family()
            assert up.end(signal.SIGTERM) == 0
    assert processes.wait_gone(family, 0) == []
    assert list(folder.iterdir()) == []


def test_a_signal_while_it_starts_stops_everything_too(folder: Path) -> None:
    with podroute_command.started("up", "--ephemeral", "--state-dir", folder) as up:
        up.wait_for("(starting)")
        while len(family := up.family()) < 2:
            assert up.process.poll() is None
        assert up.end(signal.SIGINT) == 0
        assert up.err == ""
    assert processes.wait_gone(family, 0) == []
    assert list(folder.iterdir()) == []


def test_a_port_that_was_told_must_be_free(folder: Path) -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as other:
        port = other.getsockname()[1]
        outcome = CliRunner().invoke(root, ["up", "--port", str(port), "--state-dir", str(folder / "state")])
    assert outcome.exit_code == 2
    assert outcome.stderr == f"podroute: --port: 127.0.0.1:{port} is taken\n"
    assert not (folder / "state").exists()


def test_programs_that_are_no_postgresql_are_refused_in_one_line(folder: Path) -> None:
    outcome = podroute_command.run("up", "--pg-bin-dir", folder, "--state-dir", folder / "state")
    assert outcome.returncode == 2
    assert outcome.stderr == f"podroute: {folder} holds no postgres; it must be the folder of PostgreSQL's programs\n"
