"""PostgreSQL settings for servers that share a machine with their clients."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from pathlib import Path

from podroute_router.embedded.errors import EmbeddedError

_MIB = 1024 * 1024
_CGROUP_LIMITS = (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"))


def machine_memory_bytes() -> int:
    """The memory that this process may use: the machine's, or less in a container."""
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    for path in _CGROUP_LIMITS:
        try:
            memory = min(memory, int(path.read_text(encoding="ascii")))
        except (OSError, ValueError):
            continue
    return memory


def shared_memory_bytes() -> int | None:
    """Room in /dev/shm, which is as little as 64 MiB in a container; None where the system has none."""
    try:
        return shutil.disk_usage("/dev/shm").free  # noqa: S108
    except OSError:
        return None


def scaled_settings(*, memory_bytes: int, shm_bytes: int | None, processors: int, servers: int) -> dict[str, str]:
    """Memory and parallelism for one of some servers that together take a modest part of a machine."""
    shared_buffers = _clamp(memory_bytes // 8 // servers, 128 * _MIB, 1024 * _MIB)
    maintenance = _clamp(memory_bytes // 16 // servers, 64 * _MIB, 512 * _MIB)
    # A parallel HNSW build holds its graph in /dev/shm, and fails where it does not fit.
    builders = min(4, max(1, processors - 1)) if shm_bytes is None or shm_bytes // servers > 2 * maintenance else 0
    return {
        "shared_buffers": f"{shared_buffers // _MIB}MB",
        "effective_cache_size": f"{max(shared_buffers, memory_bytes // 2 // servers) // _MIB}MB",
        "maintenance_work_mem": f"{maintenance // _MIB}MB",
        "work_mem": "16MB",
        "max_connections": "100",
        "max_parallel_workers": str(max(2, processors)),
        "max_parallel_maintenance_workers": str(builders),
        "jit": "off",
    }


def configuration_file(include: Path, settings: Mapping[str, str]) -> str:
    """A postgresql.conf that reads another one and overrides it."""
    lines = [f"include = {_quoted(str(include))}"]
    for name, value in settings.items():
        if not name.replace(".", "_").isidentifier():
            raise EmbeddedError(f"no PostgreSQL setting is called {name!r}")
        lines.append(f"{name} = {_quoted(value)}")
    return "\n".join(lines) + "\n"


def _quoted(value: str) -> str:
    if "\n" in value or "\r" in value:
        raise EmbeddedError("a PostgreSQL setting cannot span lines")
    return "'" + value.replace("\\", "\\\\").replace("'", "''") + "'"


def _clamp(value: int, least: int, most: int) -> int:
    return max(least, min(most, value))
