"""Filters of the contract as filters of the core. Pure; bounded before it descends."""

from __future__ import annotations

from typing import Final

from podroute.v1 import filter_pb2

from podroute_router.errors import InvalidArgument
from podroute_router.filters import (
    MAX_DEPTH,
    MAX_NODES,
    MAX_VALUES,
    AllOf,
    AnyOf,
    Comparison,
    Filter,
    Negated,
    Operator,
    Scalar,
    check_filter,
)

_OPERATORS: Final[dict[int, Operator]] = {
    filter_pb2.OPERATOR_EQ: Operator.EQ,
    filter_pb2.OPERATOR_NE: Operator.NE,
    filter_pb2.OPERATOR_LT: Operator.LT,
    filter_pb2.OPERATOR_LTE: Operator.LTE,
    filter_pb2.OPERATOR_GT: Operator.GT,
    filter_pb2.OPERATOR_GTE: Operator.GTE,
    filter_pb2.OPERATOR_IN: Operator.IN,
    filter_pb2.OPERATOR_CONTAINS: Operator.CONTAINS,
    filter_pb2.OPERATOR_EXISTS: Operator.EXISTS,
}


def to_filter(message: filter_pb2.Filter, field: str = "filter") -> Filter:
    """The filter, with a meaning and within the bounds; else InvalidArgument names the field."""
    root = _Conversion(field).convert(message, field, 1)
    check_filter(root, field)
    return root


class _Conversion:
    """Converts one tree, counting its nodes."""

    def __init__(self, field: str) -> None:
        self._field = field
        self._nodes = 0

    def convert(self, message: filter_pb2.Filter, where: str, depth: int) -> Filter:
        self._nodes += 1
        if depth > MAX_DEPTH:
            raise InvalidArgument("FILTER_TOO_DEEP", where, f"filters nest at most {MAX_DEPTH} levels", limit=MAX_DEPTH)
        if self._nodes > MAX_NODES:
            raise InvalidArgument(
                "FILTER_TOO_LARGE", self._field, f"a filter has at most {MAX_NODES} nodes", limit=MAX_NODES
            )
        match message.WhichOneof("kind"):
            case "all_of":
                return AllOf(self._convert_list(message.all_of, f"{where}.all_of", depth))
            case "any_of":
                return AnyOf(self._convert_list(message.any_of, f"{where}.any_of", depth))
            case "negated":
                return Negated(self.convert(message.negated, f"{where}.negated", depth + 1))
            case "comparison":
                return _to_comparison(message.comparison, f"{where}.comparison")
            case _:
                raise InvalidArgument("FILTER_EMPTY", where, "needs one of all_of, any_of, negated and comparison")

    def _convert_list(self, message: filter_pb2.FilterList, where: str, depth: int) -> tuple[Filter, ...]:
        return tuple(self.convert(child, f"{where}.filters[{i}]", depth + 1) for i, child in enumerate(message.filters))


def _to_comparison(message: filter_pb2.Comparison, where: str) -> Comparison:
    operator = _OPERATORS.get(message.operator)
    if operator is None:
        raise InvalidArgument("FILTER_OPERATOR", f"{where}.operator", f"{message.operator} is no operator")
    if len(message.values) > MAX_VALUES:
        raise InvalidArgument(
            "FILTER_VALUES", f"{where}.values", f"takes at most {MAX_VALUES} values", limit=MAX_VALUES
        )
    values = tuple(_to_scalar(value, f"{where}.values[{i}]") for i, value in enumerate(message.values))
    return Comparison(tuple(message.path), operator, values)


def _to_scalar(message: filter_pb2.Value, where: str) -> Scalar:
    match message.WhichOneof("kind"):
        case "int64_value":
            return message.int64_value
        case "double_value":
            return message.double_value
        case "string_value":
            return message.string_value
        case "bool_value":
            return message.bool_value
        case "null_value":
            return None
        case _:
            raise InvalidArgument("FILTER_VALUE", where, "needs a value")
