"""Results of the core become responses."""

from __future__ import annotations

import math

import numpy as np
import pytest
from podroute.v1 import collection_service_pb2 as collections_pb
from podroute.v1 import record_pb2, route_pb2, shard_map_service_pb2
from podroute.v1 import vector_service_pb2 as vectors_pb
from podroute_router.api import responses
from podroute_router.collections import PodState, PodStatus
from podroute_router.domain import (
    Collection,
    Hnsw,
    IncompleteReason,
    Index,
    IndexProgress,
    Match,
    Metric,
    Placement,
    QueryResult,
    Record,
)
from podroute_router.shard_map import Change, ShardMap

from .messages import ROUTE


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
