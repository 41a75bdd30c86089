"""A filter without a meaning is refused, and the error names the place."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from podroute_router.errors import InvalidArgument
from podroute_router.filters import (
    MAX_DEPTH,
    MAX_KEY_BYTES,
    MAX_NODES,
    MAX_PATH,
    MAX_STRING_BYTES,
    MAX_VALUES,
    AllOf,
    AnyOf,
    Comparison,
    Filter,
    Negated,
    Operator,
    check_filter,
)

LEAF = Comparison(("a",), Operator.EQ, (1,))


def nested(depth: int) -> Filter:
    node: Filter = LEAF
    for _ in range(depth - 1):
        node = Negated(node)
    return node


@pytest.mark.parametrize(
    "root",
    [
        LEAF,
        nested(MAX_DEPTH),
        AllOf((LEAF,) * (MAX_NODES - 1)),
        Comparison(("a",) * MAX_PATH, Operator.EXISTS),
        Comparison(("k" * MAX_KEY_BYTES,), Operator.EXISTS),
        Comparison(("a",), Operator.IN, (1,) * MAX_VALUES),
        Comparison(("a",), Operator.EQ, ("x" * MAX_STRING_BYTES,)),
        Comparison(("a",), Operator.EQ, (None,)),
        Comparison(("a",), Operator.LT, (False,)),
    ],
)
def test_a_filter_within_the_bounds_passes(root: Filter) -> None:
    check_filter(root)


@pytest.mark.parametrize(
    ("root", "reason", "field"),
    [
        (AllOf(()), "FILTER_EMPTY", "filter.all_of"),
        (Negated(AnyOf(())), "FILTER_EMPTY", "filter.negated.any_of"),
        (nested(MAX_DEPTH + 1), "FILTER_TOO_DEEP", "filter" + ".negated" * MAX_DEPTH),
        (AllOf((LEAF,) * MAX_NODES), "FILTER_TOO_LARGE", "filter"),
        (Comparison((), Operator.EXISTS), "FILTER_PATH", "filter.comparison.path"),
        (Comparison(("a",) * (MAX_PATH + 1), Operator.EXISTS), "FILTER_PATH", "filter.comparison.path"),
        (Comparison(("a", ""), Operator.EXISTS), "FILTER_PATH", "filter.comparison.path[1]"),
        (Comparison(("a\0",), Operator.EXISTS), "FILTER_VALUE", "filter.comparison.path[0]"),
        (Comparison(("é" * MAX_KEY_BYTES,), Operator.EXISTS), "FILTER_VALUE", "filter.comparison.path[0]"),
        (Comparison(("a",), Operator.EXISTS, (1,)), "FILTER_VALUES", "filter.comparison.values"),
        (Comparison(("a",), Operator.EQ), "FILTER_VALUES", "filter.comparison.values"),
        (Comparison(("a",), Operator.EQ, (1, 2)), "FILTER_VALUES", "filter.comparison.values"),
        (Comparison(("a",), Operator.IN), "FILTER_VALUES", "filter.comparison.values"),
        (Comparison(("a",), Operator.IN, (1,) * (MAX_VALUES + 1)), "FILTER_VALUES", "filter.comparison.values"),
        (Comparison(("a",), Operator.GT, (None,)), "FILTER_VALUE", "filter.comparison.values[0]"),
        (Comparison(("a",), Operator.EQ, (float("nan"),)), "FILTER_VALUE", "filter.comparison.values[0]"),
        (Comparison(("a",), Operator.IN, (1, float("inf"))), "FILTER_VALUE", "filter.comparison.values[1]"),
        (Comparison(("a",), Operator.EQ, ("a\0b",)), "FILTER_VALUE", "filter.comparison.values[0]"),
        (
            AnyOf((LEAF, AllOf((LEAF, Comparison(("a",), Operator.EQ))))),
            "FILTER_VALUES",
            "filter.any_of.filters[1].all_of.filters[1].comparison.values",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_filter_without_a_meaning_or_beyond_a_bound_is_refused(root: Filter, reason: str, field: str) -> None:
    with pytest.raises(InvalidArgument) as refused:
        check_filter(root)
    assert (refused.value.reason, refused.value.field) == (reason, field)


@pytest.mark.parametrize("make", [AllOf, AnyOf])
def test_the_check_is_bounded_for_any_width(make: Callable[[tuple[Filter, ...]], Filter]) -> None:
    with pytest.raises(InvalidArgument) as refused:
        check_filter(make((make((LEAF,) * 1000),) * 1000))
    assert refused.value.reason == "FILTER_TOO_LARGE"
