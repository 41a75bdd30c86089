"""Compiles a filter to one jsonpath predicate and its variables.

The SQL is the same for every filter: `jsonb_path_exists(metadata, $path, $vars, true)`. So it is prepared once, is
pushed down by postgres_fdw in every shape, and depends on no collation: jsonpath compares strings by code point.

How the meaning of docs/filters.md comes about, in jsonpath:

- The predicate stands in a filter expression, `$ ? (…)`, where *unknown* counts as false. Strict mode makes a missing
  key, or a value that is no object or array where one is needed, an error, which is unknown; it never unwraps arrays.
- Negation is two-valued because its operand is closed off: `!(exists($ ? (…)))` knows no *unknown*.
- `!=` between values of different types is unknown, except for null, so NE also asks for the operand's type.
- Values are variables. Keys are jsonpath strings, escaped as JSON; the whole path is a parameter.
"""

from __future__ import annotations

import json

from podroute_router.filters import AllOf, AnyOf, Comparison, Filter, Negated, Operator, Scalar

_SYMBOLS = {
    Operator.EQ: "==",
    Operator.NE: "!=",
    Operator.LT: "<",
    Operator.LTE: "<=",
    Operator.GT: ">",
    Operator.GTE: ">=",
}
_NEVER = "(1 == 0)"


def compile_filter(root: Filter) -> tuple[str, str]:
    """The filter as (jsonpath text, text of a JSON object of variables). It has passed `check_filter`."""
    variables: dict[str, object] = {}
    predicate = _predicate(root, variables)
    return f"strict $ ? ({predicate})", json.dumps(variables)


def _predicate(node: Filter, variables: dict[str, object]) -> str:
    match node:
        case Comparison():
            return _comparison(node, variables)
        case Negated():
            return f"!(exists($ ? ({_predicate(node.filter, variables)})))"
        case AllOf():
            return " && ".join(f"({_predicate(child, variables)})" for child in node.filters)
        case AnyOf():
            return " || ".join(f"({_predicate(child, variables)})" for child in node.filters)


def _comparison(node: Comparison, variables: dict[str, object]) -> str:
    path = "$" + "".join(f".{json.dumps(key)}" for key in node.path)
    match node.operator:
        case Operator.EXISTS:
            return f"exists({path})"
        case Operator.IN:
            return _equals_one_of(path, node.values, variables)
        case Operator.CONTAINS:
            return f"exists({path}[*] ? (@ == {_variable(node.values[0], variables)}))"
        case Operator.NE:
            value = node.values[0]
            if value is None:  # another value of type null is null itself
                return _NEVER
            return f'{path}.type() == "{_json_type(value)}" && {path} != {_variable(value, variables)}'
        case _:
            return f"{path} {_SYMBOLS[node.operator]} {_variable(node.values[0], variables)}"


def _equals_one_of(path: str, values: tuple[Scalar, ...], variables: dict[str, object]) -> str:
    # One list a JSON type: within a list, a comparison of different types would make all of it unknown.
    by_type: dict[str, list[Scalar]] = {}
    for value in values:
        by_type.setdefault(_json_type(value), []).append(value)
    return " || ".join(f"({path} == {_variable(group, variables)}[*])" for group in by_type.values())


def _variable(value: object, variables: dict[str, object]) -> str:
    name = f"v{len(variables)}"
    variables[name] = value
    return f"${name}"


def _json_type(value: Scalar) -> str:
    match value:
        case None:
            return "null"
        case bool():
            return "boolean"
        case str():
            return "string"
        case _:
            return "number"
