"""Becomes another program, as an account, that is told to end when the process that started it ends.

`python -I -S launch.py PARENT UID GID PROGRAM ARGUMENT …`; a UID of -1 keeps the account. A program of its own, as
`preexec_fn` is unsafe beside threads, and as the programs that do this (setpriv) are not everywhere.
"""

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1


def main(parent: int, uid: int, gid: int, command: list[str]) -> None:
    """Replaces this process by the command; returns only where the parent has already ended."""
    if uid != -1:
        os.setgroups([])
        os.setgid(gid)
        os.setuid(uid)
    if sys.platform == "linux":
        # After setuid, which forgets it. SIGINT is PostgreSQL's fast shutdown.
        if ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGINT, 0, 0, 0) != 0:
            raise OSError(ctypes.get_errno(), "prctl")
        if os.getppid() != parent:
            return
    os.execv(command[0], command)  # noqa: S606


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), sys.argv[4:])
