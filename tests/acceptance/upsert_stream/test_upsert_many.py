"""Many records by either client: all are stored, whatever dies on the way."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import podroute
import pytest
from podroute_router.embedded import Cluster
from podroute_router.server import Router

from .harness import DIMENSION, POD, running, stored

RECORDS = 6_000
BATCH = 50


def many_records() -> Iterator[podroute.Record]:
    for number in range(RECORDS):
        yield podroute.Record(str(number), [float(number)] * DIMENSION, {"n": number})


async def many_records_async() -> AsyncIterator[podroute.Record]:
    for record in many_records():
        yield record


class Interrupted:
    """Calls `interrupt` once, when a third of the records is acknowledged, and checks that acknowledgements grow."""

    def __init__(self, interrupt: Callable[[], None]) -> None:
        self._interrupt: Callable[[], None] | None = interrupt
        self.seen = [0]

    def __call__(self, acknowledged: int) -> None:
        assert acknowledged > self.seen[-1]
        self.seen.append(acknowledged)
        if acknowledged > RECORDS / 3 and self._interrupt is not None:
            self._interrupt()
            self._interrupt = None


def assert_all_stored(cluster: Cluster, collection: str) -> None:
    expected = {str(n): f"[{n},{n},{n},{n}]" for n in range(RECORDS)}
    assert stored(cluster, collection) == expected


async def test_many_records_are_stored_whichever_client_sends_them(
    cluster: Cluster, router: Router, client: podroute.AsyncClient, collection: str, path: Any
) -> None:
    asynchronous = await client.upsert_many(collection, many_records_async(), batch=1000, path=path)
    assert asynchronous.record_count == RECORDS
    assert (asynchronous.route.path, asynchronous.route.pods) == (path, (POD,))
    assert_all_stored(cluster, collection)
    await client.delete(collection, ids=[str(n) for n in range(RECORDS)])

    def send() -> podroute.UpsertManyResult:
        with podroute.Client(router.address) as blocking:
            return blocking.upsert_many(collection, many_records(), batch=1000, path=path)

    assert await asyncio.to_thread(send) == asynchronous
    assert_all_stored(cluster, collection)


@pytest.mark.parametrize("kind", [podroute.Client, podroute.AsyncClient], ids=["blocking", "asyncio"])
async def test_many_records_survive_the_death_of_their_pod(
    cluster: Cluster, router: Router, collection: str, path: Any, kind: type
) -> None:
    pod = cluster.pods[POD]

    def die() -> None:
        pod.kill()
        pod.start()

    progress = Interrupted(die)
    settings = {"batch": BATCH, "path": path, "on_progress": progress}
    if kind is podroute.AsyncClient:
        async with podroute.AsyncClient(router.address) as opened:
            result = await opened.upsert_many(collection, many_records(), **settings)
    else:
        with podroute.Client(router.address) as blocking:
            result = await asyncio.to_thread(blocking.upsert_many, collection, many_records(), **settings)
    assert result.record_count == progress.seen[-1] == RECORDS
    assert_all_stored(cluster, collection)


async def test_many_records_survive_the_restart_of_their_router(cluster: Cluster, collection: str, path: Any) -> None:
    async with running(cluster) as first:
        address = first.address
        restarted = asyncio.Event()
        progress = Interrupted(restarted.set)
        async with podroute.AsyncClient(address) as client:
            sending = asyncio.create_task(
                client.upsert_many(collection, many_records(), batch=BATCH, path=path, on_progress=progress)
            )
            await restarted.wait()
            await first.stop(grace_s=0.1)
            assert not sending.done()
            await asyncio.sleep(0.3)
            async with running(cluster, port=int(address.rpartition(":")[2])):
                result = await sending
    assert result.record_count == progress.seen[-1] == RECORDS
    assert_all_stored(cluster, collection)


async def test_a_bad_record_ends_the_upsert_and_tells_how_many_are_stored(
    client: podroute.AsyncClient, collection: str
) -> None:
    good = [(str(n), [1.0] * DIMENSION, {}) for n in range(250)]
    with pytest.raises(podroute.InvalidArgument) as failed:
        await client.upsert_many(collection, [*good, ("bad", [1.0], {})], batch=100)
    assert failed.value.reason == "DIMENSION_MISMATCH"
    assert failed.value.metadata["acknowledged"] == "200"
    assert failed.value.metadata["field"] == "records[50].vector"
    assert (await client.count(collection)).count == 200
