"""Queries become searches of the core, or are refused with the field at fault."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from podroute.v1 import record_pb2, route_pb2
from podroute_router.api import requests
from podroute_router.domain import (
    AccessPath,
    IterativeScan,
    Metric,
    SearchParams,
)
from podroute_router.filters import Comparison, Operator

from .messages import IS_2012, LIMITS, query, refusal


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


def test_metadata_keys_ask_for_the_metadata_and_count_once() -> None:
    search = requests.to_search(query(metadata_keys=["b", "a", "b"]), LIMITS)
    assert search.include_metadata
    assert search.metadata_keys == ("b", "a")


def test_a_search_without_parameters_has_the_defaults() -> None:
    search = requests.to_search(query(params={"iterative_scan": "ITERATIVE_SCAN_RELAXED"}), LIMITS)
    assert search.params == SearchParams()
    assert not search.params.limits_scan
    assert search.metadata_keys == ()
