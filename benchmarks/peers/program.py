"""A load generator that is a program of its own: found, started for each load, and never left running."""

from __future__ import annotations

import math
import os
import shutil
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Self

from benchmarks.children import ChildFailed
from benchmarks.closed_loop import CALL_TIMEOUT_S, Window


def found(name: str, *elsewhere: Path) -> Path | None:
    """A program on PATH, or in one of some other folders."""
    places = os.pathsep.join([os.environ.get("PATH", os.defpath), *map(str, elsewhere), "/usr/sbin"])
    path = shutil.which(name, path=places)
    return Path(path).resolve() if path else None


def version(command: Sequence[str | Path]) -> str:
    """The first line of what a program says of its version; nothing where there is no such program."""
    try:
        said = subprocess.run(command, capture_output=True, text=True, timeout=CALL_TIMEOUT_S, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        return ""
    return said.partition("\n")[0].strip()


class Program:
    """Runs one program at a time, and ends it when it is closed."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, command: Sequence[str], *, folder: Path, environment: Mapping[str, str] | None = None) -> None:
        """Starts it in a folder; what it says there is in `said`."""
        with (folder / "said").open("wb") as said:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=said,
                stderr=subprocess.STDOUT,
                cwd=folder,
                env={**os.environ, **(environment or {})},
                start_new_session=True,
            )

    def finish(self, window: Window, folder: Path) -> str:
        """Waits for its end, soon after the window's; returns what it said.

        Raises:
            ChildFailed: it failed, or did not end.
        """
        assert self._process is not None
        try:
            code = self._process.wait(max(0.0, window.end - time.monotonic()) + CALL_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self.close()
            raise ChildFailed(f"{self._name} did not end") from None
        said = (folder / "said").read_text(encoding="utf-8", errors="replace")
        if code != 0:
            raise ChildFailed(f"{self._name} failed: {said.strip()[-500:]}")
        return said

    def close(self) -> None:
        """Ends it where it still runs."""
        if self._process is not None and self._process.poll() is None:
            self._process.kill()
            self._process.wait()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def whole_seconds_left(window: Window) -> int:
    """For programs that take no fractions: not less than to the window's end."""
    return math.ceil(window.end - time.monotonic())
