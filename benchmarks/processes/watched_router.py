"""A process with a router that also watches its own event loop. Any command answers {late_ms, busy_ms}.

Both are the worst since the command before: how late the loop was, which is what a call would have waited for work that
is not its own, or for a busy machine; and how much CPU time it took at a stretch, which a busy machine changes little.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from pathlib import Path

import uvloop
from podroute_router.config import Config, make_config
from podroute_router.logs import configure_logs
from podroute_router.server import Router

from benchmarks.children import say

TICK_S = 0.001


class Watch:
    """Keeps how late the event loop was, and how busy at a stretch, at worst. Belongs to the loop's thread."""

    def __init__(self) -> None:
        self._late_s = 0.0
        self._busy_s = 0.0

    async def run(self) -> None:
        """Never returns; cancel it."""
        while True:
            slept, worked = time.monotonic(), time.thread_time()
            await asyncio.sleep(TICK_S)
            self._late_s = max(self._late_s, time.monotonic() - slept - TICK_S)
            self._busy_s = max(self._busy_s, time.thread_time() - worked)

    def take(self) -> dict[str, float]:
        """The worst since the last look."""
        worst = {"late_ms": self._late_s * 1e3, "busy_ms": self._busy_s * 1e3}
        self._late_s = self._busy_s = 0.0
        return worst


async def run(config: Config) -> None:
    """Serves until stdin ends."""
    configure_logs(config.router.log_level, config.router.log_format)
    watch = Watch()
    watching = asyncio.create_task(watch.run())
    router = await Router.start(config)
    say({"address": router.address})
    while await asyncio.to_thread(sys.stdin.readline):
        say(watch.take())
    watching.cancel()
    await router.stop(grace_s=0)


if __name__ == "__main__":
    # The file has the configuration as JSON.
    uvloop.run(run(make_config(json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")))))
