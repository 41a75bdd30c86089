"""The parameters of upserts that only insert, or only update: whole, or for postgres_fdw in parts.

postgres_fdw hands vectors on as texts of some three times their size, and an update through it looks each record up in
the list of all: it is for both that a part is bounded.
"""

from __future__ import annotations

from collections.abc import Sequence

from podroute_router.domain import Record, UpsertMode
from podroute_router.postgres.arrays import Encoded, float_array, jsonb_array, text_array, vector_array

COMPONENTS_IN_PART = 1024 * 1024
MOST_IN_PART = 1000
"""Records."""

Part = tuple[Encoded, Encoded, Encoded]
"""Ids, vectors and metadata: the parameters of a statement."""


async def in_parts(records: Sequence[Record], *, foreign: bool, mode: UpsertMode) -> list[Part]:
    """The records, at least one and all of one dimension, as parameters of the mode's statement.

    Args:
        records: in the order in which they are to be written.
        foreign: they go to a foreign table.
        mode: INSERT_ONLY or UPDATE_ONLY.
    """
    by_place = foreign and mode is UpsertMode.UPDATE_ONLY  # see `statements.update_existing_foreign`
    size = len(records)
    if foreign:
        size = min(MOST_IN_PART, max(1, COMPONENTS_IN_PART // len(records[0].vector)))
    parts = []
    for start in range(0, len(records), size):
        some = records[start : start + size]
        vectors, metadata = [record.vector for record in some], [record.metadata for record in some]
        parts.append(
            (
                text_array([record.id for record in some]),
                await (float_array if by_place else vector_array)(vectors),
                (jsonb_array if by_place else text_array)(metadata),
            )
        )
    return parts
