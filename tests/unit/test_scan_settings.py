"""Search parameters become settings of pgvector, each of which the control view of a pod allows."""

from __future__ import annotations

import itertools

import pytest
from podroute_router.domain import IterativeScan, SearchParams
from podroute_router.postgres.prepare import SETTINGS
from podroute_router.sql.settings import scan_settings

GRID = [
    SearchParams(exact=exact, ef_search=number, probes=number, iterative_scan=scan, max_scan_tuples=number)
    for exact, number, scan in itertools.product((False, True), (None, 7), IterativeScan)
]


@pytest.mark.parametrize(
    ("params", "expected"),
    [
        (SearchParams(), {}),
        (SearchParams(ef_search=80), {"hnsw.ef_search": "80"}),
        (SearchParams(probes=9), {"ivfflat.probes": "9"}),
        (SearchParams(max_scan_tuples=500), {"hnsw.max_scan_tuples": "500"}),
        (
            SearchParams(iterative_scan=IterativeScan.OFF),
            {"hnsw.iterative_scan": "off", "ivfflat.iterative_scan": "off"},
        ),
        (SearchParams(iterative_scan=IterativeScan.STRICT), {"hnsw.iterative_scan": "strict_order"}),
        (SearchParams(exact=True, ef_search=80, iterative_scan=IterativeScan.OFF), {}),
    ],
)
def test_only_what_differs_is_set(params: SearchParams, expected: dict[str, str]) -> None:
    assert scan_settings(params) == expected


def test_the_control_view_allows_all_of_it() -> None:
    assert {name for params in GRID for name in scan_settings(params)} <= set(SETTINGS)


def test_a_search_is_limited_where_it_may_not_go_on() -> None:
    for params in GRID:
        bounded = params.iterative_scan is IterativeScan.OFF or params.max_scan_tuples is not None
        assert params.limits_scan == (bounded and not params.exact)
