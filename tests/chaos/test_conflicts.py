"""Writers that meet on one record, or lock records in opposite orders, are run anew until they succeed.

The control is in each test of one hot record: without the rerun (`until_no_conflict`) callers get errors.
"""

from __future__ import annotations

import asyncio
import itertools
import random
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from typing import NamedTuple, TypeVar

import podroute
import psycopg
import pytest
import pytest_asyncio
from podroute import Path
from podroute_router.config import make_config
from podroute_router.domain import Deadline
from podroute_router.embedded import Cluster
from podroute_router.errors import Aborted
from podroute_router.postgres import access
from podroute_router.server import Router
from servers import router_values

from .callers import NO_RETRIES
from .ledger import DIMENSION, Version, metadata_of, vector_of
from .report import Report, Result
from .scale import Scale

WRITERS = 16
DEADLINE_S = 10.0
COLLECTION = "conflicts"
POD = "alpha"
HOT = (COLLECTION, "hot")
BATCH = 40

T = TypeVar("T")


class Write(NamedTuple):
    """One that was acknowledged; `number` is None of a deletion."""

    number: int | None
    began: float
    ended: float


class Attempts:
    """Stands before `until_no_conflict` and counts; may leave out its reruns."""

    def __init__(self) -> None:
        self.calls = 0
        self.attempts = 0
        self.once = False
        self._real = access.until_no_conflict

    async def __call__(self, attempt: Callable[[], Awaitable[T]], deadline: Deadline) -> T:
        """As `until_no_conflict`."""
        self.calls += 1

        async def counted() -> T:
            self.attempts += 1
            return await attempt()

        return await (counted() if self.once else self._real(counted, deadline))

    @property
    def reruns(self) -> int:
        """Attempts after the first of each call."""
        return self.attempts - self.calls


@pytest.fixture
def attempts(monkeypatch: pytest.MonkeyPatch) -> Attempts:
    counter = Attempts()
    monkeypatch.setattr(access, "until_no_conflict", counter)
    return counter


@pytest_asyncio.fixture
async def clients(cluster: Cluster) -> AsyncIterator[list[podroute.AsyncClient]]:
    """Of two routers, with a collection."""
    async with AsyncExitStack() as stack:
        found = []
        for number in range(2):
            values = router_values(cluster)
            values["router"]["state_dir"] = str(cluster.state_folder / f"conflicts{number}")
            router = await Router.start(make_config(values))
            stack.push_async_callback(router.stop, grace_s=0)
            client = podroute.AsyncClient(router.address, timeout_s=DEADLINE_S, options=NO_RETRIES)
            found.append(await stack.enter_async_context(client))
        await found[0].create_collection(COLLECTION, DIMENSION, metric="l2", pod=POD)
        yield found
        await found[0].delete_collection(COLLECTION)


class Storm:
    """Writers on the hot record."""

    def __init__(
        self, clients: Sequence[podroute.AsyncClient], paths: Sequence[Path], generator: random.Random
    ) -> None:
        self._clients = clients
        self._paths = paths
        self._random = generator
        self._numbers = itertools.count(1)
        self.writes: list[Write] = []
        self.touches: set[int] = {0}
        self.errors: Counter[str] = Counter()
        self.slowest_s = 0.0

    async def rage(self, rounds: int) -> None:
        """All writers at once, so many writes each."""
        await asyncio.gather(*(self._write(number, rounds) for number in range(WRITERS)))

    async def _write(self, writer: int, rounds: int) -> None:
        client = self._clients[writer % len(self._clients)]
        for _ in range(rounds):
            path, kind, number = self._random.choice(self._paths), self._random.random(), next(self._numbers)
            began = time.monotonic()
            try:
                if kind < 0.6:
                    version = Version(number)
                    await client.upsert(
                        COLLECTION, [(HOT[1], vector_of(HOT, version), metadata_of(HOT, version))], path=path
                    )
                elif kind < 0.9:
                    await client.update_metadata(COLLECTION, {"touched": number}, ids=[HOT[1]], path=path)
                else:
                    await client.delete(COLLECTION, ids=[HOT[1]], path=path)
            except podroute.Error as error:
                self.errors[f"{error.code.name} {error.reason}"] += 1
                continue
            finally:
                self.slowest_s = max(self.slowest_s, time.monotonic() - began)
            if 0.6 <= kind < 0.9:
                self.touches.add(number)
            else:
                self.writes.append(Write(number if kind < 0.6 else None, began, time.monotonic()))

    def may_be_last(self, number: int | None) -> bool:
        """True where no other write began after one of that number had ended."""
        latest = max(write.began for write in self.writes)
        return any(write.number == number and write.ended >= latest for write in self.writes)


@pytest.mark.parametrize("paths", [("direct",), ("fdw",), ("direct", "fdw")], ids="+".join)
async def test_writers_on_one_record_all_succeed(
    clients: list[podroute.AsyncClient],
    attempts: Attempts,
    paths: Sequence[Path],
    scale: Scale,
    report: Report,
) -> None:
    attempts.once = True
    control = Storm(clients, paths, scale.random())
    await control.rage(5)
    control_errors = control.errors.total()
    attempts.once, attempts.calls, attempts.attempts = False, 0, 0

    storm = Storm(clients, paths, scale.random())
    rounds = int(scale.pick(8, 150))
    await storm.rage(rounds)
    found = await clients[0].fetch(COLLECTION, [HOT[1]])
    record = found.records[0] if found.records else None
    last = None if record is None else int(record.metadata["number"])
    is_written = storm.may_be_last(last) and (
        record is None
        or (list(record.vector) == vector_of(HOT, Version(last or 0)) and record.metadata["touched"] in storm.touches)
    )
    errors = storm.errors.total()
    way = " and ".join(path.upper() for path in paths)
    report.add(
        Result(
            promise=f"Writers on one record over {way} all succeed, and what stands is what one of the last wrote",
            load=f"{WRITERS} writers on 2 routers, {WRITERS * rounds} upserts, updates and deletes of one id",
            faults=f"conflicts: {attempts.reruns} attempts run anew. Control: without the rerun "
            f"{control_errors} of {WRITERS * 5} calls fail",
            figure=f"{errors} errors; slowest call {storm.slowest_s:.2f} s; state {'right' if is_written else 'WRONG'}",
            bound=f"0 errors within {DEADLINE_S:g} s",
            held=not errors and is_written,
        )
    )
    assert not storm.errors
    assert is_written
    if paths == ("fdw",):  # over DIRECT, READ COMMITTED waits and goes on; few conflicts are left where both are used
        assert control_errors, "the control shows that there are conflicts"


async def test_batches_in_opposite_orders_all_succeed(
    cluster: Cluster, clients: list[podroute.AsyncClient], scale: Scale, report: Report
) -> None:
    ids = [str(number) for number in range(BATCH)]
    records = [(each, [1.0] * DIMENSION, {"even": int(each) % 2 == 0}) for each in ids]
    await clients[0].upsert(COLLECTION, records)
    deadlocks = _deadlocks(cluster)
    errors: Counter[str] = Counter()
    slowest_s = 0.0

    async def batches(number: int, generator: random.Random) -> None:
        nonlocal slowest_s
        client = clients[number % len(clients)]
        for _ in range(int(scale.pick(6, 60))):
            path: Path = generator.choice(("direct", "fdw"))
            some = generator.sample(ids, BATCH)
            began = time.monotonic()
            try:
                match generator.choices(("ids", "filter", "delete", "returning", "upsert"), (3, 3, 1, 1, 4))[0]:
                    case "ids":
                        await client.update_metadata(COLLECTION, {"by": number}, ids=some, path=path)
                    case "filter":
                        await client.update_metadata(COLLECTION, {"by": number}, filter={"even": True}, path=path)
                    case "delete":
                        await client.delete(COLLECTION, ids=some, path=path)
                    case "returning":
                        await client.delete(COLLECTION, ids=some, include_ids=True, path=path)
                    case "upsert":
                        await client.upsert(COLLECTION, generator.sample(records, BATCH), path=path)
            except podroute.Error as error:
                errors[f"{error.code.name} {error.reason}"] += 1
            slowest_s = max(slowest_s, time.monotonic() - began)

    generator = scale.random()
    await asyncio.gather(*(batches(number, random.Random(generator.random())) for number in range(8)))
    deadlocks = _deadlocks(cluster) - deadlocks
    report.add(
        Result(
            promise="Calls that lock the same records in opposite orders all succeed",
            load=f"8 writers on 2 routers over both paths: batches of {BATCH} ids in random order, and filters",
            faults=f"{deadlocks} deadlocks in PostgreSQL",
            figure=f"{errors.total()} errors; slowest call {slowest_s:.2f} s",
            bound=f"0 errors within {DEADLINE_S:g} s",
            held=not errors,
        )
    )
    assert not errors


async def test_a_deadlock_is_run_anew(
    cluster: Cluster, clients: list[podroute.AsyncClient], attempts: Attempts
) -> None:
    """One made on purpose: a session of somebody's takes the locks the other way round."""
    await clients[0].upsert(COLLECTION, [(each, [1.0] * DIMENSION, {}) for each in ("a", "b")])
    server = cluster.pods[POD]
    before = _deadlocks(cluster)
    other = await psycopg.AsyncConnection.connect(server.admin_conninfo(server.database))
    async with other:
        await other.execute("set deadlock_timeout = '1min'")  # it is the router's session that gives way
        await other.execute(f"update vecs.{COLLECTION} set metadata = '{{}}' where id = 'b'".encode())
        call = asyncio.create_task(clients[0].update_metadata(COLLECTION, {"x": 1}, ids=["a", "b"], path="direct"))
        await asyncio.sleep(0.2)
        await other.execute(f"update vecs.{COLLECTION} set metadata = '{{}}' where id = 'a'".encode())
        await other.commit()
    assert (await call).updated_count == 2
    assert attempts.reruns >= 1
    assert _deadlocks(cluster) > before


async def test_conflicts_without_end_are_told_as_such_at_the_deadline() -> None:
    async def attempt() -> None:
        raise Aborted("WRITE_CONFLICT", "lost")

    began = time.monotonic()
    with pytest.raises(Aborted):
        await access.until_no_conflict(attempt, Deadline.after(0.3))
    assert time.monotonic() - began < 2.0


def _deadlocks(cluster: Cluster) -> int:
    server = cluster.pods[POD]
    with psycopg.connect(server.admin_conninfo(server.database)) as connection:
        row = connection.execute("select deadlocks from pg_stat_database where datname = current_database()").fetchone()
    assert row is not None
    return int(row[0])
