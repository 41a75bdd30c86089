"""Routers as users run them: the command `podroute serve`, in a process of its own, with a file of its own."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from podroute_command import Running, started


class RouterProcess:
    """A router that serves.

    Args:
        running: its process.
        address: where it listens.
    """

    def __init__(self, running: Running, address: str) -> None:
        self.running = running
        self.address = address

    @property
    def pid(self) -> int:
        """The process id."""
        return self.running.process.pid


def write_config(file: Path, values: Mapping[str, Any]) -> None:
    """Writes a configuration, such as `servers.router_values` gives, as the TOML that users write."""
    pods: Mapping[str, Mapping[str, Any]] = values.get("pods", {})
    sections = {key: section for key, section in values.items() if key != "pods"}
    sections |= {f"pods.{name}": pod for name, pod in pods.items()}
    lines = [
        line
        for name, keys in sections.items()
        for line in (f"[{name}]", *(f"{key} = {json.dumps(value)}" for key, value in keys.items()), "")
    ]
    file.write_text("\n".join(lines), encoding="utf-8")


@contextmanager
def router_process(values: Mapping[str, Any], folder: Path, **variables: str) -> Iterator[RouterProcess]:
    """Starts a router and waits until it serves; it is killed where it still runs in the end.

    Args:
        values: its configuration; `router.listen` with port 0 takes a free one.
        folder: gets its file `podroute.toml`; should be its alone.
        variables: of its environment.
    """
    file = folder / "podroute.toml"
    write_config(file, values)
    with started("serve", "--config", file, **variables) as running:
        yield RouterProcess(running, running.wait_for(r"serving on ([^\s\"]+)", on_stderr=True))
