"""A process with the router and nothing else, or its workers below it, so that the CPU time is the router's."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from pathlib import Path

import uvloop
from podroute_router.config import Config, make_config
from podroute_router.logs import configure_logs
from podroute_router.server import serve
from podroute_router.workers.supervisor import supervise

from benchmarks.children import say


async def run(config: Config) -> None:
    """Serves until stdin ends."""
    configure_logs(config.router.log_level, config.router.log_format)
    serving = asyncio.create_task(
        supervise(config, on_ready=lambda address: say({"address": address}))
        if config.router.workers > 1
        else serve(config, on_ready=lambda router: say({"address": router.address}))
    )
    ended = asyncio.create_task(asyncio.to_thread(sys.stdin.read))
    await asyncio.wait({serving, ended}, return_when=asyncio.FIRST_COMPLETED)
    if not serving.done():
        os.kill(os.getpid(), signal.SIGTERM)
    await serving


if __name__ == "__main__":
    # The file has the configuration as JSON.
    uvloop.run(run(make_config(json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")))))
