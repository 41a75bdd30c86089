"""The four distances of pgvector, in float64."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from podroute_router.domain import Metric, Vector

Distances = NDArray[np.float64]
"""Shape (records,)."""


def distances(metric: Metric, vectors: NDArray[np.float32], target: Vector) -> Distances:
    """The distance of each vector from the target.

    Args:
        metric: as pgvector defines it.
        vectors: shape (records, dimension), finite.
        target: shape (dimension,), finite.

    Returns:
        float64: no sum of float32 terms overflows or vanishes in it. NaN where cosine meets a vector of zeros.
    """
    rows = vectors.astype(np.float64)
    point = target.astype(np.float64)
    measured: Distances
    match metric:
        case Metric.COSINE:
            lengths = np.sqrt(np.square(rows).sum(axis=1) * np.square(point).sum())
            with np.errstate(invalid="ignore"):  # 0 / 0 is the NaN that is wanted
                similarity = (rows * point).sum(axis=1) / lengths
            measured = 1.0 - np.clip(similarity, -1.0, 1.0)
        case Metric.L2:
            measured = np.sqrt(np.square(rows - point).sum(axis=1))
        case Metric.INNER_PRODUCT:
            measured = -(rows * point).sum(axis=1)
        case Metric.L1:
            measured = np.abs(rows - point).sum(axis=1)
    return measured
