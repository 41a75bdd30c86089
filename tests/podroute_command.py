"""The installed command `podroute`, run as a process of its own."""

from __future__ import annotations

import os
import re
import subprocess
import sysconfig
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from podroute_router.embedded import processes

COMMAND = Path(sysconfig.get_path("scripts")) / "podroute"
TIMEOUT_S = 60.0
LISTENERS: list[Callable[[str, bytes], None]] = []
"""Called with each command that has ended, and all that it printed."""


def environment(**variables: str) -> dict[str, str]:
    """Ours, without settings of podroute's, and the variables."""
    return {name: value for name, value in os.environ.items() if not name.startswith("PODROUTE_")} | variables


def run(*arguments: object, **variables: str) -> subprocess.CompletedProcess[str]:
    """Runs the command to its end."""
    done = subprocess.run(
        [COMMAND, *map(str, arguments)],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
        env=environment(**variables),
    )
    _tell(f"podroute {arguments[0]}", (done.stdout + done.stderr).encode())
    return done


class Running:
    """The command while it runs. Its output goes to files, as servers must not hold pipes of ours."""

    def __init__(self, process: subprocess.Popen[bytes], out: Path, err: Path) -> None:
        self.process = process
        self._out = out
        self._err = err

    @property
    def out(self) -> str:
        """What it has printed."""
        return self._out.read_text(encoding="utf-8")

    @property
    def err(self) -> str:
        """What it has written to stderr."""
        return self._err.read_text(encoding="utf-8")

    def wait_for(self, pattern: str, *, on_stderr: bool = False) -> str:
        """Waits until the pattern's first group is printed, and returns that."""
        deadline = time.monotonic() + TIMEOUT_S
        while (found := re.search(pattern, self.err if on_stderr else self.out)) is None:
            assert self.process.poll() is None, f"it ended with {self.process.returncode}: {self.out}{self.err}"
            assert time.monotonic() < deadline, f"no {pattern!r} in: {self.out}{self.err}"
            time.sleep(0.02)
        return found[1]

    def family(self) -> list[int]:
        """The ids of its process and all below it."""
        running = processes.running()
        found = [self.process.pid]
        for pid in found:
            found += [child for child, process in running.items() if process.parent == pid]
        return found

    def end(self, number: int) -> int:
        """Sends a signal and returns the exit code."""
        self.process.send_signal(number)
        return self.process.wait(TIMEOUT_S)


@contextmanager
def started(*arguments: object, **variables: str) -> Iterator[Running]:
    """Starts the command; it is killed where it still runs in the end."""
    with tempfile.TemporaryDirectory() as name:
        out, err = Path(name, "out"), Path(name, "err")
        with out.open("wb") as to_out, err.open("wb") as to_err:
            process = subprocess.Popen(
                [COMMAND, *map(str, arguments)],
                stdin=subprocess.DEVNULL,
                stdout=to_out,
                stderr=to_err,
                env=environment(**variables),
            )
        try:
            yield Running(process, out, err)
        finally:
            if process.poll() is None:
                process.kill()
            process.wait(TIMEOUT_S)
            _tell(f"podroute {arguments[0]}", out.read_bytes() + err.read_bytes())


def _tell(name: str, printed: bytes) -> None:
    for listener in LISTENERS:
        listener(name, printed)


@contextmanager
def open_folder() -> Iterator[Path]:
    """A folder that the account of PostgreSQL can enter; pytest's own are closed to it."""
    with tempfile.TemporaryDirectory(prefix="podroute-test-", dir="/tmp") as name:
        Path(name).chmod(0o711)
        yield Path(name)
