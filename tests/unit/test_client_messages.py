"""The client's requests and results, without a server."""

from __future__ import annotations

import array
import json
from typing import Any

import numpy as np
import podroute
import pytest
from hypothesis import given
from hypothesis import strategies as st
from podroute import answers, index_messages, messages
from podroute.calling import Operations
from podroute.v1 import collection_service_pb2, record_pb2, route_pb2, shard_map_service_pb2, vector_service_pb2

operations = Operations(path="auto", timeout_s=7.0)


@pytest.mark.parametrize(
    "vector",
    [
        [0.5, -1.0, 3.0],
        (0.5, -1, 3),
        np.array([0.5, -1.0, 3.0]),
        np.array([0.5, -1.0, 3.0], dtype=np.float16),
        [np.float32(0.5), np.float64(-1), np.int8(3)],
        array.array("f", [0.5, -1.0, 3.0]),
    ],
    ids=["list", "tuple", "float64 array", "float16 array", "list of scalars", "array.array"],
)
def test_a_vector_may_be_any_sequence_or_array_of_numbers(vector: Any) -> None:
    assert messages.vector_message(vector).values == [0.5, -1.0, 3.0]
    assert list(podroute.Record("a", vector).vector) == [0.5, -1.0, 3.0]


@pytest.mark.parametrize(
    "vector", ["abc", [None], ["1"], [[1.0]], 5, np.zeros((2, 2)), np.float32(1), [10**400], {"a": 1}]
)
def test_what_is_no_vector_is_refused_by_name(vector: Any) -> None:
    with pytest.raises(podroute.InvalidArgument, match=r"records\[1\]\.vector: ") as refused:
        operations.upsert("docs", [("a", [1.0], {}), ("b", vector, {})])
    assert refused.value.violations[0].field == "records[1].vector"


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.text(), json_values, max_size=4))
def test_metadata_comes_back_as_it_went(metadata: dict[str, Any]) -> None:
    request = operations.upsert("docs", [("a", [1.0], metadata)]).request
    assert isinstance(request, vector_service_pb2.UpsertRequest)
    assert answers.record(request.records[0]).metadata == metadata


def test_metadata_takes_the_scalars_and_arrays_of_numpy() -> None:
    metadata = {"label": np.int64(7), "score": np.float32(0.5), "tags": np.array([1, 2])}
    assert json.loads(messages.metadata_text(metadata, "metadata")) == {"label": 7, "score": 0.5, "tags": [1, 2]}


def itself() -> dict[str, Any]:
    metadata: dict[str, Any] = {}
    metadata["a"] = metadata
    return metadata


@pytest.mark.parametrize(
    "metadata",
    [{"a": float("nan")}, {"a": float("inf")}, {"a": {1}}, {"a": b"x"}, {("a",): 1}, [1], [], "{}", itself()],
)
def test_metadata_without_a_json_form_is_refused_by_name(metadata: Any) -> None:
    with pytest.raises(podroute.InvalidArgument, match=r"records\[0\]\.metadata: "):
        operations.upsert("docs", [("a", [1.0], metadata)])


def test_no_metadata_is_an_empty_object() -> None:
    request = operations.upsert("docs", [("a", [1.0], None), podroute.Record("b", [1.0])]).request
    assert isinstance(request, vector_service_pb2.UpsertRequest)
    assert [record.metadata for record in request.records] == ["", ""]
    assert answers.record(request.records[0]).metadata == {}


def test_metadata_that_python_cannot_read_is_an_error_that_names_the_record() -> None:
    stored = record_pb2.Record(id="big", vector={"values": [1.0]}, metadata='{"a": %s}' % ("9" * 5000))
    with pytest.raises(podroute.Internal, match="cannot be read") as unread:
        answers.record(stored)
    assert unread.value.metadata == {"id": "big"}


@pytest.mark.parametrize(
    ("records", "field"),
    [
        ([(1, [1.0], {})], "records[0].id"),
        ([("\ud800", [1.0], {})], "records[0]"),
        ([("a", [1.0], {"x": "\ud800"})], "records[0]"),
        ([("a", [1.0])], "records[0]"),
        (["abc"], "records[0]"),
        (podroute.Record("a", [1.0]), "records"),
        ({"a": [1.0]}, "records"),
        (5, "records"),
    ],
)
def test_what_is_no_record_is_refused_by_name(records: Any, field: str) -> None:
    with pytest.raises(podroute.InvalidArgument) as refused:
        operations.upsert("docs", records)
    assert refused.value.violations[0].field == field


def test_records_may_come_from_a_generator() -> None:
    request = operations.upsert("docs", ((str(i), [float(i)], {}) for i in range(3))).request
    assert isinstance(request, vector_service_pb2.UpsertRequest)
    assert [record.id for record in request.records] == ["0", "1", "2"]


def test_a_query_carries_all_that_was_asked() -> None:
    call = operations.query(
        "docs",
        [1.0],
        limit=3,
        filter={"a": 1},
        metric="inner_product",
        exact=True,
        ef_search=80,
        max_distance=0.0,
        include_metadata=True,
        include_vector=True,
        path="fdw",
        timeout=2.5,
    )
    assert call.timeout_s == 2.5
    assert call.request == vector_service_pb2.QueryRequest(
        collection="docs",
        vector={"values": [1.0]},
        limit=3,
        filter={"comparison": {"path": ["a"], "operator": "OPERATOR_EQ", "values": [{"int64_value": 1}]}},
        metric="METRIC_INNER_PRODUCT",
        params={"exact": True, "ef_search": 80},
        max_distance=0.0,
        include_metadata=True,
        include_vector=True,
        path="ACCESS_PATH_FDW",
    )


def test_a_query_leaves_to_the_router_what_was_not_asked() -> None:
    call = operations.query("docs", id="a")
    assert call.timeout_s == 7.0
    assert call.request == vector_service_pb2.QueryRequest(collection="docs", id="a", limit=10, params={})


def test_the_path_of_the_client_is_the_path_of_its_calls() -> None:
    requests = [
        Operations("fdw", 1.0).count("docs").request,
        Operations("fdw", 1.0).count("docs", path="direct").request,
        Operations("fdw", 1.0).count("docs", path="auto").request,
    ]
    assert [request.path for request in requests if isinstance(request, vector_service_pb2.CountRequest)] == [
        route_pb2.ACCESS_PATH_FDW,
        route_pb2.ACCESS_PATH_DIRECT,
        route_pb2.ACCESS_PATH_UNSPECIFIED,
    ]


@pytest.mark.parametrize(
    ("ask", "field"),
    [
        (lambda o: o.query("docs"), "target"),
        (lambda o: o.query("docs", [1.0], id="a"), "target"),
        (lambda o: o.delete("docs"), "target"),
        (lambda o: o.delete("docs", ids=["a"], filter={"a": 1}), "target"),
        (lambda o: o.delete("docs", ids="abc"), "ids"),
        (lambda o: o.fetch("docs", "abc"), "ids"),
        (lambda o: o.fetch("docs", [1]), "ids"),
        (lambda o: o.query("docs", [1.0], limit=2**40), "query"),
        (lambda o: o.query("docs", [1.0], limit=1.5), "query"),
        (lambda o: o.query("docs", [1.0], path="fastest"), "path"),
        (lambda o: o.query("docs", [1.0], metric="euclid"), "metric"),
        (lambda o: o.query("docs", [1.0], filter={}), "filter"),
        (lambda o: o.count(5), "count"),
        (lambda o: o.create_collection("docs", "3"), "create_collection"),
        (lambda o: o.create_index("docs", m=1.5), "create_index"),
        (lambda o: o.list_collections(page_size=2**40), "page_size"),
    ],
)
def test_an_argument_that_cannot_be_sent_is_refused_by_name(ask: Any, field: str) -> None:
    with pytest.raises(podroute.InvalidArgument) as refused:
        ask(operations)
    assert refused.value.violations[0].field == field


def test_an_index_build_has_an_hour_unless_told() -> None:
    assert operations.create_index("docs").timeout_s == 3600.0
    assert operations.create_index("docs", timeout=5).timeout_s == 5


def test_a_result_tells_the_matches_and_the_way() -> None:
    answer = vector_service_pb2.QueryResponse(
        matches=[
            record_pb2.Match(id="a", distance=0.5, metadata='{"k": [1]}', vector={"values": [1.0, 2.0]}),
            record_pb2.Match(id="b", distance=float("nan")),
        ],
        route={"path": "ACCESS_PATH_FDW", "pods": ["docs"], "map_revision": 9, "on_primary": True},
        complete=True,
    )
    result = answers.query_result(answer)
    assert result.matches[0] == podroute.Match(id="a", distance=0.5, metadata={"k": [1]}, vector=[1.0, 2.0])
    assert (result.matches[1].metadata, result.matches[1].vector) == (None, None)
    assert result.route == podroute.Route(path="fdw", pods=("docs",), map_revision=9, on_primary=True)
    assert result.complete


def test_words_that_only_a_newer_router_has_are_unknown() -> None:
    newer = collection_service_pb2.Collection(name="docs", metric=99)  # type: ignore[arg-type]
    assert answers.collection(newer).metric == "unknown"
    assert answers.route(route_pb2.Route(path=99)).path == "unknown"  # type: ignore[arg-type]
    assert answers.pod(shard_map_service_pb2.Pod(name="p", state=99)).state == "unknown"  # type: ignore[arg-type]
    assert index_messages.index_event(collection_service_pb2.CreateIndexResponse()) is None


def test_a_record_does_not_change() -> None:
    record = podroute.Record("a", np.array([1.0]))
    with pytest.raises(AttributeError):
        record.id = "b"  # type: ignore[misc]
    assert record == podroute.Record("a", [1.0])
