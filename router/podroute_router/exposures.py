"""Exposures: the SQL faces of collections, as values. Pure."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any

from podroute_router.domain import Collection
from podroute_router.errors import InvalidArgument
from podroute_router.shard_map import ShardMap

OWN_COLUMNS = ("id", "embedding", "metadata")
"""What every exposure has, before the columns that are asked for."""

DEFAULT_SCHEMA = "public"

MAX_COLUMNS = 100
MAX_ROLES = 100
MAX_PATH = 16
MAX_KEY_BYTES = 1024
MAX_IDENTIFIER_BYTES = 63

_SYSTEM_COLUMNS = ("cmax", "cmin", "ctid", "tableoid", "xmax", "xmin")
"""Names that no column of a foreign table can have."""
_OTHERS_SCHEMAS = ("information_schema", "podroute", "podroute_catalog", "podroute_exposed", "podroute_fdw", "vecs")
_DIGITS = 12


class ColumnType(Enum):
    """The type of a column in SQL. A value that is none of the type is null there."""

    TEXT = "text"
    BIGINT = "bigint"
    DOUBLE_PRECISION = "double precision"
    BOOLEAN = "boolean"
    TIMESTAMPTZ = "timestamptz"
    JSONB = "jsonb"


@dataclass(frozen=True, slots=True, kw_only=True)
class ExposedColumn:
    """A part of the metadata as a column. `indexed`: the pod keeps an index of it."""

    name: str
    type: ColumnType
    path: tuple[str, ...]
    indexed: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Exposure:
    """A view of a collection for SQL.

    `code_point_order`: its texts have the collation "C", because pod and primary sort texts differently by themselves.
    """

    collection: str
    schema: str
    view: str
    columns: tuple[ExposedColumn, ...] = ()
    roles: tuple[str, ...] = ()
    code_point_order: bool = False

    @property
    def name(self) -> tuple[str, str]:
        """What no other exposure has."""
        return self.schema, self.view


@dataclass(frozen=True, slots=True, kw_only=True)
class Exposed:
    """An exposure with the collection that it is of. `is_foreign`: the primary reaches it over a foreign table."""

    exposure: Exposure
    collection: Collection
    is_foreign: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ExposingFacts:
    """What a database says before an exposure is made there.

    `text_order` names how it sorts texts, and is the same in two databases only where they sort alike.
    """

    text_order: str
    vector_schema: str
    missing_roles: tuple[str, ...] = ()


def check_exposure(exposure: Exposure) -> Exposure:
    """Returns the exposure, or raises InvalidArgument where none can be so."""
    _check_identifier("SCHEMA_NAME", "view_schema", exposure.schema)
    if exposure.schema.startswith("pg_") or exposure.schema in _OTHERS_SCHEMAS:
        raise InvalidArgument("SCHEMA_NAME", "view_schema", "is a schema of PostgreSQL's or podroute's own")
    _check_identifier("VIEW_NAME", "view_name", exposure.view)
    _check_count("COLUMN_COUNT", "columns", len(exposure.columns), MAX_COLUMNS)
    names = set(OWN_COLUMNS)
    for i, column in enumerate(exposure.columns):
        _check_column(column, f"columns[{i}]")
        if column.name in names:
            raise InvalidArgument("COLUMN_NAME", f"columns[{i}].name", f"{column.name!r} is another column's name")
        names.add(column.name)
    _check_count("ROLE_COUNT", "roles", len(exposure.roles), MAX_ROLES)
    for i, role in enumerate(exposure.roles):
        _check_identifier("ROLE_NAME", f"roles[{i}]", role)
    return exposure


def digest(*facts: object) -> str:
    """Tells whether an object is still what the facts ask for."""
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:_DIGITS]


def column_values(column: ExposedColumn) -> dict[str, Any]:
    """The column as JSON has it."""
    return {"name": column.name, "type": column.type.value, "path": list(column.path), "indexed": column.indexed}


def column_from_values(values: Mapping[str, Any]) -> ExposedColumn:
    """The column that `column_values` wrote."""
    return ExposedColumn(
        name=values["name"],
        type=ColumnType(values["type"]),
        path=tuple(values["path"]),
        indexed=values["indexed"],
    )


def _check_column(column: ExposedColumn, field: str) -> None:
    _check_identifier("COLUMN_NAME", f"{field}.name", column.name)
    if column.name in _SYSTEM_COLUMNS:
        raise InvalidArgument("COLUMN_NAME", f"{field}.name", f"{column.name!r} is a column of PostgreSQL's own")
    if not 1 <= len(column.path) <= MAX_PATH:
        raise InvalidArgument("COLUMN_PATH", f"{field}.path", f"needs 1 to {MAX_PATH} keys", limit=MAX_PATH)
    for i, key in enumerate(column.path):
        if not 1 <= len(key.encode()) <= MAX_KEY_BYTES or "\0" in key:
            raise InvalidArgument(
                "COLUMN_PATH",
                f"{field}.path[{i}]",
                f"must be 1 to {MAX_KEY_BYTES} bytes without U+0000",
                limit=MAX_KEY_BYTES,
            )
    if column.indexed and column.type is ColumnType.JSONB:
        raise InvalidArgument("COLUMN_INDEXED", f"{field}.indexed", "a column of jsonb is not indexed")


def _check_identifier(reason: str, field: str, name: str) -> None:
    if not 1 <= len(name.encode()) <= MAX_IDENTIFIER_BYTES or "\0" in name:
        raise InvalidArgument(
            reason, field, f"must be 1 to {MAX_IDENTIFIER_BYTES} bytes without U+0000", limit=MAX_IDENTIFIER_BYTES
        )


def _check_count(reason: str, field: str, count: int, most: int) -> None:
    if count > most:
        raise InvalidArgument(reason, field, f"has at most {most} entries, not {count}", limit=most, count=count)


def texts_sort_alike(pod: ExposingFacts, primary: ExposingFacts | None) -> bool:
    """Whether the databases sort texts in one order, so that neither has to be told how."""
    return primary is None or pod.text_order == primary.text_order


def with_collections(
    exposures: Iterable[Exposure], shard_map: ShardMap, is_foreign: Callable[[str], bool]
) -> list[Exposed]:
    """The exposures of collections that there are.

    Args:
        exposures: any.
        shard_map: has the collections.
        is_foreign: whether the primary reaches a pod over foreign tables.
    """
    known = shard_map.collections
    return [
        Exposed(
            exposure=each,
            collection=known[each.collection],
            is_foreign=is_foreign(known[each.collection].placement.pod),
        )
        for each in exposures
        if each.collection in known
    ]
