"""Filters in the spelling of vecs: what each means to podroute, and which are refused.

`tests/acceptance/test_vecs_programs.py` compares them with vecs itself.
"""

from __future__ import annotations

from typing import Any

import pytest
from google.protobuf.text_format import Parse
from hypothesis import given
from hypothesis import strategies as st
from podroute.filters import to_filter
from podroute.v1 import filter_pb2 as pb
from podroute.vecs.exc import FilterError
from podroute.vecs.filters import build_filter

A = 'comparison { path: "a" operator: OPERATOR_EQ values { int64_value: 1 } }'
EXISTS = 'comparison { path: "a" operator: OPERATOR_EXISTS }'


def meaning(filters: object) -> pb.Filter:
    return to_filter(build_filter(filters))


@pytest.mark.parametrize(
    ("filters", "text"),
    [
        ({"a": {"$eq": 1}}, A),
        ({"a": {"$eq": None}}, A.replace("int64_value: 1", "null_value: NULL_VALUE")),
        ({"a.b": {"$eq": 1}}, A.replace('"a"', '"a.b"')),
        ({"$a": {"$eq": 1}}, A.replace('"a"', '"$a"')),
        ({"a": {"$gte": 1.5}}, 'comparison { path: "a" operator: OPERATOR_GTE values { double_value: 1.5 } }'),
        (
            {"a": {"$in": [1, "x"]}},
            'comparison { path: "a" operator: OPERATOR_IN values { int64_value: 1 } values { string_value: "x" } }',
        ),
        (
            {"a": {"$contains": "x"}},
            'comparison { path: "a" operator: OPERATOR_CONTAINS values { string_value: "x" } }',
        ),
        ({"a": {"$ne": 1}}, f"all_of {{ filters {{ {EXISTS} }} filters {{ negated {{ {A} }} }} }}"),
        ({"a": {"$in": []}}, f"all_of {{ filters {{ {EXISTS} }} filters {{ negated {{ {EXISTS} }} }} }}"),
        ({"$and": [{"a": {"$eq": 1}}]}, f"all_of {{ filters {{ {A} }} }}"),
        (
            {"$or": [{"a": {"$eq": 1}}, {"$and": [{"a": {"$eq": 1}}]}]},
            f"any_of {{ filters {{ {A} }} filters {{ all_of {{ filters {{ {A} }} }} }} }}",
        ),
    ],
)
def test_a_filter_has_one_meaning(filters: object, text: str) -> None:
    assert meaning(filters) == Parse(text, pb.Filter())


@pytest.mark.parametrize(
    ("filters", "problem"),
    [
        ({"$and": []}, "does not mean all records"),
        ({"$or": []}, "does not mean all records"),
        ({"$and": [{}]}, "does not mean all records"),
        ({}, "does not mean all records"),
        ({"a": 1}, "needs an operator"),
        ({"a": [1]}, "needs an operator"),
        ({"a": {}}, "needs an operator"),
        ({"$not": [{"a": {"$eq": 1}}]}, "unknown operator"),
        ({"$not": {"a": {"$eq": 1}}}, "unknown operator"),
        ({"a": {"$exists": True}}, "unknown operator"),
        ({"a": {"$eq": 1}, "b": {"$eq": 1}}, "max 1 entry"),
        ({"a": {"$gt": 1, "$lt": 2}}, "only one operator"),
        ({("a",): {"$eq": 1}}, "keys must be strings"),
        ([], "must be a dict"),
        ({"$and": {"a": {"$eq": 1}}}, "list of conditions"),
        ({"$or": [1]}, "must be a dict"),
        ({"a": {"$in": (1,)}}, "must be a list"),
        ({"a": {"$in": [None]}}, "list of scalars"),
        ({"a": {"$contains": None}}, "must be a scalar"),
        ({"a": {"$eq": [1]}}, "must be a scalar"),
        ({"a": {"$ne": {"b": 1}}}, "must be a scalar"),
        ({"a": {"$lt": None}}, "has no order"),
    ],
)
def test_what_has_no_meaning_is_refused(filters: object, problem: str) -> None:
    with pytest.raises(FilterError, match=problem):
        build_filter(filters)


SCALARS = st.one_of(st.integers(-(2**63), 2**63 - 1), st.floats(allow_nan=False), st.booleans(), st.text(max_size=3))
CONDITIONS = st.one_of(
    st.tuples(st.sampled_from(["$eq", "$ne", "$lt", "$lte", "$gt", "$gte", "$contains"]), SCALARS),
    st.tuples(st.just("$in"), st.lists(SCALARS, max_size=3)),
).map(lambda pair: dict([pair]))
KEYS = st.text(min_size=1, max_size=3).filter(lambda key: key not in ("$and", "$or"))


def combined(filters: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.tuples(st.sampled_from(["$and", "$or"]), st.lists(filters, min_size=1, max_size=3)).map(
        lambda pair: dict([pair])
    )


@given(st.recursive(st.tuples(KEYS, CONDITIONS).map(lambda pair: dict([pair])), combined, max_leaves=4))
def test_every_filter_that_vecs_takes_can_be_sent(filters: dict[str, Any]) -> None:
    assert meaning(filters).WhichOneof("kind") is not None
