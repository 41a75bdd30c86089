"""What a caller knows of the records that he wrote, outside podroute: acknowledged, refused, or of unknown outcome.

Pure. Each record has one writer at a time, so that the order of its writes is known. A record tells in its vector and
in its metadata what it is: of which collection, which id, and which write.
"""

from __future__ import annotations

import zlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

DIMENSION = 4

Key = tuple[str, str]
"""Collection and id."""


@dataclass(frozen=True, slots=True, order=True)
class Version:
    """What a record holds: the number of the upsert that wrote it, and of the last change of its metadata."""

    number: int
    touched: int = 0


State = Version | None
"""None: there is no such record."""


class Fault(Enum):
    """What must never be seen."""

    LOST = "an acknowledged write is lost"
    PHANTOM = "a state that nobody wrote, or that was refused or deleted"
    WRONG_COLLECTION = "a record of another collection"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """A fault, and where it was seen."""

    fault: Fault
    key: Key
    seen: str
    where: str


@dataclass(frozen=True, slots=True)
class Mark:
    """What a record may have been when a read began."""

    possible: frozenset[State]
    begun: int


NEVER_WRITTEN = Mark(frozenset({None}), 0)
"""Of a record that nobody had begun to write when the read began."""


@dataclass(slots=True)
class _Entry:
    settled: State = None
    doubtful: set[State] = field(default_factory=set)
    in_flight: list[State] = field(default_factory=list)
    begun: list[State] = field(default_factory=list)

    @property
    def possible(self) -> frozenset[State]:
        return frozenset({self.settled, *self.doubtful, *self.in_flight})


class Ledger:
    """The writes of one run."""

    def __init__(self) -> None:
        self._entries: dict[Key, _Entry] = {}
        self.counts: Counter[str] = Counter()
        """Writes by how they ended: acknowledged, refused, unknown."""
        self.findings: list[Finding] = []

    def keys(self, collection: str) -> list[Key]:
        """The records ever written to a collection."""
        return [key for key in self._entries if key[0] == collection]

    def state(self, key: Key) -> State:
        """What was acknowledged last."""
        return self._entry(key).settled

    def is_doubtful(self, key: Key) -> bool:
        """True where a write is of unknown outcome, and none was acknowledged since."""
        return bool(self._entry(key).doubtful)

    def begin(self, wanted: Mapping[Key, State]) -> None:
        """A write is sent."""
        for key, state in wanted.items():
            entry = self._entry(key)
            entry.in_flight.append(state)
            entry.begun.append(state)

    def acknowledge(self, wanted: Mapping[Key, State]) -> None:
        """It is stored."""
        for key, state in wanted.items():
            entry = self._end(key, state)
            entry.settled, entry.doubtful = state, set()
        self.counts["acknowledged"] += len(wanted)

    def refuse(self, wanted: Mapping[Key, State]) -> None:
        """It was certainly not done."""
        for key, state in wanted.items():
            self._end(key, state)
        self.counts["refused"] += len(wanted)

    def lose(self, wanted: Mapping[Key, State]) -> None:
        """It may have been done."""
        for key, state in wanted.items():
            self._end(key, state).doubtful.add(state)
        self.counts["unknown"] += len(wanted)

    def mark(self, keys: Iterable[Key]) -> dict[Key, Mark]:
        """To be taken before a read."""
        entries = {key: self._entry(key) for key in keys}
        return {key: Mark(entry.possible, len(entry.begun)) for key, entry in entries.items()}

    def judge(self, key: Key, seen: State, where: str, marks: Mapping[Key, Mark] | None = None) -> None:
        """Compares what a read saw; `marks` are of before the read, of all records that were known then.

        None where nobody wrote meanwhile.
        """
        entry = self._entry(key)
        since = Mark(entry.possible, len(entry.begun)) if marks is None else marks.get(key, NEVER_WRITTEN)
        allowed = since.possible | set(entry.begun[since.begun :])
        if seen in allowed:
            return
        there = [state for state in allowed if state is not None]
        is_older = seen is None or (bool(there) and seen < min(there))
        self.find(Fault.LOST if is_older else Fault.PHANTOM, key, f"{seen}, not of {allowed}", where)

    def find(self, fault: Fault, key: Key, seen: str, where: str) -> None:
        """Keeps a fault."""
        self.findings.append(Finding(fault=fault, key=key, seen=seen, where=where))

    def count(self, fault: Fault) -> int:
        """How often it was found."""
        return sum(finding.fault is fault for finding in self.findings)

    def read(self, key: Key, vector: Sequence[float], metadata: Mapping[str, Any], where: str) -> State:
        """The version that a record says it is; a fault where it is not one of ours, or of two writes."""
        collection, record_id = key
        if metadata.get("collection") != collection:
            self.find(Fault.WRONG_COLLECTION, key, str(metadata), where)
        version = Version(int(metadata.get("number", -1)), int(metadata.get("touched", -1)))
        if list(vector) != vector_of(key, version) or metadata.get("id") != record_id:
            self.find(Fault.PHANTOM, key, f"{list(vector)} with {dict(metadata)}", where)
        return version

    def _entry(self, key: Key) -> _Entry:
        return self._entries.setdefault(key, _Entry())

    def _end(self, key: Key, state: State) -> _Entry:
        entry = self._entry(key)
        entry.in_flight.remove(state)
        return entry


def vector_of(key: Key, version: Version) -> list[float]:
    """Exact in float32."""
    collection, record_id = key
    return [
        float(version.number),
        *(float(zlib.crc32(name.encode()) % 65_521) for name in (collection, record_id)),
        1.0,
    ]


def metadata_of(key: Key, version: Version) -> dict[str, Any]:
    """The same in words."""
    return {"collection": key[0], "id": key[1], "number": version.number, "touched": version.touched}
