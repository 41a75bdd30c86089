"""Vectors as texts that pgvector reads fast and without loss, for where PostgreSQL hands parameters on as text.

pgvector reads components by C's `strtof`, which takes hexadecimal numbers: `-0x8ac723p-023` is the float's own bits, a
mantissa and a power of two. They are written by table, a fixed sixteen bytes each, and are read in less time than
decimals, which both sides would have to compute.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from podroute_router.domain import Vector
from podroute_router.postgres.arrays import Encoded, text_array_header

COMPONENT_BYTES = 16
"""`,-0x8ac723p-023 `: pgvector skips the blank."""
SLICE_BYTES = 512 * 1024
"""Written at a time, about a quarter of a millisecond, before other calls have their turn; also fits the cache."""

Words = NDArray[np.uint32]
"""Four characters each, in the order of the text."""


def _words(texts: Sequence[str]) -> Words:
    return np.frombuffer("".join(texts).encode("ascii"), dtype="<u4")


_FIRST_SIGN = _words(["[+0x", "[-0x"])
_SIGN = _words([",+0x", ",-0x"])
_HIGH = _words([f"{high:04x}" for high in range(1 << 16)])
"""By the mantissa's upper sixteen bits."""
_LOW = _words([f"{low:02x}p{sign}" for sign in "-+" for low in range(1 << 8)])
"""By the mantissa's lower eight bits, and above them whether the exponent is positive."""
_BIAS = 150
"""Of the exponent, where the mantissa is a whole number of 24 bits."""
_EXPONENT = _words([f"{abs(max(exponent, 1) - _BIAS):03d} " for exponent in range(1 << 8)])
"""By the exponent as it is stored; 0 is that of denormal numbers, and means 1."""
_END = _words(["]   "])[0]


async def vector_text_array(vectors: Sequence[Vector]) -> Encoded:
    """The vectors, at least one and all of one dimension, as text[] of pgvector's input."""
    count, dimension = len(vectors), len(vectors[0])
    text_bytes = COMPONENT_BYTES * dimension + _END.itemsize
    row_words = (4 + text_bytes) // 4  # the length, then the text
    header = text_array_header(count)
    data = bytearray(len(header) + count * row_words * 4)
    data[: len(header)] = header
    rows = np.frombuffer(data, dtype="<u4", offset=len(header)).reshape(count, row_words)
    rows[:, 0] = np.frombuffer(text_bytes.to_bytes(4, "big"), dtype="<u4")[0]
    rows[:, -1] = _END
    components = rows[:, 1:-1]
    step = max(1, SLICE_BYTES // (row_words * 4))
    for start in range(0, count, step):
        some = vectors[start : start + step]
        bits = np.concatenate(some).astype(np.float32, copy=False).view(np.uint32).reshape(len(some), dimension)
        _write(bits, components[start : start + step])
        await asyncio.sleep(0)
    return Encoded(data)


def _write(bits: Words, out: Words) -> None:
    """Writes rows of float32, given by their bits, four words for each."""
    negative, exponent = bits >> 31, bits >> 23 & 0xFF
    mantissa = bits & 0x7FFFFF | (exponent > 0).astype(np.uint32) << 23
    out[:, 0::4] = _SIGN.take(negative)
    out[:, 0] = _FIRST_SIGN.take(negative[:, 0])
    out[:, 1::4] = _HIGH.take(mantissa >> 8)
    out[:, 2::4] = _LOW.take(mantissa & 0xFF | (exponent >= _BIAS).astype(np.uint32) << 8)
    out[:, 3::4] = _EXPONENT.take(exponent)
