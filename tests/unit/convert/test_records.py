"""Records, ids and metadata of requests become values of the core, or are refused with the field at fault."""

from __future__ import annotations

import math
import struct
from typing import Any

import numpy as np
import pytest
from podroute.v1 import record_pb2
from podroute.v1 import vector_service_pb2 as vectors_pb
from podroute_router.api import requests
from podroute_router.config import Limits
from podroute_router.domain import (
    MetadataUpdate,
    Record,
    Selection,
    UpdateMode,
    UpsertMode,
)
from podroute_router.filters import Comparison, Operator

from .messages import IS_2012, LIMITS, record, refusal, upsert


def take_records(request: vectors_pb.UpsertRequest, limits: Limits) -> list[Record]:
    return list(requests.to_records(request, limits))


def test_records_are_taken_as_they_came() -> None:
    taken = list(requests.to_records(upsert(record(), record(metadata='{"n": 1.50}')), LIMITS))
    assert [(one.id, one.vector.tolist(), one.metadata) for one in taken] == [
        ("a", [1.0, 2.0], "{}"),
        ("a", [1.0, 2.0], '{"n": 1.50}'),
    ]
    assert taken[0].vector.dtype == np.float32


@pytest.mark.parametrize(
    ("bad", "reason", "field"),
    [
        ({"id": ""}, "RECORD_ID", "records[1].id"),
        ({"id": "x" * 1025}, "RECORD_ID", "records[1].id"),
        ({"id": "é" * 513}, "RECORD_ID", "records[1].id"),
        ({"id": "a\0b"}, "RECORD_ID", "records[1].id"),
        ({"vector": None}, "VECTOR_MISSING", "records[1].vector"),
        ({"vector": {"values": [1, math.nan]}}, "VECTOR_NOT_FINITE", "records[1].vector"),
        ({"vector": {"values": [math.inf, 1]}}, "VECTOR_NOT_FINITE", "records[1].vector"),
        ({"vector": {"values": [1, -math.inf]}}, "VECTOR_NOT_FINITE", "records[1].vector"),
        ({"metadata": "[]"}, "METADATA", "records[1].metadata"),
        ({"metadata": '{"a": "\\u0000"}'}, "METADATA", "records[1].metadata"),
    ],
)
def test_a_bad_record_is_refused_by_its_field(bad: dict[str, Any], reason: str, field: str) -> None:
    assert refusal(take_records, upsert(record(), record(**bad)), LIMITS) == (reason, field)


@pytest.mark.parametrize("dimension", [1, 31, 32, 4095, 4096, 16_000])
@pytest.mark.parametrize("unknown", [b"", b"\x78\x05", b"\x7a\x03abc"], ids=["", "number", "bytes"])
def test_a_vector_is_read_whatever_its_length_and_what_a_newer_caller_adds(dimension: int, unknown: bytes) -> None:
    wanted = np.random.default_rng(dimension).standard_normal(dimension).astype(np.float32)
    packed = record_pb2.Vector(values=wanted.tolist()).SerializeToString()
    for encoded in (packed + unknown, unknown + packed):
        taken = requests.to_vector(record_pb2.Vector.FromString(encoded), "vector")
        assert taken.dtype == np.float32
        assert taken.tolist() == wanted.tolist()


def test_a_vector_may_come_number_by_number_or_have_none() -> None:
    one_by_one = b"".join(b"\x0d" + struct.pack("<f", number) for number in (1, 2))
    assert requests.to_vector(record_pb2.Vector.FromString(one_by_one), "vector").tolist() == [1.0, 2.0]
    assert requests.to_vector(record_pb2.Vector(), "vector").tolist() == []


def test_a_vector_may_have_the_largest_components() -> None:
    largest = [3.4028234663852886e38] * 3
    assert requests.to_vector(record_pb2.Vector(values=largest), "vector").tolist() == largest


def test_a_record_may_have_an_id_of_1024_bytes_and_a_vector_of_zeros() -> None:
    longest = record(id="é" * 512, vector={"values": [0, 0]})
    assert next(requests.to_records(upsert(longest), LIMITS)).id == "é" * 512


@pytest.mark.parametrize("count", [0, 4])
def test_an_upsert_takes_one_record_to_the_configured_most(count: int) -> None:
    assert refusal(take_records, upsert(*[record()] * count), LIMITS) == ("RECORD_COUNT", "records")
    assert len(list(requests.to_records(upsert(*[record()] * 3), LIMITS))) == 3


def test_ids_are_one_to_the_most() -> None:
    assert requests.to_ids(["a", "a"], "ids", 2) == ("a", "a")
    assert refusal(requests.to_ids, [], "ids", 2) == ("ID_COUNT", "ids")
    assert refusal(requests.to_ids, ["a"] * 3, "ids", 2) == ("ID_COUNT", "ids")
    assert refusal(requests.to_ids, ["a", ""], "ids", 2) == ("RECORD_ID", "ids[1]")


def test_a_delete_names_ids_or_a_filter_and_nothing_never_means_all() -> None:
    by_ids = vectors_pb.DeleteRequest(ids={"ids": ["a", "b"]})
    assert requests.to_selection(by_ids, LIMITS) == Selection(ids=("a", "b"))
    by_filter = vectors_pb.DeleteRequest(filter=IS_2012)
    assert requests.to_selection(by_filter, LIMITS) == Selection(filter=Comparison(("year",), Operator.EQ, (2012,)))
    assert refusal(requests.to_selection, vectors_pb.DeleteRequest(), LIMITS) == ("TARGET_MISSING", "target")
    assert refusal(requests.to_selection, vectors_pb.DeleteRequest(ids={}), LIMITS) == ("ID_COUNT", "ids.ids")
    assert refusal(requests.to_selection, vectors_pb.DeleteRequest(filter={}), LIMITS) == ("FILTER_EMPTY", "filter")


def update_metadata(**fields: Any) -> vectors_pb.UpdateMetadataRequest:
    return vectors_pb.UpdateMetadataRequest(**{"ids": {"ids": ["a"]}, "metadata": '{"a": 1.50}', **fields})


def test_an_update_of_metadata_is_taken_as_it_came() -> None:
    assert requests.to_metadata_update(update_metadata(), LIMITS) == MetadataUpdate(
        selection=Selection(ids=("a",)), metadata='{"a": 1.50}', mode=UpdateMode.MERGE
    )
    by_filter = update_metadata(filter=IS_2012, metadata="{}", mode="UPDATE_MODE_REPLACE")
    assert requests.to_metadata_update(by_filter, LIMITS) == MetadataUpdate(
        selection=Selection(filter=Comparison(("year",), Operator.EQ, (2012,))), metadata="{}", mode=UpdateMode.REPLACE
    )


@pytest.mark.parametrize(
    ("bad", "reason", "field"),
    [
        ({"ids": None}, "TARGET_MISSING", "target"),
        ({"ids": {}}, "ID_COUNT", "ids.ids"),
        ({"ids": {"ids": ["a"] * 4}}, "ID_COUNT", "ids.ids"),
        ({"ids": {"ids": ["a", ""]}}, "RECORD_ID", "ids.ids[1]"),
        ({"metadata": ""}, "METADATA_MISSING", "metadata"),
        ({"metadata": "[]"}, "METADATA", "metadata"),
        ({"metadata": '{"a": "\\u0000"}'}, "METADATA", "metadata"),
        ({"mode": 9}, "UPDATE_MODE", "mode"),
    ],
)
def test_a_bad_update_of_metadata_is_refused_by_its_field(bad: dict[str, Any], reason: str, field: str) -> None:
    assert refusal(requests.to_metadata_update, update_metadata(**bad), LIMITS) == (reason, field)


def test_an_upsert_has_a_mode_that_there_is() -> None:
    assert [requests.to_upsert_mode(mode) for mode in range(3)] == list(UpsertMode)
    assert refusal(requests.to_upsert_mode, 3) == ("UPSERT_MODE", "mode")
