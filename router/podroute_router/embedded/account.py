"""The OS account that runs PostgreSQL, which refuses to run as root."""

from __future__ import annotations

import os
import pwd
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import TypedDict

from podroute_router.embedded.errors import EmbeddedError

_ACCOUNTS = ("postgres", "nobody")
_FIRST_CLOSED = 'for path; do [ -x "$path" ] || { printf %s "$path"; exit 1; }; done'


class Credentials(TypedDict, total=False):
    """Arguments of subprocess that make a child run as an account; none where it runs as we do."""

    user: int
    group: int
    extra_groups: list[int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """An existing OS account, without its supplementary groups."""

    name: str
    uid: int
    gid: int


def server_account() -> Account | None:
    """The account to run PostgreSQL as: None is our own, and root takes `postgres`, else `nobody`.

    Raises:
        EmbeddedError: we are root and there is neither.
    """
    if os.geteuid() != 0:
        return None
    for name in _ACCOUNTS:
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        return Account(name=name, uid=entry.pw_uid, gid=entry.pw_gid)
    raise EmbeddedError(
        f"PostgreSQL refuses to run as root, and there is no user {' or '.join(_ACCOUNTS)}: run as an ordinary user"
    )


def credentials(account: Account | None) -> Credentials:
    """The account as arguments of subprocess."""
    if account is None:
        return {}
    return {"user": account.uid, "group": account.gid, "extra_groups": []}


def first_closed(account: Account | None, path: Path) -> Path | None:
    """The outermost of the path and the folders above it that the account may not enter (or run); None where none.

    The account itself is asked, so that access lists and capabilities count.
    """
    path = path.absolute()
    outcome = subprocess.run(
        ["/bin/sh", "-c", _FIRST_CLOSED, "sh", *(str(folder) for folder in reversed(path.parents)), str(path)],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        cwd="/",
        timeout=10,
        check=False,
        **credentials(account),
    )
    return None if outcome.returncode == 0 else Path(os.fsdecode(outcome.stdout))
