"""A write that its caller gave up is not done later, after what he wrote then over another path.

The control is the same with statements that commit by themselves: those that lay on the line, or before a server that
stood still, are run when it goes on, and undo what was acknowledged meanwhile.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import pathlib
import signal
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from typing import Any

import podroute
import psycopg
import pytest
import pytest_asyncio
from podroute import Path
from podroute_router.embedded import Cluster
from podroute_router.postgres import access, writing
from podroute_router.postgres.access import UNCOMMITTED_S
from psycopg.abc import PQGen
from psycopg.pq.abc import PGresult
from servers import router_values, separate_primary

from .callers import NO_RETRIES
from .conftest import DIRECT, FDW
from .lines import POD, Lines, lines
from .proxy import Mode
from .report import Report, Result
from .routers import router_process
from .scale import Scale

PATIENCE_S = 20.0
GIVEN_UP_S = 0.5
"""How long each write is waited for."""
SETTLED_S = 0.5
"""After which what lay on a line has been done, or never will be."""

FREEZES = 40
"""At most, until one met a write before its COMMIT."""
HELD_S = 3 * UNCOMMITTED_S
"""How long another writer waits for a record at most."""
HOT = "hot"
WARM_ROUNDS = 3
PLACES = 8
"""More than there are connections for writes."""

VECTOR, LATE, LAST = [1.0, 0.0, 0.0, 0.0], [2.0, 0.0, 0.0, 0.0], [3.0, 0.0, 0.0, 0.0]

_numbers = itertools.count(1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """What stands still, the path that goes there, and one that does not."""

    what: str
    path: Path
    other: Path
    stop: Callable[[Lines, Cluster], None]
    go_on: Callable[[Lines, Cluster], None]


CASES = (
    Case(
        what="the line to the pod held",
        path="direct",
        other="fdw",
        stop=lambda bad, _: bad.pod.mode(Mode.HOLD),
        go_on=lambda bad, _: bad.pod.mode(Mode.CARRY),
    ),
    Case(
        what="the line to the primary held",
        path="fdw",
        other="direct",
        stop=lambda bad, _: bad.primary.mode(Mode.HOLD),
        go_on=lambda bad, _: bad.primary.mode(Mode.CARRY),
    ),
    Case(
        what="the primary frozen",
        path="fdw",
        other="direct",
        stop=lambda _, cluster: cluster.primary.freeze(),
        go_on=lambda _, cluster: cluster.primary.thaw(),
    ),
)


@pytest_asyncio.fixture(scope="module")
async def bad_lines(cluster: Cluster) -> AsyncIterator[Lines]:
    async with lines(cluster) as opened:
        yield opened


async def upsert(client: podroute.AsyncClient, collection: str, record_id: str, path: Path) -> None:
    await client.upsert(collection, [(record_id, LATE, {})], path=path, timeout=GIVEN_UP_S)


async def upsert_existing(client: podroute.AsyncClient, collection: str, record_id: str, path: Path) -> None:
    await client.upsert(collection, [(record_id, LATE, {})], mode="update_only", path=path, timeout=GIVEN_UP_S)


async def delete(client: podroute.AsyncClient, collection: str, record_id: str, path: Path) -> None:
    await client.delete(collection, ids=[record_id], path=path, timeout=GIVEN_UP_S)


async def delete_matching(client: podroute.AsyncClient, collection: str, record_id: str, path: Path) -> None:
    await client.delete(
        collection, filter={"name": {"$eq": record_id}}, include_ids=True, path=path, timeout=GIVEN_UP_S
    )


async def update_metadata(client: podroute.AsyncClient, collection: str, record_id: str, path: Path) -> None:
    await client.update_metadata(collection, {"late": True}, ids=[record_id], path=path, timeout=GIVEN_UP_S)


WRITES = (upsert, upsert_existing, delete, delete_matching, update_metadata)


async def undone(bad_lines: Lines, cluster: Cluster, case: Case) -> list[str]:
    """Gives up one write of each kind, writes anew over the other path, and tells which of that is not there after."""
    for path in (DIRECT, FDW):
        await bad_lines.warm(path)
    collection, number = bad_lines.collection, next(_numbers)
    ids = {write.__name__: f"{write.__name__} {number}" for write in WRITES}
    async with podroute.AsyncClient(bad_lines.router.address, options=NO_RETRIES) as client:
        before = [(record_id, VECTOR, {"name": record_id}) for record_id in ids.values()]
        for _ in range(WARM_ROUNDS):  # so that each is prepared on every connection, and is then sent at once
            for write in WRITES:
                warming = (partial(write, client, collection, f"spare {n}", case.path) for n in range(PLACES))
                await asyncio.gather(*(persistently(each) for each in warming))
        await client.upsert(collection, before, path=case.path, timeout=PATIENCE_S)
        case.stop(bad_lines, cluster)
        try:
            given_up = await asyncio.gather(
                *(write(client, collection, ids[write.__name__], case.path) for write in WRITES),
                return_exceptions=True,
            )
            assert all(isinstance(error, podroute.Error) for error in given_up), given_up
            wanted = [(record_id, LAST, {"name": record_id}) for record_id in ids.values()]
            await persistently(lambda: client.upsert(collection, wanted, path=case.other, timeout=GIVEN_UP_S))
        finally:
            case.go_on(bad_lines, cluster)
        await asyncio.sleep(SETTLED_S)
        found = await client.fetch(collection, [*ids.values()], path=case.other, timeout=PATIENCE_S)
    there = {record.id: ([*record.vector], record.metadata) for record in found.records}
    return [record_id for record_id, vector, metadata in wanted if there.get(record_id) != (vector, metadata)]


async def persistently(call: Callable[[], Awaitable[object]]) -> None:
    """Until it succeeds."""
    async with asyncio.timeout(PATIENCE_S):
        while True:
            try:
                await call()
            except podroute.Error:
                await asyncio.sleep(0.05)
            else:
                return


async def test_a_write_that_was_given_up_is_not_done_after_later_ones(
    bad_lines: Lines, cluster: Cluster, report: Report, scale: Scale, monkeypatch: pytest.MonkeyPatch
) -> None:
    rounds = int(scale.pick(1, 10))
    cases = CASES[: int(scale.pick(1, len(CASES)))]
    found = {case.what: [await undone(bad_lines, cluster, case) for _ in range(rounds)] for case in cases}
    monkeypatch.setattr(access, "write_alone", writing.write)  # which commits by itself where there is no transaction
    control = await undone(bad_lines, cluster, CASES[0])
    for what, rounds_of in found.items():
        lost = [record_id for each in rounds_of for record_id in each]
        report.add(
            Result(
                promise=f"A write that its caller gave up is not done after later ones: {what}",
                load=f"{len(WRITES) * rounds} writes of {len(WRITES)} kinds given up after {GIVEN_UP_S} s, each "
                "followed by one over the other path",
                faults=f"{what} until that is acknowledged. Control: statements that commit by themselves undo "
                f"{len(control)} of {len(WRITES)}",
                figure=f"{len(lost)} undone",
                bound="0",
                held=not lost,
            )
        )
    assert not any(each for rounds_of in found.values() for each in rounds_of), found
    assert control


@contextmanager
def stopping_before_commit(stop: Callable[[], None]) -> Iterator[None]:
    """Has the next write stop something when it has its answer, just before its COMMIT."""
    real, stopped = writing._begun, []

    def begun(*write: Any) -> PQGen[PGresult]:
        result = yield from real(*write)
        if not stopped:
            stopped.append(True)
            stop()
        return result

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(writing, "_begun", begun)
        yield
    assert stopped


async def settled(bad_lines: Lines, cluster: Cluster, case: Case, *, replays: bool) -> tuple[float, bool]:
    """Writes a new record, whose COMMIT is late, repeats that over the other path, and deletes the record there.

    How long it took to be acknowledged, and whether the record came back after the deletion was.
    """
    for path in (DIRECT, FDW):
        await bad_lines.warm(path)
    collection, record_id = bad_lines.collection, f"new {next(_numbers)}"
    async with podroute.AsyncClient(bad_lines.router.address, options=NO_RETRIES) as client:
        began = time.monotonic()
        try:
            with stopping_before_commit(lambda: case.stop(bad_lines, cluster)), pytest.raises(podroute.Error):
                await upsert(client, collection, record_id, case.path)
            if replays:
                await persistently(lambda: upsert(client, collection, record_id, case.other))
            await persistently(lambda: delete(client, collection, record_id, case.other))
            took_s = time.monotonic() - began
        finally:
            case.go_on(bad_lines, cluster)
        await asyncio.sleep(SETTLED_S)
        found = await client.fetch(collection, [record_id], path=case.other, timeout=PATIENCE_S)
        return took_s, bool(found.records)


@pytest.mark.full
async def test_a_write_whose_commit_is_late_is_settled_by_a_replay(
    bad_lines: Lines, cluster: Cluster, report: Report
) -> None:
    found = {case.what: await settled(bad_lines, cluster, case, replays=True) for case in CASES}
    _, control = await settled(bad_lines, cluster, CASES[0], replays=False)
    bound_s = UNCOMMITTED_S + 4  # where the primary is frozen, it is its session on the pod that has to end
    for what, (took_s, came_back) in found.items():
        report.add(
            Result(
                promise=f"A write whose COMMIT is late is settled by a replay over the other path: {what}",
                load=f"an upsert of a new record given up after {GIVEN_UP_S} s, the same again, a deletion of it",
                faults=f"{what} just before the COMMIT, until all is acknowledged. Control: without the replay the "
                f"record {'comes back' if control else 'stays away'}",
                figure=f"acknowledged after {took_s:.1f} s, {int(came_back)} came back",
                bound=f"{bound_s} s, 0",
                held=took_s <= bound_s and not came_back,
            )
        )
    assert max(took_s for took_s, _ in found.values()) <= bound_s
    assert not any(came_back for _, came_back in found.values())
    assert control


@pytest.mark.full
@pytest.mark.parametrize("path", ["direct", "fdw"])
async def test_a_router_that_froze_before_its_commit_keeps_no_record_locked(
    cluster: Cluster, report: Report, tmp_path: pathlib.Path, path: Path
) -> None:
    """Frozen again until it was so between a write and its COMMIT. The control: without the bound it stays locked."""
    values = router_values(cluster, primary=separate_primary(cluster))
    values["limits"] = {"connections_per_pod": 2, "fdw_connections_per_pod": 2}  # of which one for writes
    collection = f"held_{path}"
    with router_process(values, tmp_path) as router:
        async with podroute.AsyncClient(router.address, options=NO_RETRIES) as client:
            await acknowledged_collection(client, collection)
            locked_s: list[float] = []
            while max(locked_s, default=0.0) < UNCOMMITTED_S / 2:
                assert len(locked_s) < FREEZES, locked_s
                writing_on = [asyncio.create_task(write_on(client, collection, path)) for _ in range(4)]
                await asyncio.sleep(0.5)
                os.kill(router.pid, signal.SIGSTOP)
                try:
                    locked_s.append(await asyncio.to_thread(update_past_podroute, cluster, collection))
                finally:
                    os.kill(router.pid, signal.SIGCONT)
                    for task in writing_on:
                        task.cancel()
                    await asyncio.gather(*writing_on, return_exceptions=True)
            await persistently(lambda: client.delete_collection(collection, timeout=PATIENCE_S))
    bound_s = UNCOMMITTED_S + 1
    report.add(
        Result(
            promise=f"A router that froze between a write and its COMMIT keeps no record locked, {path.upper()}",
            load="4 callers who write one record over one connection",
            faults=f"the router frozen, {len(locked_s)} times, until it was so before a COMMIT. Control: without the "
            "bound the record stays locked",
            figure=f"free after {max(locked_s):.1f} s",
            bound=f"{bound_s} s",
            held=max(locked_s) <= bound_s,
        )
    )
    assert max(locked_s) <= bound_s


async def acknowledged_collection(client: podroute.AsyncClient, name: str) -> None:
    """A new collection with the record HOT."""
    async with asyncio.timeout(PATIENCE_S):
        while POD not in {pod.name for pod in await client.pods()}:  # registered in the background
            await asyncio.sleep(0.02)
    await client.create_collection(name, dimension=len(VECTOR), pod=POD, timeout=PATIENCE_S)
    await client.upsert(name, [(HOT, VECTOR, {})], timeout=PATIENCE_S)


async def write_on(client: podroute.AsyncClient, collection: str, path: Path) -> None:
    """Until it is cancelled."""
    while True:
        with suppress(podroute.Error):
            await client.upsert(collection, [(HOT, LATE, {})], path=path, timeout=PATIENCE_S)


def update_past_podroute(cluster: Cluster, collection: str) -> float:
    """How long another writer of the record waits, in seconds."""
    server = cluster.pods[POD]
    with psycopg.connect(server.admin_conninfo(server.database), autocommit=True) as admin:
        admin.execute(f"set statement_timeout = '{HELD_S}s'")
        began = time.monotonic()
        with suppress(psycopg.errors.QueryCanceled):
            admin.execute(f"update vecs.{collection} set metadata = '{{}}' where id = %s".encode(), (HOT,))
        return time.monotonic() - began
