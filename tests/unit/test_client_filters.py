"""The client's filters: what each spelling means, and that nothing else is taken for a filter."""

from __future__ import annotations

import re

import numpy as np
import podroute
import pytest
from google.protobuf.text_format import Parse
from hypothesis import given
from hypothesis import strategies as st
from podroute.filters import to_filter
from podroute.v1 import filter_pb2 as pb


def read(text: str) -> pb.Filter:
    return Parse(text, pb.Filter())


def comparison(path: str, operator: str, *values: str) -> str:
    keys = " ".join(f'path: "{key}"' for key in path.split("/"))
    return f"comparison {{ {keys} operator: OPERATOR_{operator} {' '.join(f'values {{ {v} }}' for v in values)} }}"


A = comparison("a", "EQ", "int64_value: 1")
B = comparison("b", "EQ", "int64_value: 2")


@pytest.mark.parametrize(
    ("spec", "meaning"),
    [
        ({"a": 1}, A),
        ({"a": {"$eq": 1}}, A),
        ({"a": None}, comparison("a", "EQ", "null_value: NULL_VALUE")),
        ({"a": True}, comparison("a", "EQ", "bool_value: true")),
        ({"a": 0}, comparison("a", "EQ", "int64_value: 0")),
        ({"a": 1.0}, comparison("a", "EQ", "double_value: 1")),
        ({"a": ""}, comparison("a", "EQ", 'string_value: ""')),
        ({"a": {"$ne": "x"}}, comparison("a", "NE", 'string_value: "x"')),
        ({"a": {"$lt": 1}}, comparison("a", "LT", "int64_value: 1")),
        ({"a": {"$lte": 1}}, comparison("a", "LTE", "int64_value: 1")),
        ({"a": {"$gt": 1}}, comparison("a", "GT", "int64_value: 1")),
        ({"a": {"$gte": 2**63 - 1}}, comparison("a", "GTE", "int64_value: 9223372036854775807")),
        ({"a": {"$eq": -(2**63)}}, comparison("a", "EQ", "int64_value: -9223372036854775808")),
        ({"a": {"$in": [1, "x"]}}, comparison("a", "IN", "int64_value: 1", 'string_value: "x"')),
        ({"a": {"$in": {1}}}, comparison("a", "IN", "int64_value: 1")),
        ({"a": {"$contains": "x"}}, comparison("a", "CONTAINS", 'string_value: "x"')),
        ({"a": {"$exists": True}}, comparison("a", "EXISTS")),
        ({"a": {"$exists": False}}, f"negated {{ {comparison('a', 'EXISTS')} }}"),
        ({("a", "b"): 1}, comparison("a/b", "EQ", "int64_value: 1")),
        ({"a.b": 1}, comparison("a.b", "EQ", "int64_value: 1")),
        ({("$and",): 1}, comparison("$and", "EQ", "int64_value: 1")),
        ({"a": 1, "b": 2}, f"all_of {{ filters {{ {A} }} filters {{ {B} }} }}"),
        (
            {"a": {"$gt": 1, "$lt": 2}},
            f"all_of {{ filters {{ {comparison('a', 'GT', 'int64_value: 1')} }}"
            f" filters {{ {comparison('a', 'LT', 'int64_value: 2')} }} }}",
        ),
        ({"$and": [{"a": 1}, {"b": 2}]}, f"all_of {{ filters {{ {A} }} filters {{ {B} }} }}"),
        ({"$or": [{"a": 1}, {"b": 2}]}, f"any_of {{ filters {{ {A} }} filters {{ {B} }} }}"),
        ({"$or": ({"a": 1},)}, f"any_of {{ filters {{ {A} }} }}"),
        ({"$not": {"a": 1}}, f"negated {{ {A} }}"),
        ({"$not": {"a": 1, "b": 2}}, f"negated {{ all_of {{ filters {{ {A} }} filters {{ {B} }} }} }}"),
        ({"a": 1, "$not": {"b": 2}}, f"all_of {{ filters {{ {A} }} filters {{ negated {{ {B} }} }} }}"),
        ({"a": np.int64(1)}, A),
        ({"a": np.bool_(True)}, comparison("a", "EQ", "bool_value: true")),
        ({"a": np.float32(0.5)}, comparison("a", "EQ", "double_value: 0.5")),
        ({"a": {"$in": np.array([1, 2])}}, comparison("a", "IN", "int64_value: 1", "int64_value: 2")),
    ],
)
def test_each_spelling_has_its_meaning(spec: dict[object, object], meaning: str) -> None:
    assert to_filter(spec) == read(meaning)


@pytest.mark.parametrize(
    ("spec", "where"),
    [
        ({}, "filter: "),
        ([], "filter: "),
        ("a", "filter: "),
        ({"$and": []}, "filter['$and']: "),
        ({"$or": []}, "filter['$or']: "),
        ({"$or": {"a": 1}}, "filter['$or']: "),
        ({"$or": "ab"}, "filter['$or']: "),
        ({"$or": [{"a": 1}, {}]}, "filter['$or'][1]: "),
        ({"$and": [{"a": {"$gte": [1]}}]}, "filter['$and'][0]['a']['$gte']: "),
        ({"$not": {}}, "filter['$not']: "),
        ({"$not": [{"a": 1}]}, "filter['$not']: "),
        ({"$nor": [{"a": 1}]}, "filter['$nor']: "),
        ({"$eq": 1}, "filter['$eq']: "),
        ({"a": {}}, "filter['a']: "),
        ({"a": {"b": 1}}, "filter['a']: "),
        ({"a": {"$eq": 1, "b": 1}}, "filter['a']: "),
        ({"a": {"$like": "x"}}, "filter['a']: "),
        ({"a": {"$not": {"$eq": 1}}}, "filter['a']: "),
        ({"a": [1]}, "filter['a']: "),
        ({"a": {"$in": []}}, "filter['a']['$in']: "),
        ({"a": {"$in": "xy"}}, "filter['a']['$in']: "),
        ({"a": {"$in": {"x": 1}}}, "filter['a']['$in']: "),
        ({"a": {"$in": [1, [2]]}}, "filter['a']['$in'][1]: "),
        ({"a": {"$contains": ["x"]}}, "filter['a']['$contains']: "),
        ({"a": {"$exists": 1}}, "filter['a']['$exists']: "),
        ({"a": {"$exists": None}}, "filter['a']['$exists']: "),
        ({"a": {"$eq": 2**63}}, "filter['a']['$eq']: "),
        ({"a": {"$eq": -(10**5000)}}, "filter['a']['$eq']: "),
        ({"a": {"$eq": "\ud800"}}, "filter['a']['$eq']: "),
        ({"a": {"$eq": b"x"}}, "filter['a']['$eq']: "),
        ({"\ud800": {"$eq": 1}}, "filter['\\ud800']['$eq']: "),
        ({(): 1}, "filter[()]: "),
        ({("a", 1): 1}, "filter[('a', 1)]: "),
        ({1: 1}, "filter[1]: "),
    ],
)
def test_what_has_no_meaning_is_refused_and_the_place_is_named(spec: dict[object, object], where: str) -> None:
    with pytest.raises(podroute.FilterError, match=re.escape(where)) as refused:
        to_filter(spec)
    assert isinstance(refused.value, ValueError)
    assert refused.value.reason == "FILTER_SYNTAX"
    assert [f"{violation.field}: " for violation in refused.value.violations] == [where]


def test_a_filter_within_itself_is_refused() -> None:
    spec: dict[str, object] = {}
    spec["$not"] = spec
    with pytest.raises(podroute.FilterError, match="at most 16 levels"):
        to_filter(spec)


keys = st.text(min_size=1).filter(lambda key: not key.startswith("$") and key.isprintable())
scalars = st.one_of(
    st.none().map(lambda v: (v, pb.Value(null_value="NULL_VALUE"))),
    st.booleans().map(lambda v: (v, pb.Value(bool_value=v))),
    st.integers(-(2**63), 2**63 - 1).map(lambda v: (v, pb.Value(int64_value=v))),
    st.floats(allow_nan=False).map(lambda v: (v, pb.Value(double_value=v))),
    st.text().map(lambda v: (v, pb.Value(string_value=v))),
)
leaves = st.builds(
    lambda key, operator, scalar: (
        {key: {f"${operator.lower()}": scalar[0]}},
        pb.Filter(
            comparison=pb.Comparison(
                path=[key] if isinstance(key, str) else key, operator=f"OPERATOR_{operator}", values=[scalar[1]]
            )
        ),
    ),
    keys | st.lists(keys, min_size=1, max_size=3).map(tuple),
    st.sampled_from(["EQ", "NE", "LT", "LTE", "GT", "GTE", "CONTAINS"]),
    scalars,
)
trees = st.recursive(
    leaves,
    lambda inner: st.one_of(
        inner.map(lambda each: ({"$not": each[0]}, pb.Filter(negated=each[1]))),
        st.lists(inner, min_size=1, max_size=4).map(
            lambda all_: (
                {"$and": [each[0] for each in all_]},
                pb.Filter(all_of=pb.FilterList(filters=[each[1] for each in all_])),
            )
        ),
        st.lists(inner, min_size=1, max_size=4).map(
            lambda any_: (
                {"$or": [each[0] for each in any_]},
                pb.Filter(any_of=pb.FilterList(filters=[each[1] for each in any_])),
            )
        ),
    ),
    max_leaves=8,
)


@given(trees)
def test_any_tree_keeps_its_shape_and_its_values(tree: tuple[dict[object, object], pb.Filter]) -> None:
    spec, meaning = tree
    assert to_filter(spec) == meaning


words = st.sampled_from(["$and", "$or", "$not", "$eq", "$in", "$exists", "$contains", "a"]) | st.text(max_size=3)
junk = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3) | st.binary(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(words, inner, max_size=3),
    max_leaves=10,
)


@given(junk)
def test_whatever_is_no_filter_is_a_filter_error_and_nothing_else(spec: dict[object, object]) -> None:
    try:
        found = to_filter(spec)
    except podroute.FilterError:
        return
    assert found.WhichOneof("kind") is not None
