"""Arrays in PostgreSQL's binary format are the same bytes that PostgreSQL's own drivers make."""

from __future__ import annotations

import struct

import numpy as np
import pytest
from pgvector import Vector
from podroute_router.postgres import arrays
from psycopg.adapt import PyFormat, Transformer
from psycopg.types.array import ListBinaryDumper
from psycopg.types.json import Jsonb

OID = 16_500


@pytest.mark.parametrize("texts", [["a"], ["", "ä", "日本", 'a,b"{}\n'], ["x" * 70_000] * 3])
def test_texts_are_encoded_as_psycopg_does(texts: list[str]) -> None:
    dumper = ListBinaryDumper(list, Transformer()).upgrade(texts, PyFormat.BINARY)
    assert arrays.text_array(texts).data == dumper.dump(texts)


@pytest.mark.parametrize(("count", "dimension"), [(1, 1), (3, 5), (1000, 384)])
async def test_vectors_are_encoded_as_pgvector_does(
    count: int, dimension: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(arrays, "SLICE_BYTES", 4096)  # several slices, the last not full
    vectors = list(np.random.default_rng(1).standard_normal((count, dimension), dtype=np.float32))
    elements = [Vector(vector).to_binary() for vector in vectors]
    header = struct.pack("!iiIii", 1, 0, OID, count, 1)
    expected = header + b"".join(struct.pack("!i", len(element)) + element for element in elements)
    encoded = await arrays.vector_array(vectors)
    arrays.set_element_type(encoded, OID)
    assert bytes(encoded.data) == expected


@pytest.mark.parametrize("texts", [["{}"], ['{"a": "日本"}', "{}", '{"b": [1.50, null]}']])
def test_json_is_encoded_as_psycopg_does(texts: list[str]) -> None:
    given = [Jsonb(text, dumps=str) for text in texts]
    dumper = ListBinaryDumper(list, Transformer()).upgrade(given, PyFormat.BINARY)
    assert arrays.jsonb_array(texts).data == dumper.dump(given)


@pytest.mark.parametrize(("count", "dimension"), [(1, 1), (3, 5), (100, 384)])
async def test_components_are_encoded_as_psycopg_does(
    count: int, dimension: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(arrays, "SLICE_BYTES", 4096)
    vectors = list(np.random.default_rng(1).standard_normal((count, dimension), dtype=np.float32))
    given = list(np.concatenate(vectors))
    dumper = ListBinaryDumper(list, Transformer()).upgrade(given, PyFormat.BINARY)
    assert (await arrays.float_array(vectors)).data == dumper.dump(given)
