"""Filters as vecs has them, checked as vecs checks them, in podroute's spelling.

What vecs takes for "all records" or "none" without saying so is refused: an empty filter, $and or $or, a key without
an operator. Comparisons are of one JSON type each, as podroute's are; only $ne is true of other types, as in vecs.
"""

from __future__ import annotations

from typing import Any

from podroute.filters import FilterDict
from podroute.vecs.exc import FilterError

_ORDERING = ("$lt", "$lte", "$gt", "$gte")
_OPERATORS = ("$eq", "$ne", *_ORDERING, "$in", "$contains")
_COMBINATIONS = ("$and", "$or")


def build_filter(filters: object) -> FilterDict:
    """The filter in podroute's spelling; raises FilterError where it has no meaning."""
    if not isinstance(filters, dict):
        raise FilterError("filters must be a dict")
    if len(filters) > 1:
        raise FilterError("max 1 entry per filter")
    for key, value in filters.items():
        if not isinstance(key, str):
            raise FilterError("*filters* keys must be strings")
        if key in _COMBINATIONS:
            return _combination(key, value)
        if not isinstance(value, dict):
            if key.startswith("$"):
                raise FilterError("unknown operator")
            raise FilterError(f'a key needs an operator, as in {{"{key}": {{"$eq": …}}}}')
        return _condition(key, value)
    raise FilterError("a filter needs one entry; it does not mean all records")


def _combination(key: str, value: object) -> FilterDict:
    if not isinstance(value, list):
        raise FilterError("$and/$or filters must have associated list of conditions")
    if not value:
        raise FilterError(f"{key} needs at least one condition; it does not mean all records")
    return {key: [build_filter(each) for each in value]}


def _condition(key: str, condition: dict[Any, Any]) -> FilterDict:
    if len(condition) > 1:
        raise FilterError("only one operator permitted")
    for operator, operand in condition.items():
        if operator not in _OPERATORS:
            raise FilterError("unknown operator")
        return _comparison((key,), operator, operand)
    raise FilterError("a key needs an operator")


def _comparison(path: tuple[str], operator: str, operand: Any) -> FilterDict:
    if operator == "$in":
        return _one_of(path, operand)
    if operator == "$contains":
        if not isinstance(operand, (int, str, float)):
            raise FilterError("argument to $contains filter must be a scalar")
        return {path: {operator: operand}}
    if isinstance(operand, (list, tuple, dict)):
        raise FilterError(f"argument to {operator} filter must be a scalar: podroute compares no lists and no dicts")
    if operator == "$ne":
        return {"$and": [{path: {"$exists": True}}, {"$not": {path: {"$eq": operand}}}]}
    if operator in _ORDERING and operand is None:
        raise FilterError(f"argument to {operator} filter must not be None, which has no order")
    return {path: {operator: operand}}


def _one_of(path: tuple[str], operands: object) -> FilterDict:
    if not isinstance(operands, list):
        raise FilterError("argument to $in filter must be a list")
    for each in operands:
        if not isinstance(each, (int, str, float)):
            raise FilterError("argument to $in filter must be a list of scalars")
    if not operands:  # one of none: never
        return {"$and": [{path: {"$exists": True}}, {path: {"$exists": False}}]}
    return {path: {"$in": operands}}
