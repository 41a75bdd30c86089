"""Evaluates a filter on metadata: the meaning of docs/filters.md, as plainly as it can be written."""

from __future__ import annotations

import json
import operator
from collections.abc import Callable
from decimal import Decimal
from typing import Any

from podroute_router.filters import AllOf, AnyOf, Comparison, Filter, Negated, Operator

Predicate = Callable[[object], bool]
"""Says whether a parsed document matches."""

_MISSING = object()

_ORDERINGS: dict[Operator, Callable[[Any, Any], bool]] = {
    Operator.LT: operator.lt,
    Operator.LTE: operator.le,
    Operator.GT: operator.gt,
    Operator.GTE: operator.ge,
}


def parse_document(text: str) -> object:
    """The value of a JSON text, its numbers whole. Of keys that occur twice the last counts, as in jsonb."""
    # Decimal for whole numbers too: int() refuses texts of more than 4300 digits, jsonb does not.
    return json.loads(text, parse_int=Decimal, parse_float=Decimal)


def make_predicate(node: Filter) -> Predicate:
    """The filter as a predicate on parsed documents. It has passed `check_filter`."""
    match node:
        case AllOf():
            every = [make_predicate(child) for child in node.filters]
            return lambda document: all(holds(document) for holds in every)
        case AnyOf():
            some = [make_predicate(child) for child in node.filters]
            return lambda document: any(holds(document) for holds in some)
        case Negated():
            inner = make_predicate(node.filter)
            return lambda document: not inner(document)
        case Comparison():
            path, test = node.path, _make_test(node)

            def holds(document: object) -> bool:
                value = _value_at(document, path)
                return value is not _MISSING and test(value)

            return holds


def _value_at(document: object, path: tuple[str, ...]) -> object:
    for key in path:
        if not isinstance(document, dict) or key not in document:
            return _MISSING
        document = document[key]
    return document


def _make_test(node: Comparison) -> Callable[[object], bool]:
    """What the operator asks of a value that is there."""
    if node.operator is Operator.EXISTS:
        return lambda value: True  # noqa: ARG005
    if node.operator is Operator.IN:
        operands = {_typed(value) for value in node.values}
        return lambda value: _is_scalar(value) and _typed(value) in operands
    kind, operand = _typed(node.values[0])
    if node.operator is Operator.CONTAINS:
        return lambda value: (
            isinstance(value, list) and any(_is_scalar(item) and _typed(item) == (kind, operand) for item in value)
        )
    compare = {Operator.EQ: operator.eq, Operator.NE: operator.ne, **_ORDERINGS}[node.operator]

    def test(value: object) -> bool:
        if not _is_scalar(value):
            return False
        found, comparable = _typed(value)
        return found == kind and compare(comparable, operand)

    return test


def _is_scalar(value: object) -> bool:
    return not isinstance(value, list | dict)


def _typed(value: object) -> tuple[str, Any]:
    """A scalar's JSON type, and what stands for it among those of that type.

    A float is the shortest decimal that reads back as it, so that 0.1 equals the 0.1 of a document.
    """
    if value is None:
        return "null", None
    if isinstance(value, bool):
        return "boolean", value
    if isinstance(value, str):
        return "string", value
    return "number", Decimal(repr(value)) if isinstance(value, float) else Decimal(value)  # type: ignore[arg-type]
