"""A process with a router, as `podroute serve` runs it, that also tells what only the process itself can see.

The argument is a configuration file. Says `{address}` when it serves. Each line then is a command, and answered with
`{tasks, statements}`: asyncio's tasks, and prepared statements on all connections. `look` is no more than that; `leak`
has it lose some of everything from then on, so that a test can see that it would notice. Ends when stdin does.
"""

from __future__ import annotations

import asyncio
import gc
import json
import os
import signal
import sys
from pathlib import Path

import uvloop
from podroute_router.config import load_config
from podroute_router.logs import configure_logs
from podroute_router.postgres.connection import Connection
from podroute_router.postgres.prepared import PreparedStatements
from podroute_router.server import Router, serve

LEAK_S = 0.05
LEAK_BYTES = 1024 * 1024

_kept: list[object] = []


def look() -> dict[str, int]:
    """What there is now."""
    statements = 0
    for each in gc.get_objects():
        if isinstance(each, Connection):
            statements += len(each._prepared._names)
        elif isinstance(each, PreparedStatements):
            statements += len(each)
    return {"tasks": len(asyncio.all_tasks()), "statements": statements}


async def leak() -> None:
    """Never returns."""
    while True:
        _kept.extend((os.urandom(LEAK_BYTES), os.pipe(), asyncio.create_task(asyncio.sleep(3600))))
        await asyncio.sleep(LEAK_S)


async def obey() -> None:
    """Until there are no more commands; then the process is told to end as users end it."""
    while command := (await asyncio.to_thread(sys.stdin.readline)).strip():
        if command == "leak":
            _kept.append(asyncio.create_task(leak()))
        say(look())
    os.kill(os.getpid(), signal.SIGTERM)


def say(answer: dict[str, object] | dict[str, int]) -> None:
    """A line of JSON."""
    sys.stdout.write(json.dumps(answer) + "\n")
    sys.stdout.flush()


def ready(router: Router) -> None:
    """The router serves."""
    say({"address": router.address})
    obeying = asyncio.create_task(obey())
    obeying.add_done_callback(lambda task: os._exit(1) if task.exception() else None)  # else who asked waits for ever
    _kept.append(obeying)


if __name__ == "__main__":
    config = load_config(Path(sys.argv[1]))
    configure_logs(config.router.log_level, config.router.log_format)
    uvloop.run(serve(config, on_ready=ready))
