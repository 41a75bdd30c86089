"""Mixed load for minutes: what a router holds does not grow."""

from __future__ import annotations

import asyncio
import json
import os
import statistics
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields
from pathlib import Path
from subprocess import DEVNULL, PIPE, Popen

import podroute
import psycopg
import pytest
from podroute import Record
from podroute_command import environment
from podroute_router.embedded import Cluster
from servers import router_values

from .mixed_load import IDS, Ended, called, prepared, vector
from .report import Report, Result
from .routers import write_config
from .scale import Scale

WATCHED = Path(__file__).with_name("watched_router.py")
CALLERS = 8
LOOK_S = 0.5
LEAK_S = 6.0
APPLICATION = "soak"


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """What a router holds at a time."""

    rss_mib: float
    descriptors: int
    sessions: int
    """On pods and primary, those of postgres_fdw behind them aside."""
    statements: int
    """Prepared, on all of its connections."""
    tasks: int


SLACK = Held(rss_mib=6, descriptors=4, sessions=2, statements=6, tasks=8)
"""By how much the middle of the last third may be above that of the first: each connection prepares a statement when it
has run it a few times, so that the rare ones come late."""


def growth(looks: Sequence[Held]) -> dict[str, float]:
    """The median of the last third of the looks less that of the first, for everything that is held."""
    third = len(looks) // 3
    return {
        field.name: statistics.median(getattr(look, field.name) for look in looks[-third:])
        - statistics.median(getattr(look, field.name) for look in looks[:third])
        for field in fields(Held)
    }


def grown(looks: Sequence[Held]) -> list[str]:
    """What has grown by more than the slack."""
    return [name for name, by in growth(looks).items() if by > getattr(SLACK, name)]


class Watched:
    """A router in a process of watched_router.py.

    Args:
        process: it.
        address: where it listens.
        databases: where its sessions are.
    """

    def __init__(self, process: Popen[bytes], address: str, databases: list[str]) -> None:
        self.address = address
        self._process = process
        self._databases = databases

    async def look(self, command: str = "look") -> Held:
        """What it holds now."""
        told = await asyncio.to_thread(self._ask, command)
        folder = Path(f"/proc/{self._process.pid}")
        pages = int((folder / "statm").read_text(encoding="ascii").split()[1])
        return Held(
            rss_mib=pages * os.sysconf("SC_PAGESIZE") / 2**20,
            descriptors=len(list((folder / "fd").iterdir())),
            sessions=await asyncio.to_thread(self._sessions),
            statements=told["statements"],
            tasks=told["tasks"],
        )

    async def looks(self, seconds: float) -> list[Held]:
        """Looks again and again for so long."""
        found, end = [], time.monotonic() + seconds
        pause_s = min(LOOK_S, seconds / 10)
        while time.monotonic() < end:
            found.append(await self.look())
            await asyncio.sleep(pause_s)
        return found

    def _ask(self, command: str) -> dict[str, int]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{command}\n".encode())
        answer: dict[str, int] = json.loads(self._process.stdout.readline())
        return answer

    def _sessions(self) -> int:
        count = 0
        for conninfo in self._databases:
            with psycopg.connect(conninfo) as connection:
                query = "select count(*) from pg_stat_activity where application_name = %s"
                count += (connection.execute(query, [APPLICATION]).fetchone() or (0,))[0]
        return count


@contextmanager
def watched(cluster: Cluster, folder: Path) -> Iterator[Watched]:
    """A router of the cluster."""
    values = router_values(cluster)
    for database in (values["primary"], *(pod for pod in values["pods"].values() if "dsn" in pod)):
        database["dsn"] += f" application_name={APPLICATION}"
    file = folder / "podroute.toml"
    write_config(file, values)
    process = Popen(
        [sys.executable, WATCHED, file], stdin=PIPE, stdout=PIPE, stderr=DEVNULL, bufsize=0, env=environment()
    )
    try:
        assert process.stdout is not None
        address = json.loads(process.stdout.readline())["address"]
        databases = [server.admin_conninfo(server.database) for server in cluster.servers.values()]
        yield Watched(process, address, databases)
    finally:
        process.kill()
        process.communicate()


async def extras(client: podroute.AsyncClient, name: str, ended: Ended) -> None:
    """What callers do now and then: a scan, a stream of upserts, a call given up, one that is wrong. Never returns."""
    while True:

        async def scan() -> None:
            async for _ in client.scan(name, page_size=50):
                pass

        records = [Record(f"r{number}", vector(number), {}) for number in range(IDS)]
        await ended.count("scan", scan())
        await ended.count("upsert_many", client.upsert_many(name, records, batch=20))
        given_up = asyncio.create_task(client.query(name, vector(1), exact=True))
        await asyncio.sleep(0.001)
        given_up.cancel()
        await asyncio.gather(given_up, return_exceptions=True)
        with pytest.raises(podroute.NotFound):
            await client.count("no_such_collection")
        await asyncio.sleep(0.2)


@pytest.mark.full
async def test_nothing_grows_under_mixed_load(cluster: Cluster, scale: Scale, report: Report, tmp_path: Path) -> None:
    """The control is the same router once it is told to lose memory, descriptors and tasks: that is noticed."""
    seconds = scale.pick(3, scale.minutes * 60)
    with watched(cluster, tmp_path) as router:
        async with podroute.AsyncClient(router.address) as client:
            names = [await prepared(client, f"soak_{pod}", pod) for pod in ("alpha", "beta")]
            async with called(client, names, scale.random(), callers=CALLERS) as ended:
                others = asyncio.create_task(extras(client, names[0], ended))
                await asyncio.sleep(scale.pick(1.5, min(30, seconds / 4)))
                looks = await router.looks(seconds)
                await router.look("leak")
                leaking = await router.looks(scale.pick(2, LEAK_S))
                assert not others.done()
                others.cancel()
            for name in names:
                await client.delete_collection(name)
    by = growth(looks)
    report.add(
        Result(
            promise="Soak: memory, descriptors, sessions, prepared statements and tasks do not grow",
            load=f"{seconds / 60:.1f} min, {CALLERS} callers on both paths, {ended.served.total()} calls",
            faults=f"calls given up and wrong ones; control, a leak: {', '.join(grown(leaking))} grew",
            figure=f"{', '.join(f'{name} {value:+.1f}' for name, value in by.items())}; {ended.told()}",
            bound=", ".join(f"{field.name} ≤ +{getattr(SLACK, field.name):g}" for field in fields(Held)),
            held=not grown(looks) and not ended.failed,
        )
    )
    assert {"rss_mib", "descriptors", "tasks"} <= set(grown(leaking))
    assert not ended.failed
    if scale.full:
        assert not grown(looks)
