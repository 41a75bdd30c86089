"""Requests become values of the core, or are refused with the field at fault; results become responses."""

from __future__ import annotations

import math
import struct
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from google.protobuf.struct_pb2 import NULL_VALUE
from podroute.v1 import collection_service_pb2 as collections_pb
from podroute.v1 import filter_pb2, record_pb2, route_pb2, shard_map_service_pb2
from podroute.v1 import vector_service_pb2 as vectors_pb
from podroute_router import filters
from podroute_router.api import requests, responses
from podroute_router.api.filter_requests import to_filter
from podroute_router.collections import PodState, PodStatus
from podroute_router.config import Limits
from podroute_router.domain import (
    AccessPath,
    Collection,
    Hnsw,
    IncompleteReason,
    Index,
    IndexProgress,
    IterativeScan,
    IvfFlat,
    Match,
    MetadataUpdate,
    Metric,
    Placement,
    QueryResult,
    Record,
    Route,
    SearchParams,
    Selection,
    UpdateMode,
    UpsertMode,
)
from podroute_router.errors import InvalidArgument
from podroute_router.filters import AllOf, AnyOf, Comparison, Negated, Operator
from podroute_router.shard_map import Change, ShardMap

LIMITS = Limits(max_limit=100, max_records=3, max_fetch_ids=2)
ROUTE = Route(path=AccessPath.FDW, pods=("docs",), map_revision=7, on_primary=True)
VECTOR = record_pb2.Vector(values=[1, 2])

YEAR = filter_pb2.Comparison(path=["year"], operator=filter_pb2.OPERATOR_EQ, values=[{"int64_value": 2012}])
IS_2012 = filter_pb2.Filter(comparison=YEAR)


def refusal(convert: Callable[..., Any], *arguments: Any) -> tuple[str, str | None]:
    with pytest.raises(InvalidArgument) as caught:
        convert(*arguments)
    assert caught.value.message == f"{caught.value.field}: {caught.value.problem}"
    return caught.value.reason, caught.value.field


def record(**fields: Any) -> record_pb2.Record:
    return record_pb2.Record(**{"id": "a", "vector": VECTOR, **fields})


def upsert(*records: record_pb2.Record) -> vectors_pb.UpsertRequest:
    return vectors_pb.UpsertRequest(collection="docs", records=records)


def query(**fields: Any) -> vectors_pb.QueryRequest:
    return vectors_pb.QueryRequest(**{"collection": "docs", "vector": VECTOR, **fields})


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


def test_a_query_that_sets_nothing_has_the_defaults() -> None:
    search = requests.to_search(query(), LIMITS)
    assert isinstance(search.target, np.ndarray)
    assert search.target.tolist() == [1.0, 2.0]
    assert (search.limit, search.metric, search.filter, search.max_distance) == (10, None, None, None)
    assert search.params == SearchParams()
    assert not search.include_metadata
    assert not search.include_vector


def test_a_query_that_sets_everything_keeps_it() -> None:
    search = requests.to_search(
        query(
            id="seven",
            limit=100,
            filter=IS_2012,
            metric=record_pb2.METRIC_L1,
            params={
                "exact": True,
                "ef_search": 1000,
                "probes": 32_768,
                "iterative_scan": "ITERATIVE_SCAN_RELAXED",
                "max_scan_tuples": 2**31 - 1,
            },
            max_distance=0.0,
            include_metadata=True,
            include_vector=True,
        ),
        LIMITS,
    )
    assert search.target == "seven"
    assert (search.limit, search.metric, search.max_distance) == (100, Metric.L1, 0.0)
    assert search.filter == Comparison(("year",), Operator.EQ, (2012,))
    assert search.params == SearchParams(
        exact=True,
        ef_search=1000,
        probes=32_768,
        iterative_scan=IterativeScan.RELAXED,
        max_scan_tuples=2**31 - 1,
    )
    assert search.include_metadata
    assert search.include_vector


@pytest.mark.parametrize(
    ("bad", "reason", "field"),
    [
        ({"vector": None}, "TARGET_MISSING", "target"),
        ({"vector": {"values": [math.nan]}}, "VECTOR_NOT_FINITE", "vector"),
        ({"vector": None, "id": ""}, "RECORD_ID", "id"),
        ({"vector": None, "id": "x" * 1025}, "RECORD_ID", "id"),
        ({"limit": 0}, "LIMIT", "limit"),
        ({"limit": -1}, "LIMIT", "limit"),
        ({"limit": 101}, "LIMIT", "limit"),
        ({"params": {"ef_search": 0}}, "EF_SEARCH", "params.ef_search"),
        ({"params": {"ef_search": 1001}}, "EF_SEARCH", "params.ef_search"),
        ({"params": {"probes": 0}}, "PROBES", "params.probes"),
        ({"params": {"probes": 32_769}}, "PROBES", "params.probes"),
        ({"params": {"max_scan_tuples": 0}}, "MAX_SCAN_TUPLES", "params.max_scan_tuples"),
        ({"params": {"iterative_scan": 4}}, "ITERATIVE_SCAN", "params.iterative_scan"),
        ({"metadata_keys": ["k"] * 65}, "METADATA_KEYS", "metadata_keys"),
        ({"metadata_keys": ["k", ""]}, "METADATA_KEYS", "metadata_keys[1]"),
        ({"metadata_keys": ["é" * 513]}, "METADATA_KEYS", "metadata_keys[0]"),
        ({"metadata_keys": ["a\0b"]}, "METADATA_KEYS", "metadata_keys[0]"),
        ({"max_distance": math.nan}, "MAX_DISTANCE", "max_distance"),
        ({"metric": 5}, "METRIC", "metric"),
        ({"metric": -1}, "METRIC", "metric"),
        ({"filter": {}}, "FILTER_EMPTY", "filter"),
    ],
)
def test_a_bad_query_is_refused_by_its_field(bad: dict[str, Any], reason: str, field: str) -> None:
    assert refusal(requests.to_search, query(**bad), LIMITS) == (reason, field)


def test_an_access_path_is_auto_unless_named() -> None:
    assert requests.to_path(route_pb2.ACCESS_PATH_UNSPECIFIED) is AccessPath.AUTO
    assert requests.to_path(route_pb2.ACCESS_PATH_DIRECT) is AccessPath.DIRECT
    assert requests.to_path(route_pb2.ACCESS_PATH_FDW) is AccessPath.FDW
    assert refusal(requests.to_path, 3) == ("ACCESS_PATH", "path")


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


@pytest.mark.parametrize("dimension", [0, -1, 16001])
def test_a_dimension_out_of_bounds_is_refused(dimension: int) -> None:
    request = collections_pb.CreateCollectionRequest(dimension=dimension)
    assert refusal(requests.to_dimension, request) == ("DIMENSION", "dimension")


def test_a_pod_is_optional_and_has_the_name_of_a_pod() -> None:
    assert requests.to_pod(collections_pb.CreateCollectionRequest()) is None
    assert requests.to_pod(collections_pb.CreateCollectionRequest(pod="docs")) == "docs"
    assert refusal(requests.to_pod, collections_pb.CreateCollectionRequest(pod="Docs;")) == ("POD_NAME", "pod")


def test_a_page_has_at_most_1000_collections() -> None:
    assert [requests.to_page_size(size) for size in (0, 1, 1000)] == [0, 1, 1000]
    assert refusal(requests.to_page_size, -1) == ("PAGE_SIZE", "page_size")
    assert refusal(requests.to_page_size, 1001) == ("PAGE_SIZE", "page_size")


def hnsw(**fields: int) -> collections_pb.CreateIndexRequest:
    return collections_pb.CreateIndexRequest(collection="docs", hnsw=collections_pb.Hnsw(**fields))


def ivfflat(**fields: int) -> collections_pb.CreateIndexRequest:
    return collections_pb.CreateIndexRequest(collection="docs", ivfflat=collections_pb.IvfFlat(**fields))


def test_an_index_has_pgvectors_defaults_unless_set() -> None:
    assert requests.to_index_method(hnsw()) == Hnsw()
    assert requests.to_index_method(hnsw(m=32)) == Hnsw(m=32)
    assert requests.to_index_method(hnsw(m=2, ef_construction=4)) == Hnsw(m=2, ef_construction=4)
    assert requests.to_index_method(hnsw(m=100, ef_construction=1000)) == Hnsw(m=100, ef_construction=1000)
    assert requests.to_index_method(ivfflat()) == IvfFlat()
    assert requests.to_index_method(ivfflat(lists=32768)) == IvfFlat(lists=32768)


@pytest.mark.parametrize(
    ("request_", "reason", "field"),
    [
        (collections_pb.CreateIndexRequest(collection="docs"), "METHOD_MISSING", "method"),
        (hnsw(m=1), "HNSW_M", "hnsw.m"),
        (hnsw(m=101), "HNSW_M", "hnsw.m"),
        (hnsw(ef_construction=3), "HNSW_EF_CONSTRUCTION", "hnsw.ef_construction"),
        (hnsw(ef_construction=1001), "HNSW_EF_CONSTRUCTION", "hnsw.ef_construction"),
        (hnsw(m=50, ef_construction=99), "HNSW_EF_CONSTRUCTION", "hnsw.ef_construction"),
        (hnsw(m=33), "HNSW_EF_CONSTRUCTION", "hnsw.ef_construction"),
        (ivfflat(lists=0), "IVFFLAT_LISTS", "ivfflat.lists"),
        (ivfflat(lists=32769), "IVFFLAT_LISTS", "ivfflat.lists"),
        (hnsw(ef_construction=31), "HNSW_EF_CONSTRUCTION", "hnsw.ef_construction"),
    ],
)
def test_a_bad_index_is_refused_by_its_field(
    request_: collections_pb.CreateIndexRequest, reason: str, field: str
) -> None:
    assert refusal(requests.to_index_method, request_) == (reason, field)


def test_a_filter_keeps_its_shape_and_its_values() -> None:
    message = filter_pb2.Filter(
        all_of={
            "filters": [
                {"any_of": {"filters": [IS_2012, {"negated": IS_2012}]}},
                {
                    "comparison": {
                        "path": ["a", "b"],
                        "operator": filter_pb2.OPERATOR_IN,
                        "values": [
                            {"int64_value": 2**63 - 1},
                            {"double_value": 0.5},
                            {"string_value": "é"},
                            {"bool_value": False},
                            {"null_value": NULL_VALUE},
                        ],
                    }
                },
                {"comparison": {"path": ["c"], "operator": filter_pb2.OPERATOR_EXISTS}},
            ]
        }
    )
    is_2012 = Comparison(("year",), Operator.EQ, (2012,))
    assert to_filter(message) == AllOf(
        (
            AnyOf((is_2012, Negated(is_2012))),
            Comparison(("a", "b"), Operator.IN, (2**63 - 1, 0.5, "é", False, None)),
            Comparison(("c",), Operator.EXISTS),
        )
    )


def test_each_operator_of_the_contract_is_one_of_the_core() -> None:
    for number, name in [(value.number, value.name) for value in filter_pb2.Operator.DESCRIPTOR.values]:
        values = [] if name == "OPERATOR_EXISTS" else [{"int64_value": 1}]
        message = filter_pb2.Filter(comparison={"path": ["a"], "operator": number, "values": values})
        if number:
            converted = to_filter(message)
            assert isinstance(converted, Comparison)
            assert f"OPERATOR_{converted.operator.name}" == name
        else:
            assert refusal(to_filter, message) == ("FILTER_OPERATOR", "filter.comparison.operator")


def comparison(**fields: Any) -> dict[str, Any]:
    return {"comparison": {"path": ["a"], "operator": filter_pb2.OPERATOR_EQ, "values": [{"int64_value": 1}], **fields}}


def negations(levels: int) -> filter_pb2.Filter:
    message = filter_pb2.Filter(comparison=YEAR)
    for _ in range(levels - 1):
        message = filter_pb2.Filter(negated=message)
    return message


@pytest.mark.parametrize(
    ("message", "reason", "field"),
    [
        ({"all_of": {}}, "FILTER_EMPTY", "filter.all_of"),
        ({"any_of": {}}, "FILTER_EMPTY", "filter.any_of"),
        ({"negated": {}}, "FILTER_EMPTY", "filter.negated"),
        ({"all_of": {"filters": [IS_2012, {}]}}, "FILTER_EMPTY", "filter.all_of.filters[1]"),
        ({"any_of": {"filters": [{"all_of": {}}]}}, "FILTER_EMPTY", "filter.any_of.filters[0].all_of"),
        (comparison(path=[]), "FILTER_PATH", "filter.comparison.path"),
        (comparison(path=["a"] * 17), "FILTER_PATH", "filter.comparison.path"),
        (comparison(path=["a", ""]), "FILTER_PATH", "filter.comparison.path[1]"),
        (comparison(operator=10), "FILTER_OPERATOR", "filter.comparison.operator"),
        (comparison(values=[]), "FILTER_VALUES", "filter.comparison.values"),
        (comparison(values=[{"int64_value": 1}] * 2), "FILTER_VALUES", "filter.comparison.values"),
        (
            comparison(operator=filter_pb2.OPERATOR_IN, values=[{"int64_value": 1}] * 1001),
            "FILTER_VALUES",
            "filter.comparison.values",
        ),
        (comparison(values=[{}]), "FILTER_VALUE", "filter.comparison.values[0]"),
        (comparison(values=[{"double_value": math.nan}]), "FILTER_VALUE", "filter.comparison.values[0]"),
        (comparison(values=[{"double_value": math.inf}]), "FILTER_VALUE", "filter.comparison.values[0]"),
        (comparison(values=[{"string_value": "\0"}]), "FILTER_VALUE", "filter.comparison.values[0]"),
        (
            comparison(operator=filter_pb2.OPERATOR_LT, values=[{"null_value": NULL_VALUE}]),
            "FILTER_VALUE",
            "filter.comparison.values[0]",
        ),
        (
            {"all_of": {"filters": [IS_2012, IS_2012, comparison(values=[{}])]}},
            "FILTER_VALUE",
            "filter.all_of.filters[2].comparison.values[0]",
        ),
        ({"all_of": {"filters": [IS_2012] * 256}}, "FILTER_TOO_LARGE", "filter"),
    ],
)
def test_a_filter_without_a_meaning_is_refused_by_its_field(message: Any, reason: str, field: str) -> None:
    converted = filter_pb2.Filter(**message)
    assert refusal(to_filter, converted) == (reason, field)


def test_a_filter_is_at_most_16_levels_deep_and_256_nodes_wide() -> None:
    to_filter(negations(filters.MAX_DEPTH))
    assert refusal(to_filter, negations(filters.MAX_DEPTH + 1)) == ("FILTER_TOO_DEEP", "filter" + ".negated" * 16)
    to_filter(filter_pb2.Filter(all_of={"filters": [IS_2012] * 255}))


def test_a_filter_as_deep_as_protobuf_allows_is_refused_without_descending() -> None:
    assert refusal(to_filter, negations(99)) == ("FILTER_TOO_DEEP", "filter" + ".negated" * 16)


@pytest.mark.parametrize("dimension", [1, 31, 32, 1536, 16000])
def test_a_match_has_every_component_of_its_vector(dimension: int) -> None:
    vector = np.random.default_rng(1).standard_normal(dimension).astype(np.float32)
    matches = [Match(id="a", distance=0.25, metadata='{"n": 1}', vector=vector), Match(id="b", distance=math.nan)]
    response = responses.from_query(QueryResult(matches=matches), ROUTE)
    assert np.array_equal(np.array(response.matches[0].vector.values, dtype=np.float32), vector)
    assert (response.matches[0].id, response.matches[0].distance, response.matches[0].metadata) == (
        "a",
        0.25,
        '{"n": 1}',
    )
    assert math.isnan(response.matches[1].distance)
    assert not response.matches[1].HasField("vector")
    assert response.matches[1].metadata == ""
    assert response.complete
    assert response.incomplete_reason == vectors_pb.INCOMPLETE_REASON_UNSPECIFIED


def test_a_vector_that_is_a_view_with_strides_is_sent_whole() -> None:
    vector = np.arange(8, dtype=np.float32)[::2]
    response = responses.from_fetch([Record(id="a", vector=vector, metadata='{"n": 1}')], ["b"], ROUTE)
    assert list(response.records[0].vector.values) == [0, 2, 4, 6]
    assert response.records[0].metadata == '{"n": 1}'
    assert list(response.missing_ids) == ["b"]


@pytest.mark.parametrize("count", [0, 1, 25_000])
async def test_ids_of_deleted_records_come_in_code_point_order_however_many_they_are(count: int) -> None:
    ids = [f"{chr(0x61 + number % 7)}{number * 7919 % count}" for number in range(count)]
    response = await responses.from_deleted(ids, ROUTE)
    assert list(response.deleted_ids) == sorted(ids)
    assert response.deleted_count == count
    assert response.route.pods == ["docs"]


def test_a_response_says_how_it_was_served() -> None:
    response = responses.from_query(QueryResult(matches=[], incomplete_reason=IncompleteReason.TIMED_OUT), ROUTE)
    expected = route_pb2.Route(path=route_pb2.ACCESS_PATH_FDW, pods=["docs"], map_revision=7, on_primary=True)
    assert response.route == expected
    assert not response.complete
    assert response.incomplete_reason == vectors_pb.INCOMPLETE_REASON_TIMED_OUT


async def test_a_shard_map_is_sent_in_the_order_of_names() -> None:
    made = [
        Collection(
            name=name, dimension=3, metric=metric, placement=Placement(pod="p", schema="s", table="t", generation=2)
        )
        for name, metric in [("b", Metric.L2), ("a", Metric.INNER_PRODUCT)]
    ]
    shard_map = ShardMap().changed(9, ["p", "o"], [Change(one.name, one) for one in made])
    message = await responses.from_shard_map(shard_map)
    assert message.revision == 9
    assert list(message.pods) == ["o", "p"]
    assert [one.name for one in message.collections] == ["a", "b"]
    assert message.collections[1] == collections_pb.Collection(
        name="b",
        dimension=3,
        metric=record_pb2.METRIC_L2,
        placement={"pod": "p", "table_schema": "s", "table_name": "t", "generation": 2},
    )


def test_each_pod_is_sent_with_its_state() -> None:
    states = {
        PodState.UNKNOWN: shard_map_service_pb2.POD_STATE_UNSPECIFIED,
        PodState.SERVING: shard_map_service_pb2.POD_STATE_SERVING,
        PodState.UNREACHABLE: shard_map_service_pb2.POD_STATE_UNREACHABLE,
        PodState.UNCONFIGURED: shard_map_service_pb2.POD_STATE_UNCONFIGURED,
    }
    assert set(states) == set(PodState)
    for state, expected in states.items():
        status = PodStatus(name="p", state=state, collection_count=4, on_primary=True)
        (pod,) = responses.from_pods([status]).pods
        assert (pod.name, pod.state, pod.collection_count, pod.on_primary) == ("p", expected, 4, True)


def test_an_index_build_is_told_by_progress_and_then_the_index() -> None:
    progress = responses.from_index_event(IndexProgress(phase="loading", blocks_done=1, blocks_total=2))
    assert progress.WhichOneof("event") == "progress"
    assert (progress.progress.phase, progress.progress.blocks_done, progress.progress.blocks_total) == ("loading", 1, 2)
    built = Index(name="docs_l2", metric=Metric.L2, method=Hnsw(m=16, ef_construction=64), size_bytes=8192, valid=True)
    done = responses.from_index_event(built)
    assert done.index == collections_pb.Index(
        name="docs_l2", metric="METRIC_L2", hnsw={"m": 16, "ef_construction": 64}, size_bytes=8192, valid=True
    )


def test_an_index_of_another_kind_has_no_metric_and_no_method() -> None:
    other = responses.from_index(Index(name="by_year", metric=None, method=None, size_bytes=1, valid=False))
    assert other == collections_pb.Index(name="by_year", size_bytes=1)
    assert other.WhichOneof("method") is None


@pytest.mark.parametrize("name", ["", "x" * 64, "\u00e4" * 32, "a\0b"])
def test_a_name_that_no_index_or_table_has_is_refused(name: str) -> None:
    drop = collections_pb.DropIndexRequest(collection="docs", name=name)
    assert refusal(requests.to_index_name, drop) == ("INDEX_NAME", "name")
    adopt = collections_pb.AdoptCollectionRequest(pod="alpha", table_name=name)
    assert refusal(requests.to_table_name, adopt) == ("TABLE_NAME", "table_name")


def test_metadata_keys_ask_for_the_metadata_and_count_once() -> None:
    search = requests.to_search(query(metadata_keys=["b", "a", "b"]), LIMITS)
    assert search.include_metadata
    assert search.metadata_keys == ("b", "a")


def test_a_search_without_parameters_has_the_defaults() -> None:
    search = requests.to_search(query(params={"iterative_scan": "ITERATIVE_SCAN_RELAXED"}), LIMITS)
    assert search.params == SearchParams()
    assert not search.params.limits_scan
    assert search.metadata_keys == ()


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
