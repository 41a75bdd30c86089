"""The metrics of several workers: each counts in files of its own in one folder, and their supervisor shows the sums.

It is prometheus-client's multiprocess mode, but for two things. A worker's files bear its number and not its process's:
the one that takes a dead one's place counts on from where that ended, and there are as many files as workers. And what
is counted is written to them each second, not each time, which would cost a query three times as much; so a worker that
is killed takes its last second with it.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, ClassVar, Final

from prometheus_client import CollectorRegistry, Counter, Gauge, generate_latest, values
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead

from podroute_router.metrics.processes import ProcessesCollector

VARIABLE: Final = "PROMETHEUS_MULTIPROC_DIR"
"""Tells a process the folder. The library looks at it when it is imported."""

_PREFIX: Final = "podroute-metrics-"
_NEW_S: Final = 60.0
"""A folder that was just made may not be locked yet."""
_MEMORY: Final = Path("/dev/shm")  # noqa: S108


@contextmanager
def shared_folder() -> Iterator[str]:
    """A folder for the files, in memory where that can be: a disk that is busy would keep calls waiting.

    It is locked for as long as its supervisor lives; those that a killed one left are removed.
    """
    in_memory = _MEMORY.is_dir() and os.access(_MEMORY, os.W_OK)
    parent = _MEMORY if in_memory else Path(tempfile.gettempdir())
    for left in parent.glob(f"{_PREFIX}*"):
        _remove_if_left(left)
    with tempfile.TemporaryDirectory(prefix=_PREFIX, dir=parent, ignore_cleanup_errors=True) as folder:
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield folder
        finally:
            os.close(descriptor)


def _remove_if_left(folder: Path) -> None:
    with suppress(OSError):  # it is another account's, or in use
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if time.time() - os.fstat(descriptor).st_mtime > _NEW_S:
                shutil.rmtree(folder, ignore_errors=True)
        finally:
            os.close(descriptor)


class _Late:
    """A number that is counted in the process and written to its file now and then."""

    _multiprocess = True
    _file: ClassVar[Any]
    """Makes the library's number, which is written each time."""
    all: ClassVar[list[_Late]] = []

    def __init__(self, *arguments: Any, **named: Any) -> None:
        self._kept = self._file(*arguments, **named)
        self._value: float = self._kept.get()
        self._written = self._value
        self.all.append(self)

    def inc(self, amount: float) -> None:
        self._value += amount

    def set(self, value: float, timestamp: float | None = None) -> None:  # noqa: ARG002  (the library's signature)
        self._value = value

    def get(self) -> float:
        return self._value

    def set_exemplar(self, exemplar: object) -> None:
        """There are none."""

    def get_exemplar(self) -> None:
        """There are none."""

    def write(self) -> None:
        if self._value != self._written:
            self._kept.set(self._value)
            self._written = self._value


def write_all() -> None:
    """Has the supervisor see what this worker has counted; elsewhere there is nothing to do."""
    for value in _Late.all:
        value.write()


def count_as(number: int) -> None:
    """In a worker, before it makes any metric: they go to files with its number, where its supervisor wants them."""
    if VARIABLE in os.environ:
        _Late._file = values.MultiProcessValue(lambda: number)  # type: ignore[no-untyped-call]
        values.ValueClass = _Late


def variables(folder: str | None) -> dict[str, str]:
    """The environment of a worker."""
    own = {name: value for name, value in os.environ.items() if name != VARIABLE}
    return own if folder is None else own | {VARIABLE: folder}


class SharedMetrics:
    """What the supervisor shows: the sums, its workers and their processes.

    Args:
        folder: has the workers' files.
        serving: the ids of those workers' processes that serve, by their numbers.
    """

    def __init__(self, folder: str, serving: Callable[[], Mapping[int, int]]) -> None:
        self._folder = folder
        self.registry = CollectorRegistry()
        MultiProcessCollector(self.registry, path=folder)  # type: ignore[no-untyped-call]
        workers = Gauge("podroute_workers", "Workers that serve.", registry=self.registry)
        workers.set_function(lambda: len(serving()))
        self._ends = Counter("podroute_worker_ends", "Workers that ended unasked.", registry=self.registry)
        self.registry.register(
            ProcessesCollector(
                lambda: {"supervisor": os.getpid()} | {str(number): pid for number, pid in serving().items()}
            )
        )

    async def text(self) -> bytes:
        """All of them in Prometheus' text format, written in a thread: it takes a while, and no calls wait here."""
        return await asyncio.to_thread(generate_latest, self.registry)

    def ended(self, number: int) -> None:
        """A worker ended unasked: its gauges go, what it counted stays."""
        self._ends.inc()
        mark_process_dead(number, self._folder)  # type: ignore[no-untyped-call]
