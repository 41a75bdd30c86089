"""Callers that write and read records while things are killed, and note in a ledger what they were told."""

from __future__ import annotations

import asyncio
import itertools
import random
from collections import Counter
from collections.abc import Awaitable, Mapping, Sequence

import grpc
import podroute
from podroute import Error, FetchResult, Path

from .ledger import Key, Ledger, State, Version, metadata_of, vector_of

PATHS: tuple[Path, ...] = ("direct", "fdw", "auto")
TIMEOUT_S = 2.0
PAUSE_S = 0.004
"""Between two calls of a caller, on the average: the machine is to be busy, not drowned."""

NO_RETRIES = [
    ("grpc.enable_retries", 0),
    ("grpc.initial_reconnect_backoff_ms", 50),
    ("grpc.max_reconnect_backoff_ms", 200),
]
"""Each error is seen as it comes: a retry of gRPC's would hide it behind the next one."""

_UNKNOWN_WITHOUT_REASON = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED)
_REFUSING = {
    "ABORTED": {"WRITE_CONFLICT"},
    "RESOURCE_EXHAUSTED": {"POD_BUSY", "DATABASE_RESOURCES"},
    "UNAVAILABLE": None,
    "NOT_FOUND": {"COLLECTION_NOT_FOUND"},
    "ALREADY_EXISTS": {"COLLECTION_EXISTS"},
}
"""Codes and reasons that a kill can bring about, and that say that nothing was written."""


def is_unknown(error: Error) -> bool:
    """True where the write may have been done: that is what the contract promises to tell."""
    if error.reason == "OUTCOME_UNKNOWN" or error.code is grpc.StatusCode.DEADLINE_EXCEEDED:
        return True
    return not error.reason and error.code in _UNKNOWN_WITHOUT_REASON


def is_expected(error: Error) -> bool:
    """False for what no kill can excuse, such as INTERNAL."""
    if is_unknown(error):
        return True
    reasons = _REFUSING.get(error.code.name, set())
    return bool(error.reason) and (reasons is None or error.reason in reasons)


class Callers:
    """The load of one run.

    Args:
        clients: one for each router.
        ledger: what is known.
        generator: of all that is drawn.
        collections: what is read.
    """

    def __init__(
        self,
        clients: Sequence[podroute.AsyncClient],
        ledger: Ledger,
        generator: random.Random,
        collections: Sequence[str],
    ) -> None:
        self._clients = clients
        self._ledger = ledger
        self._random = generator
        self._collections = collections
        self._numbers = itertools.count(1)
        self._stopping = asyncio.Event()
        self.ended: Counter[str] = Counter()
        """Calls that failed, by code and reason."""
        self.unexpected: list[str] = []
        """Errors that no kill can excuse."""
        self.reads = 0
        """Reads that were answered."""

    def stop(self) -> None:
        """Has every caller end after its call."""
        self._stopping.set()

    async def run(self, written: Sequence[str], *, writers: int, readers: int, ids_each: int) -> None:
        """Writes to some collections, and reads all, until `stop`."""
        async with asyncio.TaskGroup() as group:
            for number in range(writers):
                collection = written[number % len(written)]
                keys = [(collection, f"{number}-{each}") for each in range(ids_each)]
                group.create_task(self._write(keys, random.Random(self._random.random())))
            for _ in range(readers):
                group.create_task(self._read(random.Random(self._random.random())))

    async def settle(self, share: float) -> None:
        """Replays a share of the writes of unknown outcome; of the others both states are right."""
        keys = [key for name in self._collections for key in self._ledger.keys(name) if self._ledger.is_doubtful(key)]
        for key in keys:
            if self._random.random() < share:
                await self._until_known({key: Version(next(self._numbers))}, self._random)

    def client(self, generator: random.Random) -> podroute.AsyncClient:
        """That of any router."""
        return generator.choice(self._clients)

    async def _write(self, keys: Sequence[Key], generator: random.Random) -> None:
        while not self._stopping.is_set():
            await self.write_some(keys, generator)

    async def write_some(self, keys: Sequence[Key], generator: random.Random) -> None:
        """One write of some kind, with a pause; `keys` are of one collection and have no other writer."""
        some = generator.sample(keys, generator.randint(1, min(4, len(keys))))
        kind = generator.random()
        if kind < 0.55:
            await self._until_known({key: Version(next(self._numbers)) for key in some}, generator)
        elif kind < 0.7:
            await self._until_known(dict.fromkeys(some), generator)
        elif kind < 0.85:
            await self._touch(some, generator)
        else:
            await self._stream(keys, generator)
        await asyncio.sleep(generator.random() * 2 * PAUSE_S)

    async def _until_known(self, wanted: Mapping[Key, State], generator: random.Random) -> None:
        """Upserts, or deletes where the states are None. Of unknown outcome: again, or left so for a while."""
        collection = next(iter(wanted))[0]
        ids = [record_id for _, record_id in wanted]
        records = [
            (key[1], vector_of(key, state), metadata_of(key, state))
            for key, state in wanted.items()
            if state is not None
        ]
        while True:
            client, path = self.client(generator), generator.choice(PATHS)
            if records:
                known = await self._call(wanted, client.upsert(collection, records, path=path, timeout=TIMEOUT_S))
            else:
                known = await self._call(wanted, client.delete(collection, ids=ids, path=path, timeout=TIMEOUT_S))
            if known or self._stopping.is_set():
                return
            await asyncio.sleep(generator.random() * 0.1)

    async def _touch(self, keys: Sequence[Key], generator: random.Random) -> None:
        """Changes the metadata of records that are there; nothing, where one is of unknown outcome."""
        states = {key: self._ledger.state(key) for key in keys if not self._ledger.is_doubtful(key)}
        number = next(self._numbers)
        wanted: dict[Key, State] = {
            key: Version(state.number, number) for key, state in states.items() if state is not None
        }
        while wanted:
            client, path = self.client(generator), generator.choice(PATHS)
            collection, ids = keys[0][0], [record_id for _, record_id in wanted]
            change = client.update_metadata(collection, {"touched": number}, ids=ids, path=path, timeout=TIMEOUT_S)
            known = await self._call(wanted, change)
            if known or self._stopping.is_set():
                return
            await asyncio.sleep(generator.random() * 0.1)

    async def _stream(self, keys: Sequence[Key], generator: random.Random) -> None:
        """All records over one stream, which the client resumes; each batch counts as it is acknowledged."""
        versions: dict[Key, State] = {key: Version(next(self._numbers)) for key in keys}
        records = [(key[1], vector_of(key, state), metadata_of(key, state)) for key, state in versions.items() if state]
        self._ledger.begin(versions)
        acknowledged = len(keys)
        try:
            await self.client(generator).upsert_many(
                keys[0][0], records, batch=2, path=generator.choice(PATHS), patience=TIMEOUT_S
            )
        except Error as error:
            self.note(error)
            acknowledged = int(error.metadata["acknowledged"])
        in_order = list(versions.items())
        self._ledger.acknowledge(dict(in_order[:acknowledged]))
        self._ledger.lose(dict(in_order[acknowledged:]))

    async def _call(self, wanted: Mapping[Key, State], write: Awaitable[object]) -> bool:
        """One write; False where its outcome is unknown. What is said not to be written is looked for at once."""
        self._ledger.begin(wanted)
        try:
            await write
        except Error as error:
            self.note(error)
            if is_unknown(error):
                self._ledger.lose(wanted)
                return False
            self._ledger.refuse(wanted)
            await asyncio.sleep(0.05)
            await self.look(list(wanted), self._random, f"after {error.reason}")
            return True
        self._ledger.acknowledge(wanted)
        return True

    async def look(self, keys: Sequence[Key], generator: random.Random, where: str) -> bool:
        """Fetches records of one collection and compares; False where there was no answer."""
        collection, path = keys[0][0], generator.choice(PATHS)
        marks = self._ledger.mark(keys)
        try:
            found = await self.client(generator).fetch(
                collection, [record_id for _, record_id in keys], path=path, timeout=TIMEOUT_S
            )
        except Error as error:
            self.note(error)
            return False
        self.reads += 1
        for key, state in fetched(found, collection, self._ledger, f"fetch over {path} {where}").items():
            self._ledger.judge(key, state, f"fetch over {path} {where}", marks)
        return True

    async def _read(self, generator: random.Random) -> None:
        while not self._stopping.is_set():
            collection, path = generator.choice(self._collections), generator.choice(PATHS)
            keys = self._ledger.keys(collection)
            if keys and generator.random() < 0.4:
                await self.look(generator.sample(keys, min(8, len(keys))), generator, "meanwhile")
            elif keys:
                await self._query(collection, keys, path, generator)
            await asyncio.sleep(generator.random() * 4 * PAUSE_S)

    async def _query(self, collection: str, keys: Sequence[Key], path: Path, generator: random.Random) -> None:
        marks = self._ledger.mark(keys)
        near = vector_of(generator.choice(keys), Version(generator.randint(1, 1000)))
        plain = generator.random() < 0.5  # such queries go over lanes, the others over connections of their own
        try:
            found = await self.client(generator).query(
                collection,
                near,
                metric="l2",
                include_metadata=True,
                include_vector=not plain,
                path=path,
                timeout=TIMEOUT_S,
            )
        except Error as error:
            self.note(error)
            return
        self.reads += 1
        where = f"query over {path}"
        for match in found.matches:
            key = (collection, match.id)
            metadata = match.metadata or {}
            version = Version(int(metadata.get("number", -1)), int(metadata.get("touched", -1)))
            vector = match.vector if match.vector is not None else vector_of(key, version)
            self._ledger.read(key, vector, metadata, where)
            self._ledger.judge(key, version, where, marks)

    def note(self, error: Error) -> None:
        """Counts a failed call."""
        said = f"{error.code.name} {error.reason or '(gRPC)'}"
        self.ended[said] += 1
        if not is_expected(error):
            self.unexpected.append(f"{said}: {error}")


def fetched(found: FetchResult, collection: str, ledger: Ledger, where: str) -> dict[Key, State]:
    """What a fetch says of each id asked for."""
    states: dict[Key, State] = {(collection, missing): None for missing in found.missing_ids}
    for record in found.records:
        key = (collection, record.id)
        states[key] = ledger.read(key, record.vector, record.metadata, where)
    return states
