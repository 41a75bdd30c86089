"""Vectors as texts are the same vectors when read, to the bit."""

from __future__ import annotations

import struct

import numpy as np
import pytest
from podroute_router.postgres import vector_texts

BORDERS = np.array(
    [0.0, -0.0, 1.0, -1.5, 1e-45, -1e-45, 1.1754942e-38, 1.1754944e-38, 2**23, -(2**24), 2**24 - 1, 3.4028235e38],
    np.float32,
)


def read(data: bytes | bytearray) -> list[str]:
    """The elements of a text[] in PostgreSQL's binary format."""
    _dimensions, _nulls, element_type, count, _first = struct.unpack_from("!iiIii", data)
    texts, at = [], 20
    for _ in range(count):
        (length,) = struct.unpack_from("!i", data, at)
        texts.append(data[at + 4 : at + 4 + length].decode("ascii"))
        at += 4 + length
    assert (element_type, at) == (25, len(data))
    return texts


def parsed(text: str) -> np.ndarray:
    assert text[0] == "["
    assert text.rstrip()[-1] == "]"
    return np.array([float.fromhex(number) for number in text.strip("[] ").split(",")], np.float32)


async def assert_kept(vectors: np.ndarray) -> None:
    texts = read((await vector_texts.vector_text_array(list(vectors))).data)
    kept = np.array([parsed(text) for text in texts])
    assert (kept.view(np.uint32) == vectors.view(np.uint32)).all()


async def test_the_borders_of_float32_are_kept() -> None:
    await assert_kept(BORDERS.reshape(1, -1))
    await assert_kept(BORDERS.reshape(-1, 1))


@pytest.mark.parametrize(("count", "dimension"), [(1, 1), (3, 5), (300, 128)])
async def test_any_finite_bits_are_kept(count: int, dimension: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vector_texts, "SLICE_BYTES", 4096)  # several slices, the last not full
    bits = np.random.default_rng(count).integers(0, 1 << 32, size=(count, dimension), dtype=np.uint32)
    vectors = bits.view(np.float32)
    await assert_kept(np.where(np.isfinite(vectors), vectors, np.float32(0)))


async def test_vectors_that_are_views_are_read_in_their_order() -> None:
    matrix = np.arange(24, dtype=np.float32).reshape(4, 6)
    texts = read((await vector_texts.vector_text_array([matrix[0, ::2], matrix[::-1, 1][:3]])).data)
    assert [parsed(text).tolist() for text in texts] == [[0, 2, 4], [19, 13, 7]]
