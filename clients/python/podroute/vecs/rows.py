"""Records and matches as tuples, which is what vecs returns; those that it takes, as podroute takes them.

Rows are shown, compared and unpacked as plain tuples, and have the columns' names as vecs' have.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from functools import cache
from typing import Any, NamedTuple, cast

import podroute
from podroute.vecs.exc import ArgError


class RecordRow(NamedTuple):
    """A stored record. `vec` is a numpy array of float32 where numpy is installed, else a list of floats."""

    id: str
    vec: Any
    metadata: dict[str, Any]

    def __repr__(self) -> str:
        return tuple.__repr__(self)


class DistanceRow(NamedTuple):
    """A match with its distance, in the unit of the measure."""

    id: str
    distance: float

    def __repr__(self) -> str:
        return tuple.__repr__(self)


class MetadataRow(NamedTuple):
    """A match with its metadata."""

    id: str
    metadata: dict[str, Any]

    def __repr__(self) -> str:
        return tuple.__repr__(self)


class MatchRow(NamedTuple):
    """A match with its distance and its metadata."""

    id: str
    distance: float
    metadata: dict[str, Any]

    def __repr__(self) -> str:
        return tuple.__repr__(self)


Match = str | DistanceRow | MetadataRow | MatchRow


def record_row(record: podroute.Record) -> RecordRow:
    """A stored record."""
    return RecordRow(record.id, _array(record.vector), cast("dict[str, Any]", record.metadata))


def match_row(match: podroute.Match, *, include_value: bool, include_metadata: bool) -> Match:
    """A match with what was asked for; its id alone where nothing was."""
    metadata = {} if match.metadata is None else match.metadata
    if include_value and include_metadata:
        return MatchRow(match.id, match.distance, metadata)
    if include_value:
        return DistanceRow(match.id, match.distance)
    return MetadataRow(match.id, metadata) if include_metadata else match.id


def to_record(row: object) -> tuple[str, Any, Mapping[str, Any] | None]:
    """What podroute writes for a row: (id, vector), (id, vector, metadata), or a dict of id, vec and metadata."""
    if isinstance(row, dict):
        row = (row.get("id"), row.get("vec"), row.get("metadata"))
    if not isinstance(row, (tuple, list)) or not 2 <= len(row) <= 3:
        raise ArgError("a record is a tuple of id, vector and metadata")
    record_id, vector, *rest = row
    if isinstance(record_id, int) and not isinstance(record_id, bool):
        record_id = str(record_id)
    return record_id, vector, rest[0] if rest else None


def _array(values: Any) -> Any:
    numpy = _numpy()
    return values if numpy is None else numpy.array(values, dtype=numpy.float32)


@cache
def _numpy() -> Any:
    """numpy, imported when the first vector is returned; None where it is not installed."""
    try:
        return importlib.import_module("numpy")
    except ImportError:
        return None
