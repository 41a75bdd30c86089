"""How a backend's answer is judged: equality of JSON, the order of matches, and the tolerance of distances."""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal

import numpy as np
from podroute_router.domain import Match, Metric, Record, Vector

EPSILON = float(np.finfo(np.float32).eps)
TINY = float(np.finfo(np.float32).tiny)


def tolerance(metric: Metric, a: Vector, b: Vector) -> float:
    """How far a distance summed up in float32, in any order, may be from the true one.

    A sum of n terms errs by at most n rounding errors relative to the sum of the terms' sizes, so that is what the
    tolerance is relative to, and not the distance: terms that cancel out leave their errors behind. A few more
    roundings (of each term, the root, the quotient) make n + 4. A term too small for float32 loses up to TINY.
    """
    x, y = a.astype(np.float64), b.astype(np.float64)
    n = len(x)
    roundings = (n + 4) * EPSILON
    match metric:
        case Metric.L2:
            return roundings * float(np.linalg.norm(x - y)) + math.sqrt(n * TINY)
        case Metric.L1:
            return roundings * float(np.abs(x - y).sum()) + n * TINY
        case Metric.INNER_PRODUCT:
            return roundings * float(np.abs(x * y).sum()) + n * TINY
        case Metric.COSINE:  # its terms are relative to the lengths already
            return 2 * roundings


def in_order(matches: Iterable[Match]) -> list[Match]:
    """The matches as a caller gets them: by distance, NaN last, ties by id in code-point order."""
    return sorted(matches, key=lambda m: (math.isnan(m.distance), 0.0 if math.isnan(m.distance) else m.distance, m.id))


def check_search(
    matches: Sequence[Match],
    candidates: Mapping[str, float],
    limit: int,
    tolerances: Mapping[str, float],
) -> None:
    """Asserts that the matches are the nearest of the candidates.

    Args:
        matches: what the backend found.
        candidates: true distance by id of every record that matches the filter.
        limit: of the query.
        tolerances: of each distance, by id.
    """
    ids = [match.id for match in in_order(matches)]
    assert len(ids) == min(limit, len(candidates)), "as many as there are, up to the limit"
    assert len(set(ids)) == len(ids), "no id twice"
    assert set(ids) <= candidates.keys(), "only records that match the filter"
    for match in matches:
        true = candidates[match.id]
        if math.isnan(true):
            assert math.isnan(match.distance), f"{match.id!r}: {match.distance} where there is no distance"
        else:
            assert abs(match.distance - true) <= tolerances[match.id], f"{match.id!r}: {match.distance} is not {true}"
    # Outside ties there is one order, of those found and those left out. Two distances within their tolerances tie.
    left_out = [record_id for record_id in candidates if record_id not in set(ids)]
    for nearer, farther in [*itertools.pairwise(ids), *((ids[-1], other) for other in left_out if ids)]:
        before, after = candidates[nearer], candidates[farther]
        slack = tolerances[nearer] + tolerances[farther]
        assert math.isnan(after) or before <= after + slack, f"{nearer!r} at {before} before {farther!r} at {after}"


def canonical(text: str) -> object:
    """The meaning of a JSON text: equal exactly where jsonb is. Unlike Python's values, 1 is not true."""
    return _tagged(json.loads(text, parse_int=Decimal, parse_float=Decimal))


def _tagged(value: object) -> object:
    match value:
        case dict():
            return "object", frozenset((key, _tagged(inner)) for key, inner in value.items())
        case list():
            return "array", tuple(_tagged(inner) for inner in value)
        case _:
            return type(value).__name__, value


def check_records(found: Iterable[Record], expected: Iterable[Record]) -> None:
    """Asserts that they are the same records, in any order: ids, vectors to the bit, metadata by meaning."""
    found, wanted = list(found), {record.id: record for record in expected}
    assert sorted(record.id for record in found) == sorted(wanted)
    for record in found:
        assert record.vector.dtype == np.float32
        assert np.array_equal(record.vector, wanted[record.id].vector), f"vector of {record.id!r}"
        assert canonical(record.metadata) == canonical(wanted[record.id].metadata), f"metadata of {record.id!r}"
