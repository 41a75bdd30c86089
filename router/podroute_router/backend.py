"""The seam: what a backend is. Protocols only; docs/plugins.md shows how to write one.

Per call there is no hook and no registry look-up: a backend is an object with async methods. A method that is
cancelled lets go of its connection at once; what it had sent may still happen.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from podroute_router.config import Config
from podroute_router.domain import (
    AccessPath,
    Collection,
    Deadline,
    Explainable,
    Explanation,
    FoundTable,
    Index,
    IndexProgress,
    Match,
    MetadataUpdate,
    PlainQuery,
    Query,
    QueryResult,
    Record,
    ScannedRecord,
    ScanPage,
    Selection,
    UpsertMode,
    WantedIndex,
)
from podroute_router.drift import Drift, Inspection
from podroute_router.exposures import Exposed, ExposingFacts
from podroute_router.filters import Filter
from podroute_router.measures import MeasuresOf, PoolFacts, unmeasured
from podroute_router.shard_map import ShardMap

API_VERSION = 2
"""Grows when a backend written for the version before would no longer work."""


class Backend(Protocol):
    """Serves the records of collections over one access path.

    Arguments are valid: vectors have the collection's dimension and are finite, ids and metadata are within bounds,
    filters have passed `check_filter`. Errors are `errors.PodrouteError`s: `Unreachable` where no statement was sent,
    `Unavailable` where one may have been.
    """

    @property
    def leaves_at_once(self) -> bool:
        """True where a cancelled call ends within milliseconds, whatever the server does.

        Such a backend's calls need no task of their own to keep their deadlines.
        """
        ...

    async def upsert(
        self,
        collection: Collection,
        records: Sequence[Record],
        deadline: Deadline,
        mode: UpsertMode = UpsertMode.REPLACE,
    ) -> int:
        """Writes those of the records that the mode lets be written, all or none, and returns how many.

        Their ids differ from each other.
        """
        ...

    async def query(self, collection: Collection, query: Query, deadline: Deadline) -> QueryResult:
        """Finds the records nearest to the query's vector, in any order."""
        ...

    async def fetch(self, collection: Collection, ids: Sequence[str], deadline: Deadline) -> list[Record]:
        """The records with these ids that exist, in any order."""
        ...

    async def delete(self, collection: Collection, selection: Selection, deadline: Deadline) -> int:
        """Deletes the records selected, all or none, and returns how many there were."""
        ...

    async def delete_returning(
        self, collection: Collection, selection: Selection, most_bytes: int, deadline: Deadline
    ) -> list[str]:
        """Deletes the records selected, all or none, and returns their ids, in any order.

        Raises:
            ResourceExhausted: they have more than so many bytes (`names.check_id_bytes`); nothing is deleted.
        """
        ...

    async def count(self, collection: Collection, filter: Filter | None, deadline: Deadline) -> int:
        """How many records match; all where the filter is None."""
        ...

    async def update_metadata(self, collection: Collection, update: MetadataUpdate, deadline: Deadline) -> int:
        """Changes the metadata of the records selected, all or none, and returns how many there were."""
        ...

    async def scan(self, collection: Collection, page: ScanPage, deadline: Deadline) -> list[ScannedRecord]:
        """The next records by id, at most `page.limit`; fewer only where there are no more.

        In code-point order of their ids, or in another order that is the same each time.
        """
        ...

    async def explain(
        self, collection: Collection, asked: Explainable, deadline: Deadline, *, analyze: bool = False
    ) -> Explanation:
        """How the call would be run; nothing is written. `analyze`: it is run, to tell of each step; not a deletion."""
        ...

    async def close(self) -> None:
        """Lets go of every connection."""
        ...


class PreparedQuery(Protocol):
    """A plain query of one collection with all but its vector worked out."""

    async def run(self, vector: bytes, deadline: Deadline) -> list[Match] | None:
        """The records nearest to a vector, in any order, or None where `Backend.query` has to serve this one.

        It keeps its deadline by itself.

        Args:
            vector: finite components, as many as the collection's dimension, as big-endian float32.
            deadline: the call's.
        """
        ...


@runtime_checkable
class QueryPreparer(Protocol):
    """A backend that serves plain queries, one like the other, for less than `Backend.query` costs."""

    def prepare_query(self, collection: Collection, query: PlainQuery) -> PreparedQuery | None:
        """The query prepared, or None where it cannot be, as yet or at all. It is used until the shard map changes."""
        ...


Register = Callable[[], Awaitable[object]]
"""Has others know of what is being made."""
Confirm = Callable[[], Awaitable[bool]]
"""Whether what was decided before is still right."""


@runtime_checkable
class PoolHolder(Protocol):
    """A backend that can tell of the connections that its calls have."""

    def pools(self) -> Iterable[PoolFacts]:
        """Those of each pod, as they are now."""
        ...


@runtime_checkable
class PodProbe(Protocol):
    """A backend that can tell whether a pod answers on its path. Calls of one that cannot are never failed unasked."""

    async def probe(self, pod: str, deadline: Deadline) -> None:
        """Returns when the pod has answered; raises where it does not. It waits for no call that is in flight."""
        ...


@runtime_checkable
class CollectionStore(PodProbe, Protocol):
    """A backend that can also make collections on pods."""

    async def create_collection(
        self, collection: Collection, deadline: Deadline, register: Register | None = None
    ) -> None:
        """Makes the collection's table.

        An empty one of its own, left by a call that was cut off, is made anew; for another AlreadyExists is raised.

        register: makes it known, awaited before anybody can reach the table. Where it raises nothing was made.
        """
        ...

    async def drop_collection(self, collection: Collection, deadline: Deadline, confirm: Confirm | None = None) -> None:
        """Drops the collection's table with its records; one that is gone already is no error.

        confirm: asked while nobody can write to the table, drop it or make it anew. Where it says no, or raises, the
        table stays.
        """
        ...

    def create_index(
        self, collection: Collection, index: WantedIndex, deadline: Deadline
    ) -> AsyncGenerator[IndexProgress | Index]:
        """Builds an index while writes go on: progress any number of times, then the index once.

        Invalid indexes that builds left are dropped first.
        """
        ...

    async def list_indexes(self, collection: Collection, deadline: Deadline) -> list[Index]:
        """The collection's indexes by name, without those of constraints."""
        ...

    async def drop_index(self, collection: Collection, name: str, deadline: Deadline) -> None:
        """Drops an index of the collection while reads and writes go on; NotFound where there is none of the name."""
        ...

    async def record_estimate(self, pod: str, deadline: Deadline) -> int:
        """About how many records the pod holds, from statistics, without a scan."""
        ...


@runtime_checkable
class TableAdopter(Protocol):
    """A backend that finds tables which it did not make, and makes collections of them."""

    async def find_tables(self, pod: str, names: Sequence[str] | None, deadline: Deadline) -> list[FoundTable]:
        """The pod's tables of these names, or all, by name; collections' too."""
        ...

    async def adopt_collection(self, collection: Collection, deadline: Deadline) -> None:
        """Makes what the paths need beside the collection's table, which stands and has no blocking finding.

        It can be repeated. AlreadyExists is raised where that belongs to another table.
        """
        ...


@runtime_checkable
class Inspector(Protocol):
    """A backend that knows what the shard map implies for its databases, and can tell whether it is so."""

    async def inspect(self, shard_map: ShardMap, deadline: Deadline) -> Inspection:
        """What is not as it should be; nothing is changed. A database that does not answer is a drift, and no error."""
        ...

    async def mend(self, shard_map: ShardMap, deadline: Deadline) -> None:
        """Runs the steps of all that `inspect` finds. It can be repeated."""
        ...


@runtime_checkable
class Exposer(Protocol):
    """A backend that makes the views of exposures in its databases."""

    async def look_for_exposure(self, exposed: Exposed, deadline: Deadline) -> ExposingFacts:
        """What its database says before the exposure is made.

        AlreadyExists is raised where its name is someone else's, NotFound where there is no such schema, and
        FailedPrecondition where podroute may not make views there.
        """
        ...

    async def make_exposure(self, exposed: Exposed, others: Sequence[Exposed], deadline: Deadline) -> None:
        """Makes view, grants and all that they need; what stands as wanted is left alone. It can be repeated.

        FailedPrecondition is raised where columns change and something rests on the view. `others` are the other
        exposures of the collection.
        """
        ...

    async def check_exposure_removable(self, exposed: Exposed, deadline: Deadline) -> None:
        """Raises FailedPrecondition where something rests on the view."""
        ...

    async def remove_exposure(self, exposed: Exposed, others: Sequence[Exposed], deadline: Deadline) -> None:
        """Drops the view and what it alone needed; what is gone, or is not podroute's, is left alone."""
        ...


@runtime_checkable
class ExposureFollower(Protocol):
    """A backend whose views of exposures follow from the catalog."""

    async def follow_exposures(self, exposures: Sequence[Exposed], revision: int, deadline: Deadline) -> None:
        """Makes its views agree with all the exposures.

        Nothing is done where others have worked by a map newer than this revision.
        """
        ...


@runtime_checkable
class ExposureInspector(Protocol):
    """A backend that can tell whether the views of exposures in its databases are as they were exposed."""

    async def inspect_exposures(self, exposures: Sequence[Exposed], deadline: Deadline) -> list[Drift]:
        """What is not as it should be, given all exposures. A database that does not answer is a drift, no error."""
        ...

    async def mend_exposures(self, exposures: Sequence[Exposed], revision: int, deadline: Deadline) -> None:
        """Mends what `inspect_exposures` finds, as far as podroute may.

        Nothing is done where others have worked by a map newer than this revision.
        """
        ...


@runtime_checkable
class MapFollower(Protocol):
    """A backend that keeps objects which follow from the shard map."""

    async def follow(self, shard_map: ShardMap, deadline: Deadline) -> None:
        """Makes its objects agree with the map; what agrees already is left alone."""
        ...


@dataclass(frozen=True, slots=True)
class BackendContext:
    """What a backend is opened with."""

    config: Config
    measures: MeasuresOf = unmeasured
    """What it may measure of a pod, by the pod's name."""


class BackendFactory(Protocol):
    """Opens a backend."""

    @property
    def name(self) -> str:
        """Unique among the backends installed."""
        ...

    @property
    def api_version(self) -> int:
        """The `API_VERSION` that it was written for."""
        ...

    @property
    def access_path(self) -> AccessPath:
        """The access path that it serves."""
        ...

    def open(self, context: BackendContext) -> Backend | None:
        """The backend, or None where the configuration gives it nothing to serve."""
        ...


Backends = Mapping[AccessPath, Backend]
"""The backend of each access path that is served."""
