"""Callers of podroute's client that upsert, query, fetch, count and delete on both paths, and how their calls ended."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial

import podroute
from podroute.values import Path as AccessPath

DIMENSION = 8
IDS = 200
"""Records that the callers write to and read from; so a collection does not grow."""
CALL_TIMEOUT_S = 10.0
PATHS: tuple[AccessPath, ...] = ("direct", "fdw")


@dataclass(slots=True, kw_only=True)
class Ended:
    """How calls ended.

    Args:
        served: how many were, by name of the call and path.
        failed: by name of the call, path, class of the error and its reason.
    """

    served: Counter[str] = field(default_factory=Counter)
    failed: Counter[str] = field(default_factory=Counter)

    async def count(self, name: str, call: Awaitable[object]) -> None:
        """Waits for the call and counts it."""
        try:
            await call
        except podroute.Error as error:
            self.failed[f"{name} {type(error).__name__} {error.reason}"] += 1
        else:
            self.served[name] += 1

    def told(self) -> str:
        """For a table's cell."""
        total = self.served.total() + self.failed.total()
        return f"{self.failed.total()} of {total} calls failed" + (f": {dict(self.failed)}" if self.failed else "")


def vector(number: int) -> list[float]:
    """Some vector, the same for each number."""
    return [float((number * 31 + place * 17) % 97) for place in range(DIMENSION)]


async def prepared(client: podroute.AsyncClient, name: str, pod: str) -> str:
    """A collection with all records."""
    await client.create_collection(name, dimension=DIMENSION, pod=pod)
    await client.upsert(name, [(f"r{number}", vector(number), {"n": number}) for number in range(IDS)])
    return name


class Caller:
    """Makes one call after the other, drawn at random.

    Args:
        client: makes them.
        collections: that are called.
        drawn: where chance comes from.
        ended: counts them.
    """

    def __init__(
        self, client: podroute.AsyncClient, collections: list[str], drawn: random.Random, ended: Ended
    ) -> None:
        self._client = client
        self._collections = collections
        self._random = drawn
        self._ended = ended

    async def one(self) -> None:
        """A call."""
        name, path = self._random.choice(self._collections), self._random.choice(PATHS)
        kind, call = self._random.choice(self._calls(name, self._random.randrange(IDS)))
        await self._ended.count(f"{kind} {path}", call(path=path, timeout=CALL_TIMEOUT_S))

    def _calls(self, name: str, number: int) -> list[tuple[str, Callable[..., Awaitable[object]]]]:
        client, record = self._client, (f"r{number}", vector(number), {"n": number})
        return [
            ("upsert", partial(client.upsert, name, [record])),
            ("query", partial(client.query, name, vector(number))),
            ("query", partial(client.query, name, vector(number), filter={"n": {"$lt": number}})),
            ("fetch", partial(client.fetch, name, [f"r{number}"])),
            ("delete", partial(client.delete, name, ids=[f"r{number}"])),
            ("count", partial(client.count, name)),
        ]


@asynccontextmanager
async def called(
    client: podroute.AsyncClient, collections: list[str], drawn: random.Random, *, callers: int, pause_s: float = 0.0
) -> AsyncIterator[Ended]:
    """Callers go on meanwhile; at the end their last calls are waited for."""
    ended = Ended()
    stopping = asyncio.Event()

    async def go_on(caller: Caller) -> None:
        while not stopping.is_set():
            await caller.one()
            await asyncio.sleep(pause_s)

    seeds = [random.Random(drawn.random()) for _ in range(callers)]
    tasks = [asyncio.create_task(go_on(Caller(client, collections, seed, ended))) for seed in seeds]
    try:
        yield ended
        stopping.set()
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
