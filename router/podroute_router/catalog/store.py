"""The catalog's statements: reads the shard map from PostgreSQL, and changes it."""

from __future__ import annotations

import asyncio
import json
import logging
import re
import sys
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from importlib import resources
from typing import Any

import psycopg

from podroute_router.domain import Collection, Deadline, Metric, Placement
from podroute_router.errors import AlreadyExists, DeadlineExceeded, FailedPrecondition, NotFound, Unavailable
from podroute_router.exposures import Exposure, column_from_values, column_values
from podroute_router.postgres.connection import Connection, Row
from podroute_router.postgres.pool import Pool
from podroute_router.shard_map import Change, ShardMap

CHANNEL = "podroute_shard_map"
"""Where a change is notified; the payload is its revision."""

MIGRATIONS = ("schema.sql", "exposures.sql")
"""The file that makes version 1, the one that makes 2 of it, and so on."""

VERSION = len(MIGRATIONS)
"""The version that this router knows."""

MINIMUM_READER = 1
"""The oldest router, by the version it knows, that can work with a catalog of this version."""

CHUNK = 500
"""Rows that are turned into collections before other tasks get their turn."""

_log = logging.getLogger(__name__)


def _read_file(name: str) -> bytes:
    return resources.files(__package__).joinpath(name).read_bytes()


def _statements(text: bytes) -> Mapping[str, bytes]:
    _, *parts = re.split(rb"^-- name: (\w+)$", text, flags=re.MULTILINE)
    return {name.decode(): body.strip() for name, body in zip(parts[::2], parts[1::2], strict=True)}


_SQL = _statements(_read_file("queries.sql"))


@dataclass(frozen=True, slots=True)
class _Exposures:
    """The exposures as of a revision, and what the catalog told of them then."""

    revision: int
    told: Row
    found: Sequence[Exposure]


class CatalogStore:
    """The catalog in one database. Every call ends by its deadline, whatever the database does.

    Raises, from every method: Unreachable, Unavailable, DeadlineExceeded; FailedPrecondition where the catalog has not
    been prepared.

    Args:
        pool: connections to the database that holds the catalog.
    """

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._exposures: _Exposures | None = None

    async def migrate(self, deadline: Deadline) -> None:
        """Brings the catalog's objects to the version that this router knows; a later version is left as it is.

        Raises:
            FailedPrecondition: the schema is missing, or is of a version that this router cannot work with.
        """
        async with self._connection(deadline) as connection:
            if await _version(connection) >= VERSION:
                return
        async with self._connection(deadline, writes=True) as connection, connection.transaction():
            await connection.execute(_SQL["bound_change"], [_milliseconds(deadline)])
            await connection.execute(_SQL["lock_migration"])
            version = await _version(connection)
            if version >= VERSION:  # another router was faster
                return
            await connection.execute(_SQL["become_owner"])
            for migration in MIGRATIONS[version:]:
                await connection.execute(_read_file(migration))
            await connection.execute(_SQL["write_version"], [VERSION, MINIMUM_READER])
        _log.info("the catalog was migrated from version %d to %d", version, VERSION)

    async def check(self, deadline: Deadline) -> None:
        """Raises FailedPrecondition where the catalog cannot be read by this version as it is."""
        async with self._connection(deadline) as connection:
            version = await _version(connection)
        if version < VERSION:
            raise FailedPrecondition(
                "NOT_PREPARED",
                f"the catalog is of version {version}, this is {VERSION}: a router of this version brings it there",
            )

    async def load(self, base: ShardMap, deadline: Deadline, *, full: bool = False) -> ShardMap:
        """The shard map as of now: the base with what changed since, or the base itself where nothing did.

        A base that is ahead of the catalog means that the catalog was restored from a backup; then the map is loaded
        in full and its revision is lower than the base's.

        Args:
            base: the map to go on from; an empty one loads in full.
            deadline: bound on the whole.
            full: load all of it; the base is only what the catalog must not be behind of by being a standby.

        Raises:
            Unavailable: only a standby was reached, and it is behind the base.
        """
        async with self._connection(deadline) as connection:
            if not full and await _revision(connection, base) == base.revision:
                return base
            async with connection.transaction():
                await connection.execute(_SQL["take_snapshot"])
                revision = await _revision(connection, base)
                if revision < base.revision:
                    _log.warning(
                        "the catalog is at revision %d, behind this router's %d; it was restored from a backup, it "
                        "seems: loading it in full",
                        revision,
                        base.revision,
                    )
                known = base.collections
                if full or revision < base.revision:
                    base = ShardMap()
                pods = await _rows(connection, "read_pods")
                cursor = await connection.execute(_SQL["read_changes"], [base.revision], binary=True)
            changes: list[Change] = []
            while rows := await cursor.fetchmany(CHUNK):
                changes.extend(_change_from_row(row, known) for row in rows)
                await asyncio.sleep(0)
        return base.changed(revision, (name for (name,) in pods), changes)

    async def register_pods(self, names: Iterable[str], deadline: Deadline) -> None:
        """Adds the pods that the catalog does not know yet."""
        wanted = sorted(set(names))
        async with self._connection(deadline) as connection:
            known = {name for (name,) in await _rows(connection, "find_pods", wanted)}
        missing = [name for name in wanted if name not in known]
        if not missing:
            return
        async with self._change(deadline) as (connection, revision):
            if not await _rows(connection, "add_pods", missing, revision):
                raise psycopg.Rollback  # another router was faster

    async def add_collection(self, collection: Collection, deadline: Deadline) -> Collection:
        """Adds the collection and returns it as stored: its generation is later than any that had its name before.

        Raises:
            AlreadyExists: the name is taken, or the table belongs to another collection.
            NotFound: the catalog does not know the pod.
        """
        placement = collection.placement
        facts = {"collection": collection.name}
        async with self._change(deadline) as (connection, revision):
            try:
                rows = await _rows(
                    connection,
                    "add_collection",
                    collection.name,
                    collection.dimension,
                    collection.metric.value,
                    placement.pod,
                    placement.schema,
                    placement.table,
                    placement.generation,
                    revision,
                )
            except psycopg.errors.ForeignKeyViolation as error:
                raise NotFound(
                    "POD_NOT_FOUND", f"there is no pod {placement.pod!r}", facts={**facts, "pod": placement.pod}
                ) from error
            except psycopg.errors.UniqueViolation as error:
                raise AlreadyExists(
                    "TABLE_TAKEN", "the table belongs to another collection", facts={**facts, "pod": placement.pod}
                ) from error
            if not rows:
                raise AlreadyExists(
                    "COLLECTION_EXISTS", f"there is a collection {collection.name!r} already", facts=facts
                )
        return replace(collection, placement=replace(placement, generation=rows[0][0]))

    async def remove_collection(self, name: str, deadline: Deadline, *, generation: int | None = None) -> bool:
        """Removes the collection, of that generation only where one is given; returns False where there was none."""
        async with self._change(deadline) as (connection, revision):
            removed = bool(await _rows(connection, "remove_collection", name, revision, generation))
            if not removed:
                raise psycopg.Rollback
        return removed

    async def exposures(self, deadline: Deadline) -> tuple[int, list[Exposure]]:
        """The catalog's revision, and all exposures as of it, by schema and view.

        They are asked for after each change of the map and seldom change, so those that were read are kept.
        """
        async with self._connection(deadline) as connection, connection.transaction():
            await connection.execute(_SQL["take_snapshot"])
            ((revision, _),) = await _rows(connection, "read_revision")
            [told] = await _rows(connection, "tell_exposures")
            known = self._exposures
            if known is None or known.told != told or known.revision > revision:
                rows = await _rows(connection, "read_exposures")
                known = _Exposures(revision, told, [_exposure_from_row(row) for row in rows])
        self._exposures = replace(known, revision=revision)
        return int(revision), list(known.found)

    async def put_exposure(self, exposure: Exposure, deadline: Deadline) -> None:
        """Adds the exposure, or has it take the place of the collection's own of that name.

        Raises:
            AlreadyExists: another collection has an exposure of that name.
            NotFound: the collection is not there any more.
        """
        facts = {"collection": exposure.collection, "schema": exposure.schema, "view": exposure.view}
        async with self._change(deadline) as (connection, revision):
            if not await _rows(connection, "lock_collection", exposure.collection):
                raise NotFound("COLLECTION_NOT_FOUND", f"there is no collection {exposure.collection!r}", facts=facts)
            rows = await _rows(
                connection,
                "put_exposure",
                exposure.schema,
                exposure.view,
                exposure.collection,
                json.dumps([column_values(column) for column in exposure.columns]),
                list(exposure.roles),
                exposure.code_point_order,
                revision,
            )
            if not rows:
                raise AlreadyExists("EXPOSURE_EXISTS", "the view is an exposure of another collection", facts=facts)

    async def remove_exposure(self, exposure: Exposure, deadline: Deadline) -> bool:
        """Removes the collection's exposure of that name; False where there was none."""
        async with self._change(deadline) as (connection, _):
            removed = await _rows(connection, "remove_exposure", exposure.schema, exposure.view, exposure.collection)
            if not removed:
                raise psycopg.Rollback
        return bool(removed)

    @asynccontextmanager
    async def _connection(self, deadline: Deadline, *, writes: bool = False) -> AsyncIterator[Connection]:
        try:
            async with (
                asyncio.timeout(deadline.remaining_s()),
                self._pool.connection(deadline, writes=writes) as connection,
            ):
                yield connection
        except TimeoutError as error:
            raise DeadlineExceeded("CATALOG_TIMEOUT", "the catalog did not answer in time") from error

    @asynccontextmanager
    async def _change(self, deadline: Deadline) -> AsyncIterator[tuple[Connection, int]]:
        """One change under the next revision; the routers are notified when it commits."""
        async with self._connection(deadline, writes=True) as connection, connection.transaction():
            await connection.execute(_SQL["bound_change"], [_milliseconds(deadline)])
            ((revision,),) = await _rows(connection, "next_revision")
            yield connection, revision
            await connection.execute(_SQL["notify"], [CHANNEL, str(revision)])


async def _rows(connection: Connection, statement: str, *values: object) -> list[Row]:
    cursor = await connection.execute(_SQL[statement], values, binary=True)
    return await cursor.fetchall()


def _milliseconds(deadline: Deadline) -> str:
    """What is left as PostgreSQL's timeouts take it; 0 would mean no timeout there."""
    return str(max(1, int(deadline.remaining_s() * 1000)))


async def _version(connection: Connection) -> int:
    """The catalog's version; 0 where it has no objects yet. Raises FailedPrecondition."""
    ((has_schema, has_version),) = await _rows(connection, "find_catalog")
    if not has_schema:
        raise FailedPrecondition(
            "NOT_PREPARED", "the database has no schema podroute_catalog; run `podroute pods prepare`"
        )
    if not has_version:
        return 0
    ((version, minimum_reader),) = await _rows(connection, "read_version")
    if minimum_reader > VERSION:
        raise FailedPrecondition(
            "CATALOG_TOO_NEW",
            f"the catalog (version {version}) needs a router that knows version {minimum_reader}; this one knows "
            f"{VERSION}",
            facts={"version": version, "minimum_reader": minimum_reader, "known": VERSION},
        )
    return int(version)


async def _revision(connection: Connection, base: ShardMap) -> int:
    """The catalog's revision. Raises Unavailable where it is behind only because the server is a standby."""
    ((revision, is_standby),) = await _rows(connection, "read_revision")
    if is_standby and revision < base.revision:
        raise Unavailable(
            "CATALOG_BEHIND",
            "the catalog's server is a standby that is behind this router's shard map",
            facts={"revision": revision, "held": base.revision},
        )
    return int(revision)


def _change_from_row(row: tuple[Any, ...], known: Mapping[str, Collection]) -> Change:
    """What a row says, with the collection that is known where it says the same: a full load changes few of many."""
    name, dimension, metric, pod, schema, table, generation, deleted = row
    if deleted:
        return Change(name, None)
    # Thousands of collections share these strings.
    pod, schema, table = sys.intern(pod), sys.intern(schema), name if table == name else table
    placement = Placement(pod=pod, schema=schema, table=table, generation=generation)
    read = Collection(name=name, dimension=dimension, metric=Metric(metric), placement=placement)
    held = known.get(name)
    return Change(name, held if held == read else read)


def _exposure_from_row(row: tuple[Any, ...]) -> Exposure:
    schema, view, collection, columns, roles, code_point_order = row
    return Exposure(
        collection=collection,
        schema=schema,
        view=view,
        columns=tuple(map(column_from_values, json.loads(columns))),
        roles=tuple(roles),
        code_point_order=code_point_order,
    )
