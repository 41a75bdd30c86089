"""Filters keep their shape and values, or are refused with the field at fault."""

from __future__ import annotations

import math
from typing import Any

import pytest
from google.protobuf.struct_pb2 import NULL_VALUE
from podroute.v1 import filter_pb2
from podroute_router import filters
from podroute_router.api.filter_requests import to_filter
from podroute_router.filters import AllOf, AnyOf, Comparison, Negated, Operator

from .messages import IS_2012, YEAR, refusal


def test_a_filter_keeps_its_shape_and_its_values() -> None:
    message = filter_pb2.Filter(
        all_of={
            "filters": [
                {"any_of": {"filters": [IS_2012, {"negated": IS_2012}]}},
                {
                    "comparison": {
                        "path": ["a", "b"],
                        "operator": filter_pb2.OPERATOR_IN,
                        "values": [
                            {"int64_value": 2**63 - 1},
                            {"double_value": 0.5},
                            {"string_value": "é"},
                            {"bool_value": False},
                            {"null_value": NULL_VALUE},
                        ],
                    }
                },
                {"comparison": {"path": ["c"], "operator": filter_pb2.OPERATOR_EXISTS}},
            ]
        }
    )
    is_2012 = Comparison(("year",), Operator.EQ, (2012,))
    assert to_filter(message) == AllOf(
        (
            AnyOf((is_2012, Negated(is_2012))),
            Comparison(("a", "b"), Operator.IN, (2**63 - 1, 0.5, "é", False, None)),
            Comparison(("c",), Operator.EXISTS),
        )
    )


def test_each_operator_of_the_contract_is_one_of_the_core() -> None:
    for number, name in [(value.number, value.name) for value in filter_pb2.Operator.DESCRIPTOR.values]:
        values = [] if name == "OPERATOR_EXISTS" else [{"int64_value": 1}]
        message = filter_pb2.Filter(comparison={"path": ["a"], "operator": number, "values": values})
        if number:
            converted = to_filter(message)
            assert isinstance(converted, Comparison)
            assert f"OPERATOR_{converted.operator.name}" == name
        else:
            assert refusal(to_filter, message) == ("FILTER_OPERATOR", "filter.comparison.operator")


def comparison(**fields: Any) -> dict[str, Any]:
    return {"comparison": {"path": ["a"], "operator": filter_pb2.OPERATOR_EQ, "values": [{"int64_value": 1}], **fields}}


def negations(levels: int) -> filter_pb2.Filter:
    message = filter_pb2.Filter(comparison=YEAR)
    for _ in range(levels - 1):
        message = filter_pb2.Filter(negated=message)
    return message


@pytest.mark.parametrize(
    ("message", "reason", "field"),
    [
        ({"all_of": {}}, "FILTER_EMPTY", "filter.all_of"),
        ({"any_of": {}}, "FILTER_EMPTY", "filter.any_of"),
        ({"negated": {}}, "FILTER_EMPTY", "filter.negated"),
        ({"all_of": {"filters": [IS_2012, {}]}}, "FILTER_EMPTY", "filter.all_of.filters[1]"),
        ({"any_of": {"filters": [{"all_of": {}}]}}, "FILTER_EMPTY", "filter.any_of.filters[0].all_of"),
        (comparison(path=[]), "FILTER_PATH", "filter.comparison.path"),
        (comparison(path=["a"] * 17), "FILTER_PATH", "filter.comparison.path"),
        (comparison(path=["a", ""]), "FILTER_PATH", "filter.comparison.path[1]"),
        (comparison(operator=10), "FILTER_OPERATOR", "filter.comparison.operator"),
        (comparison(values=[]), "FILTER_VALUES", "filter.comparison.values"),
        (comparison(values=[{"int64_value": 1}] * 2), "FILTER_VALUES", "filter.comparison.values"),
        (
            comparison(operator=filter_pb2.OPERATOR_IN, values=[{"int64_value": 1}] * 1001),
            "FILTER_VALUES",
            "filter.comparison.values",
        ),
        (comparison(values=[{}]), "FILTER_VALUE", "filter.comparison.values[0]"),
        (comparison(values=[{"double_value": math.nan}]), "FILTER_VALUE", "filter.comparison.values[0]"),
        (comparison(values=[{"double_value": math.inf}]), "FILTER_VALUE", "filter.comparison.values[0]"),
        (comparison(values=[{"string_value": "\0"}]), "FILTER_VALUE", "filter.comparison.values[0]"),
        (
            comparison(operator=filter_pb2.OPERATOR_LT, values=[{"null_value": NULL_VALUE}]),
            "FILTER_VALUE",
            "filter.comparison.values[0]",
        ),
        (
            {"all_of": {"filters": [IS_2012, IS_2012, comparison(values=[{}])]}},
            "FILTER_VALUE",
            "filter.all_of.filters[2].comparison.values[0]",
        ),
        ({"all_of": {"filters": [IS_2012] * 256}}, "FILTER_TOO_LARGE", "filter"),
    ],
)
def test_a_filter_without_a_meaning_is_refused_by_its_field(message: Any, reason: str, field: str) -> None:
    converted = filter_pb2.Filter(**message)
    assert refusal(to_filter, converted) == (reason, field)


def test_a_filter_is_at_most_16_levels_deep_and_256_nodes_wide() -> None:
    to_filter(negations(filters.MAX_DEPTH))
    assert refusal(to_filter, negations(filters.MAX_DEPTH + 1)) == ("FILTER_TOO_DEEP", "filter" + ".negated" * 16)
    to_filter(filter_pb2.Filter(all_of={"filters": [IS_2012] * 255}))


def test_a_filter_as_deep_as_protobuf_allows_is_refused_without_descending() -> None:
    assert refusal(to_filter, negations(99)) == ("FILTER_TOO_DEEP", "filter" + ".negated" * 16)
