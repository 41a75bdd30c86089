"""The oracle's distances, against values worked out by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
from podroute_memory.distances import distances
from podroute_router.domain import Metric

METRICS = pytest.mark.parametrize("metric", list(Metric), ids=lambda metric: metric.value)


def measure(metric: Metric, a: list[float], b: list[float]) -> float:
    [distance] = distances(metric, np.array([a], np.float32), np.array(b, np.float32)).tolist()
    return distance


@pytest.mark.parametrize(
    ("metric", "expected"),
    [(Metric.COSINE, 1 - 24 / 25), (Metric.L2, math.sqrt(2)), (Metric.INNER_PRODUCT, -24.0), (Metric.L1, 2.0)],
    ids=lambda value: value.value if isinstance(value, Metric) else "",
)
def test_each_metric_is_as_pgvector_defines_it(metric: Metric, expected: float) -> None:
    assert measure(metric, [3, 4], [4, 3]) == pytest.approx(expected, rel=1e-15)


def test_cosine_reaches_from_0_to_2_and_ignores_lengths() -> None:
    assert measure(Metric.COSINE, [1e-30, 0], [1e30, 0]) == 0.0
    assert measure(Metric.COSINE, [0, 5], [3, 0]) == 1.0
    assert measure(Metric.COSINE, [0.1, 0.3], [-0.1, -0.3]) == 2.0


@pytest.mark.parametrize(("a", "b"), [([0, 0], [1, 1]), ([1, 1], [0, 0]), ([0, 0], [0, 0])])
def test_a_vector_of_zeros_has_no_cosine_distance(a: list[float], b: list[float]) -> None:
    assert math.isnan(measure(Metric.COSINE, a, b))


@METRICS
def test_the_largest_and_the_smallest_floats_neither_overflow_nor_vanish(metric: Metric) -> None:
    largest, smallest = 3.4028235e38, 1e-45
    for a, b in (([largest, largest], [-largest, largest]), ([smallest, 0], [0, smallest])):
        distance = measure(metric, a, b)
        assert math.isfinite(distance)
        if metric in (Metric.L2, Metric.L1):
            assert distance > 0


@METRICS
def test_many_vectors_are_measured_as_each_alone(metric: Metric) -> None:
    vectors = np.random.default_rng(1).normal(size=(5, 7)).astype(np.float32)
    together = distances(metric, vectors, vectors[0]).tolist()
    assert together == [measure(metric, vector.tolist(), vectors[0].tolist()) for vector in vectors]
