"""Filters as dicts, in the spelling of vecs.

    {"year": {"$gte": 2012}}                    a comparison
    {"year": 2012, "draft": False}              a bare value means $eq; several keys mean "and"
    {"year": {"$gte": 2012, "$lt": 2020}}       several operators mean "and"
    {("author", "name"): "Ada"}                 a tuple is a path; a string is one key, dots and all
    {"$or": [{"tags": {"$contains": "new"}}, {"$not": {"tags": {"$exists": True}}}]}

Operators: $eq $ne $lt $lte $gt $gte take a string, number, bool or None; $in takes a list of them; $contains asks for
an array that has the value; $exists takes True or False. A missing key, or a value of another JSON type than the
operand's, never matches a comparison. $not is two-valued: whatever does not match, matches.
Nothing ever means "match all": an empty dict, $and or $or is a FilterError. A key that starts with $ is written
as a tuple: ("$key",).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from typing import Any, TypeAlias

from podroute.errors import FilterError
from podroute.v1 import filter_pb2

FilterDict: TypeAlias = Mapping[Any, Any]
"""A filter; see the module."""

MAX_DEPTH = 16
"""Levels of dicts. The contract allows as many levels of filters, which the router counts: never fewer than these."""

_OPERATORS = {
    "$eq": filter_pb2.OPERATOR_EQ,
    "$ne": filter_pb2.OPERATOR_NE,
    "$lt": filter_pb2.OPERATOR_LT,
    "$lte": filter_pb2.OPERATOR_LTE,
    "$gt": filter_pb2.OPERATOR_GT,
    "$gte": filter_pb2.OPERATOR_GTE,
    "$in": filter_pb2.OPERATOR_IN,
    "$contains": filter_pb2.OPERATOR_CONTAINS,
    "$exists": filter_pb2.OPERATOR_EXISTS,
}


def to_filter(spec: FilterDict) -> filter_pb2.Filter:
    """The filter that a dict spells. Raises FilterError, naming the place, where it has no meaning."""
    return _conditions(spec, "filter", 1)


def _conditions(spec: object, where: str, depth: int) -> filter_pb2.Filter:
    if depth > MAX_DEPTH:
        raise _error(where, f"filters nest at most {MAX_DEPTH} levels")
    if not isinstance(spec, Mapping):
        raise _error(where, f"a filter is a dict, not {type(spec).__name__}")
    if not spec:
        raise _error(where, "an empty filter has no meaning; leave it out to match all")
    return _all_of([_condition(key, operand, f"{where}[{key!r}]", depth) for key, operand in spec.items()])


def _condition(key: object, operand: object, where: str, depth: int) -> filter_pb2.Filter:
    if isinstance(key, str) and key.startswith("$"):
        match key:
            case "$and":
                return filter_pb2.Filter(all_of=_list(operand, where, depth))
            case "$or":
                return filter_pb2.Filter(any_of=_list(operand, where, depth))
            case "$not":
                return filter_pb2.Filter(negated=_conditions(operand, where, depth + 1))
            case _:
                raise _error(where, f"is not one of $and, $or, $not; a key of that name is written as ({key!r},)")
    path = (key,) if isinstance(key, str) else key
    if not (isinstance(path, tuple) and path and all(isinstance(part, str) for part in path)):
        raise _error(where, "a key is a string, or a tuple of strings for a path")
    if not isinstance(operand, Mapping):
        return _comparison(path, "$eq", operand, where)
    if not operand:
        raise _error(where, "needs at least one operator")
    for operator in operand:
        if operator not in _OPERATORS:
            raise _error(where, f"{operator!r} is not one of {', '.join(_OPERATORS)}; a path is written as a tuple")
    return _all_of([_comparison(path, name, value, f"{where}[{name!r}]") for name, value in operand.items()])


def _list(operand: object, where: str, depth: int) -> filter_pb2.FilterList:
    if not isinstance(operand, Sequence) or isinstance(operand, str) or not operand:
        raise _error(where, "takes a list of at least one filter")
    return filter_pb2.FilterList(
        filters=[_conditions(each, f"{where}[{i}]", depth + 1) for i, each in enumerate(operand)]
    )


def _all_of(filters: list[filter_pb2.Filter]) -> filter_pb2.Filter:
    if len(filters) == 1:
        return filters[0]
    return filter_pb2.Filter(all_of=filter_pb2.FilterList(filters=filters))


def _comparison(path: tuple[Any, ...], operator: str, operand: object, where: str) -> filter_pb2.Filter:
    negated = False
    values: list[filter_pb2.Value] = []
    if operator == "$exists":
        if not isinstance(operand, bool):
            raise _error(where, "takes True or False")
        negated = not operand
    elif operator == "$in":
        operand = _plain(operand)
        if not isinstance(operand, (list, tuple, Set)) or not operand:
            raise _error(where, "takes a list of at least one value")
        values = [_value(each, f"{where}[{i}]") for i, each in enumerate(operand)]
    else:
        values = [_value(operand, where)]
    try:
        comparison = filter_pb2.Comparison(path=path, operator=_OPERATORS[operator], values=values)
    except UnicodeEncodeError as error:
        raise _error(where, "a key holds a lone surrogate") from error
    found = filter_pb2.Filter(comparison=comparison)
    return filter_pb2.Filter(negated=found) if negated else found


def _value(operand: object, where: str) -> filter_pb2.Value:
    operand = _plain(operand)
    try:
        match operand:
            case None:
                return filter_pb2.Value(null_value="NULL_VALUE")
            case bool():
                return filter_pb2.Value(bool_value=operand)
            case int():
                return filter_pb2.Value(int64_value=operand)
            case float():
                return filter_pb2.Value(double_value=operand)
            case str():
                return filter_pb2.Value(string_value=operand)
    except UnicodeEncodeError as error:
        raise _error(where, "holds a lone surrogate") from error
    except ValueError as error:
        raise _error(where, "an integer is at most 64 bits; a float takes larger numbers") from error
    raise _error(where, f"compares with a string, number, bool or None, not {type(operand).__name__}")


def _plain(operand: object) -> object:
    # numpy's scalars and arrays, without importing numpy.
    tolist = getattr(operand, "tolist", None)
    return operand if tolist is None else tolist()


def _error(where: str, problem: str) -> FilterError:
    return FilterError.at(where, problem, "FILTER_SYNTAX")
