"""What the operating system says of processes that are not ours to wait for."""

from __future__ import annotations

import shutil
import subprocess
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

_PROC = Path("/proc")


@dataclass(frozen=True, slots=True, kw_only=True)
class Process:
    """A process that runs; one that has ended and was not reaped yet is none."""

    parent: int
    state: str
    """One letter of ps: T is stopped."""


def running() -> dict[int, Process]:
    """All processes that run, by id."""
    return _from_proc() if (_PROC / "self/stat").exists() else _from_ps()


def children(pid: int) -> list[int]:
    """The ids of the process's own children that run."""
    return [child for child, process in running().items() if process.parent == pid]


def command_line(pid: int) -> str:
    """The command a process was started with; empty where it is gone."""
    if (_PROC / "self/stat").exists():
        try:
            return (_PROC / str(pid) / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
        except OSError:
            return ""
    return _ps("-p", str(pid), "-o", "command=").strip()


def wait_gone(pids: Iterable[int], timeout_s: float) -> list[int]:
    """Waits until none of them runs; returns those that still do when the time is up."""
    deadline = time.monotonic() + timeout_s
    left = list(pids)
    while left := [pid for pid in left if pid in running()]:
        if time.monotonic() >= deadline:
            break
        time.sleep(0.01)
    return left


def _from_proc() -> dict[int, Process]:
    processes = {}
    for folder in _PROC.iterdir():
        if not folder.name.isdecimal():
            continue
        try:
            # pid (name, which may hold anything) state parent …
            state, parent = (folder / "stat").read_bytes().rpartition(b")")[2].split()[:2]
        except (OSError, ValueError):
            continue
        processes[int(folder.name)] = Process(parent=int(parent), state=state.decode())
    return {pid: process for pid, process in processes.items() if process.state not in ("Z", "X")}


def _from_ps() -> dict[int, Process]:
    processes = {}
    for line in _ps("-A", "-o", "pid=,ppid=,state=").splitlines():
        pid, parent, state = line.split()[:3]
        if not state.startswith("Z"):
            processes[int(pid)] = Process(parent=int(parent), state=state[0])
    return processes


def _ps(*arguments: str) -> str:
    program = shutil.which("ps") or "/bin/ps"
    return subprocess.run([program, *arguments], capture_output=True, text=True, timeout=10, check=False).stdout
