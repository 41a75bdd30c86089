"""PostgreSQL's binary format, for what goes over lanes."""

from __future__ import annotations

import struct

import numpy as np
from psycopg.pq.abc import PGresult

from podroute_router.domain import Match, Vector

_float8 = struct.Struct(">d").unpack
_vector_head = struct.Struct(">HH").pack
_BIG_ENDIAN = np.dtype(">f4")


def vector_parameter(vector: Vector) -> bytes:
    """pgvector's binary form: dimension, an unused word, and the components."""
    return _vector_head(len(vector), 0) + vector.astype(_BIG_ENDIAN).tobytes()


def matches_of(result: PGresult, *, include_metadata: bool) -> list[Match]:
    """The rows of `statements.query` without vectors: id, distance and, where it was asked for, metadata."""
    value = result.get_value
    if include_metadata:
        return [
            Match(
                id=_text(value(row, 0)),
                distance=_float8(value(row, 1) or b"")[0],
                metadata=_text(value(row, 2))[1:],  # the first byte is the version of jsonb's format
            )
            for row in range(result.ntuples)
        ]
    return [Match(id=_text(value(row, 0)), distance=_float8(value(row, 1) or b"")[0]) for row in range(result.ntuples)]


def _text(data: bytes | None) -> str:
    return (data or b"").decode()
