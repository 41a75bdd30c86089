"""What a filter's matches contain, whatever else it asks."""

from __future__ import annotations

import json

import pytest
from podroute_router.filters import AllOf, AnyOf, Comparison, Filter, Negated, Operator, Scalar
from podroute_router.sql.containment import contained


def is_(path: str, *values: Scalar, operator: Operator = Operator.EQ) -> Comparison:
    return Comparison(tuple(path.split(".")), operator, values)


def has(path: str, value: Scalar) -> Comparison:
    return is_(path, value, operator=Operator.CONTAINS)


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        (is_("a", 1), {"a": 1}),
        (is_("a", None), {"a": None}),
        (is_("a.b", "x"), {"a": {"b": "x"}}),
        (is_("a", True, operator=Operator.IN), {"a": True}),
        (has("tags", "x"), {"tags": ["x"]}),
        (AllOf((has("tags", "x"), has("tags", 2))), {"tags": ["x", 2]}),
        (AllOf((is_("a.b", 1), is_("a.c", 2), is_("d", 3))), {"a": {"b": 1, "c": 2}, "d": 3}),
        (AllOf((is_("a", 1), Negated(is_("b", 1)))), {"a": 1}),
        (AllOf((is_("a", 1), is_("b", 2, operator=Operator.GT))), {"a": 1}),
        (AnyOf((AllOf((is_("a", 1),)),)), {"a": 1}),
    ],
    ids=str,
)
def test_what_is_asked_by_equality_is_contained(asked: Filter, expected: object) -> None:
    text = contained(asked)
    assert text is not None
    assert json.loads(text) == expected


@pytest.mark.parametrize(
    "asked",
    [
        AnyOf((is_("a", 1), is_("a", 2))),
        Negated(is_("a", 1)),
        is_("a", 1, 2, operator=Operator.IN),
        is_("a", 1, operator=Operator.NE),
        is_("a", 1, operator=Operator.GTE),
        is_("a", operator=Operator.EXISTS),
    ],
    ids=str,
)
def test_what_is_asked_otherwise_is_not(asked: Filter) -> None:
    assert contained(asked) is None


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        (is_("a", 1), is_("a", 2), {"a": 1}),
        (is_("a", 1), is_("a.b", 2), {"a": 1}),
        (is_("a.b", 2), is_("a", 1), {"a": {"b": 2}}),
        (is_("a", 1), has("a", 1), {"a": 1}),
        (has("a", 1), is_("a", 1), {"a": [1]}),
        (has("a", 1), is_("a.b", 1), {"a": [1]}),
    ],
    ids=str,
)
def test_of_what_nothing_can_match_the_first_is_kept(first: Filter, second: Filter, expected: object) -> None:
    text = contained(AllOf((first, second)))
    assert text is not None
    assert json.loads(text) == expected


def test_a_filter_is_not_changed() -> None:
    tags = AllOf((has("tags", 1), has("tags", 2)))
    assert contained(tags) == contained(tags)
