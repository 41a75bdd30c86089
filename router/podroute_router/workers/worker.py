"""One worker: a router on a port that it shares, with the configuration that its supervisor hands it.

`python -m podroute_router.workers.worker NUMBER PARENT STATUS`; stdin has the pickled configuration, which holds
secrets. The descriptor STATUS gets one line as soon as calls are served, or the reason why they cannot be; it is open
for as long as the worker lives.
"""

from __future__ import annotations

import ctypes
import os
import pickle
import signal
import sys

import uvloop

from podroute_router.cli.failures import CannotStart
from podroute_router.cli.starting import starting
from podroute_router.config import Config
from podroute_router.logs import configure_logs
from podroute_router.metrics.shared import count_as
from podroute_router.server import serve
from podroute_router.workers import SERVING

CANNOT_START = 2

_PR_SET_PDEATHSIG = 1


def main(number: int, parent: int, status: int) -> int:
    """Serves until SIGTERM; returns the exit code."""
    end_with(parent)
    os.set_inheritable(status, False)
    config: Config = pickle.load(sys.stdin.buffer)  # noqa: S301  (the supervisor wrote it)
    _close_stdin()
    configure_logs(config.router.log_level, config.router.log_format, facts={"worker": number})
    count_as(number)
    try:
        with starting():
            uvloop.run(serve(config, on_ready=lambda _: _tell(status, SERVING), share_port=True))
    except CannotStart as error:
        _tell(status, error.message)
        return CANNOT_START
    return 0


def _close_stdin() -> None:
    """What has secrets is not to be found below /proc for as long as the worker runs; descriptor 0 stays taken."""
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, sys.stdin.fileno())
    os.close(nothing)


def end_with(parent: int) -> None:
    """SIGTERM comes when the thread that started this process ends. Linux only."""
    if ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl")
    if os.getppid() != parent:  # it has ended before that
        sys.exit(0)


def _tell(status: int, line: str) -> None:
    os.write(status, " ".join(line.split()).encode() + b"\n")


if __name__ == "__main__":
    sys.exit(main(*map(int, sys.argv[1:])))
