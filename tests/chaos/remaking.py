"""A collection that is made, filled, deleted and made anew on any pod, by any router, while things are killed."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress

import podroute
from podroute import Error

from .callers import Callers
from .ledger import DIMENSION, Key, Ledger, State

ADMIN_TIMEOUT_S = 5.0
PAUSE_S = 0.05
LIVES_S = 0.3
"""How long an incarnation lives."""


class Remaker:
    """The one who makes and deletes it, and writes to it.

    Args:
        name: the collection's.
        pods: where it may be.
        callers: of whom it takes clients, and who note errors.
        ledger: what is known.
        generator: of all that is drawn.
    """

    def __init__(
        self, name: str, pods: Sequence[str], callers: Callers, ledger: Ledger, generator: random.Random
    ) -> None:
        self._name = name
        self._pods = pods
        self._callers = callers
        self._ledger = ledger
        self._random = generator
        self._keys: list[Key] = [(name, str(number)) for number in range(6)]
        self.pod = ""
        """Where it is."""
        self.incarnations = 0
        """How often it was made."""

    async def run(self, stopping: asyncio.Event) -> None:
        """Goes on until the event; the last incarnation stays."""
        await self._create()
        while True:
            loop = asyncio.get_running_loop()
            until = loop.time() + LIVES_S
            while loop.time() < until:
                await self._callers.write_some(self._keys, self._random)
            if stopping.is_set():
                return
            await self._delete()
            await self._create()

    async def _create(self) -> None:
        """On another pod perhaps after each attempt that failed: what such a one left behind must not matter."""

        async def attempt(client: podroute.AsyncClient) -> None:
            pod = self._random.choice(self._pods)
            try:
                made = await client.create_collection(
                    self._name, DIMENSION, metric="l2", pod=pod, timeout=ADMIN_TIMEOUT_S
                )
            except podroute.AlreadyExists as error:
                if error.reason == "COLLECTION_EXISTS":  # an attempt before was cut off, perhaps before its end
                    await client.delete_collection(self._name, timeout=ADMIN_TIMEOUT_S)
                raise
            self.pod = made.placement.pod

        await self._until_done(attempt)
        self.incarnations += 1

    async def _delete(self) -> None:
        wanted: dict[Key, State] = dict.fromkeys(self._keys)

        async def attempt(client: podroute.AsyncClient) -> None:
            with suppress(podroute.NotFound):  # an attempt before did it
                await client.delete_collection(self._name, timeout=ADMIN_TIMEOUT_S)

        self._ledger.begin(wanted)
        await self._until_done(attempt)
        self._ledger.acknowledge(wanted)

    async def _until_done(self, attempt: Callable[[podroute.AsyncClient], Awaitable[None]]) -> None:
        while True:
            try:
                return await attempt(self._callers.client(self._random))
            except Error as error:
                self._callers.note(error)
                await asyncio.sleep(PAUSE_S)
