"""A worker's process, as its supervisor sees it: started, serving or not, ended and why."""

from __future__ import annotations

import asyncio
import os
import pickle
import signal
import subprocess
import sys
from collections.abc import Mapping
from contextlib import suppress

from podroute_router.config import Config
from podroute_router.workers import SERVING, WORKER, WorkerFailed

END_MARGIN_S = 5.0
"""Beyond `timeouts.drain_s` and `shutdown_s`, after which calls are cancelled, a worker may take this long to let go of
the rest."""


class WorkerProcess:
    """A running `worker`, in a process group of its own, as Ctrl-C is for the supervisor alone.

    Starting it needs a running event loop, and `wait` has to be waited for once. It is no fork, which gRPC does not
    bear. It ends with the thread that made it.

    Args:
        number: counts the workers from 1.
        config: its share of the configuration.
        environment: its variables.
    """

    def __init__(self, number: int, config: Config, environment: Mapping[str, str]) -> None:
        self.number = number
        self._patience_s = config.timeouts.drain_s + config.timeouts.shutdown_s + END_MARGIN_S
        self._heard = b""
        self._told = asyncio.Event()
        self._ended = asyncio.Event()
        self._status, status = os.pipe()
        try:
            self._process = _started(number, config, status, environment)
        except BaseException:
            os.close(self._status)
            raise
        finally:
            os.close(status)
        asyncio.get_running_loop().add_reader(self._status, self._hear)

    @property
    def pid(self) -> int:
        """The id of the process."""
        return self._process.pid

    @property
    def is_serving(self) -> bool:
        """True while it takes calls, as far as is known."""
        return self._heard.startswith(SERVING.encode()) and not self._ended.is_set()

    @property
    def has_ended(self) -> bool:
        """True from when its end is known."""
        return self._ended.is_set()

    async def wait_until_serving(self) -> None:
        """Returns when it takes calls; raises WorkerFailed, with the reason, where it ends before that."""
        await self._told.wait()
        said = self._heard.partition(b"\n")[0].decode()
        if said != SERVING:
            cause = await self.wait()
            raise WorkerFailed(said or f"worker {self.number} {cause} before it served")

    async def wait(self) -> str:
        """Waits for the end and returns its cause, such as `was killed by SIGKILL`."""
        await self._ended.wait()
        code = await asyncio.to_thread(self._process.wait)
        return f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"

    async def stop(self) -> str:
        """Lets it drain, ends it by force where it does not end in time, and returns the end's cause."""
        self._signal(signal.SIGTERM)
        try:
            async with asyncio.timeout(self._patience_s):
                return await self.wait()
        except TimeoutError:
            self._signal(signal.SIGKILL)
            return await self.wait()

    def _signal(self, number: signal.Signals) -> None:
        with suppress(ProcessLookupError):
            self._process.send_signal(number)

    def _hear(self) -> None:
        """The worker alone holds the other end: when nothing more can come, it has ended."""
        heard = os.read(self._status, 4096)
        self._heard += heard
        if b"\n" in self._heard or not heard:
            self._told.set()
        if not heard:
            asyncio.get_running_loop().remove_reader(self._status)
            os.close(self._status)
            self._ended.set()


def _started(number: int, config: Config, status: int, environment: Mapping[str, str]) -> subprocess.Popen[bytes]:
    """A worker that tells its status to the descriptor."""
    handed = os.memfd_create("podroute-config")  # in no file, argument or variable: it has secrets
    with os.fdopen(handed, "r+b") as file:
        pickle.dump(config, file)
        file.seek(0)
        return subprocess.Popen(
            [sys.executable, "-P", "-m", WORKER, str(number), str(os.getpid()), str(status)],
            stdin=file,
            pass_fds=[status],
            process_group=0,
            env=environment,
        )
