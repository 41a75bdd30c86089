"""A libc locale that sorts otherwise than C, made on the spot: many machines, and containers above all, have none."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

_SOURCE = Path(__file__).parent / "locale"
_NAME = "podroute.UTF-8"


class Locale(NamedTuple):
    """A locale's name, and the environment in which the C library finds it."""

    name: str
    environment: dict[str, str]


@contextmanager
def dictionary_locale() -> Iterator[Locale]:
    """A locale that sorts letters as dictionaries do (a A b B), in a folder that every OS user can read."""
    compiler = shutil.which("localedef")
    if compiler is None:
        raise RuntimeError("localedef is missing; it belongs to the C library (Debian: libc-bin, Fedora: glibc-common)")
    with tempfile.TemporaryDirectory(prefix="podroute-locale-", dir="/tmp") as name:
        folder = Path(name)
        # Without -c it refuses to leave out the other categories, and with it the exit code says nothing.
        outcome = subprocess.run(
            [compiler, "--no-archive", "-c", "-i", _SOURCE / "dictionary", "-f", _SOURCE / "charmap", folder / _NAME],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )
        if not (folder / _NAME / "LC_COLLATE").exists():
            raise RuntimeError(f"localedef made no locale: {outcome.stderr}")
        for path, _, files in os.walk(folder):
            Path(path).chmod(0o755)
            for file in files:
                Path(path, file).chmod(0o644)
        yield Locale(_NAME, {"LOCPATH": str(folder)})
