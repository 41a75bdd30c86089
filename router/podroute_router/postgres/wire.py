"""PostgreSQL's binary format, for what goes over lanes."""

from __future__ import annotations

import struct

from psycopg.pq.abc import PGresult

from podroute_router.domain import Match

_float8 = struct.Struct(">d").unpack
_vector_head = struct.Struct(">HH").pack


def vector_parameter(components: bytes) -> bytes:
    """pgvector's binary form: dimension, an unused word, and the components, which are big-endian float32."""
    return _vector_head(len(components) // 4, 0) + components


def matches_of(result: PGresult, *, include_metadata: bool) -> list[Match]:
    """The rows of `statements.query` without vectors: id, distance and, where it was asked for, metadata."""
    value = result.get_value
    if include_metadata:
        return [
            Match(
                _text(value(row, 0)),
                _float8(value(row, 1) or b"")[0],
                _text(value(row, 2))[1:],  # the first byte is the version of jsonb's format
            )
            for row in range(result.ntuples)
        ]
    return [Match(_text(value(row, 0)), _float8(value(row, 1) or b"")[0]) for row in range(result.ntuples)]


def _text(data: bytes | None) -> str:
    return (data or b"").decode()
