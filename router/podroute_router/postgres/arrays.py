"""Parameters in PostgreSQL's binary array format, built as a whole: psycopg would dump each element by itself."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Sequence
from typing import Final

import numpy as np
from psycopg.abc import Buffer
from psycopg.adapt import Dumper
from psycopg.pq import Format

from podroute_router.domain import Vector

SLICE_BYTES = 1024 * 1024
"""Copied at a time, a fraction of a millisecond, before other calls have their turn."""

TEXT_OID: Final = 25
FLOAT_OID: Final = 700
"""Of real, which is float32."""
JSONB_OID: Final = 3802

_HEADER = struct.Struct("!iiIii")  # dimensions, has nulls, type of the elements, how many, number of the first
_LENGTH = struct.Struct("!i")
_ELEMENT_TYPE_AT = 8


class Encoded:
    """A parameter that is in its binary form already. The statement casts it, so that it needs no type of its own."""

    __slots__ = ("data",)

    def __init__(self, data: bytes | bytearray) -> None:
        self.data = data


class EncodedDumper(Dumper):
    """Hands an `Encoded` on as it is."""

    format = Format.BINARY

    def dump(self, obj: Encoded) -> Buffer:
        """The bytes."""
        return obj.data


def text_array(texts: Sequence[str]) -> Encoded:
    """The texts as text[]."""
    parts = [text_array_header(len(texts))]
    for text in texts:
        data = text.encode()
        parts.append(_LENGTH.pack(len(data)))
        parts.append(data)
    return Encoded(bytearray().join(parts))


def encoded(parameter: str | Sequence[str]) -> Encoded:
    """A text as jsonb or jsonpath, texts as text[]."""
    return Encoded(f"\x01{parameter}".encode()) if isinstance(parameter, str) else text_array(parameter)


def jsonb_array(texts: Sequence[str]) -> Encoded:
    """The JSON texts, at least one, as jsonb[]."""
    array = text_array([f"\x01{text}" for text in texts])  # the format's version, then the text
    set_element_type(array, JSONB_OID)
    return array


def text_array_header(count: int) -> bytes:
    """What stands before the elements of a text[]; each has its length before it."""
    return _HEADER.pack(1, 0, TEXT_OID, count, 1)


async def vector_array(vectors: Sequence[Vector]) -> Encoded:
    """The vectors, at least one and all of one dimension, as vector[]; `set_element_type` gives it the type's oid."""
    count, dimension = len(vectors), len(vectors[0])
    element = np.dtype(
        [("length", ">i4"), ("dimension", ">i2"), ("unused", ">i2"), ("components", ">f4", (dimension,))]
    )
    data = bytearray(_HEADER.size + count * element.itemsize)
    _HEADER.pack_into(data, 0, 1, 0, 0, count, 1)
    elements = np.frombuffer(data, element, offset=_HEADER.size)
    elements["length"] = element.itemsize - _LENGTH.size
    elements["dimension"] = dimension
    components, step = elements["components"], max(1, SLICE_BYTES // element.itemsize)
    for start in range(0, count, step):
        some = vectors[start : start + step]
        components[start : start + step] = np.concatenate(some).reshape(len(some), dimension)
        await asyncio.sleep(0)
    return Encoded(data)


async def float_array(vectors: Sequence[Vector]) -> Encoded:
    """The components of the vectors, at least one, one vector after the other, as real[]."""
    count = sum(map(len, vectors))
    element = np.dtype([("length", ">i4"), ("component", ">f4")])
    data = bytearray(_HEADER.size + count * element.itemsize)
    _HEADER.pack_into(data, 0, 1, 0, FLOAT_OID, count, 1)
    elements = np.frombuffer(data, element, offset=_HEADER.size)
    elements["length"] = element.itemsize - _LENGTH.size
    components, start, slice_start = elements["component"], 0, 0
    for vector in vectors:
        components[start : start + len(vector)] = vector
        start += len(vector)
        if (start - slice_start) * element.itemsize >= SLICE_BYTES:
            slice_start = start
            await asyncio.sleep(0)
    return Encoded(data)


def set_element_type(array: Encoded, oid: int) -> None:
    """Names the type of the elements, which may have another oid in each database."""
    struct.pack_into("!I", array.data, _ELEMENT_TYPE_AT, oid)
