"""Conditions on metadata: the tree and its bounds. `sql.filters` compiles it; docs/filters.md has the meaning."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import Enum

from podroute_router.errors import InvalidArgument

MAX_DEPTH = 16
MAX_NODES = 256
MAX_VALUES = 1000
MAX_PATH = 16
MAX_KEY_BYTES = 1024
MAX_STRING_BYTES = 64 * 1024

Scalar = int | float | str | bool | None
"""A JSON scalar."""


class Operator(Enum):
    """What a comparison asks of the value at its path."""

    EQ = "eq"
    NE = "ne"
    LT = "lt"
    LTE = "lte"
    GT = "gt"
    GTE = "gte"
    IN = "in"
    CONTAINS = "contains"
    EXISTS = "exists"


ORDERING = frozenset({Operator.LT, Operator.LTE, Operator.GT, Operator.GTE})


@dataclass(frozen=True, slots=True)
class Comparison:
    """A condition on the value at one path of object keys."""

    path: tuple[str, ...]
    operator: Operator
    values: tuple[Scalar, ...] = ()


@dataclass(frozen=True, slots=True)
class AllOf:
    """Every filter matches."""

    filters: tuple[Filter, ...]


@dataclass(frozen=True, slots=True)
class AnyOf:
    """At least one filter matches."""

    filters: tuple[Filter, ...]


@dataclass(frozen=True, slots=True)
class Negated:
    """The filter does not match; two-valued."""

    filter: Filter


Filter = Comparison | AllOf | AnyOf | Negated


def check_filter(root: Filter, field: str = "filter") -> None:
    """Raises InvalidArgument, naming the field, for a tree that has no meaning or is beyond the bounds."""
    nodes = 0
    stack: list[tuple[Filter, str, int]] = [(root, field, 1)]
    while stack:
        node, where, depth = stack.pop()
        nodes += 1
        if depth > MAX_DEPTH:
            raise InvalidArgument("FILTER_TOO_DEEP", where, f"filters nest at most {MAX_DEPTH} levels", limit=MAX_DEPTH)
        if nodes > MAX_NODES:
            raise InvalidArgument("FILTER_TOO_LARGE", field, f"a filter has at most {MAX_NODES} nodes", limit=MAX_NODES)
        match node:
            case Comparison():
                _check_comparison(node, f"{where}.comparison")
            case Negated():
                stack.append((node.filter, f"{where}.negated", depth + 1))
            case AllOf() | AnyOf():
                name = "all_of" if isinstance(node, AllOf) else "any_of"
                if not node.filters:
                    raise InvalidArgument("FILTER_EMPTY", f"{where}.{name}", "needs at least one filter")
                stack.extend((child, f"{where}.{name}.filters[{i}]", depth + 1) for i, child in enumerate(node.filters))


def _check_comparison(node: Comparison, where: str) -> None:
    if not 1 <= len(node.path) <= MAX_PATH:
        raise InvalidArgument("FILTER_PATH", f"{where}.path", f"needs 1 to {MAX_PATH} keys", limit=MAX_PATH)
    for i, key in enumerate(node.path):
        _check_text(key, f"{where}.path[{i}]", MAX_KEY_BYTES, allow_empty=False)
    _check_value_count(node, f"{where}.values")
    for i, value in enumerate(node.values):
        here = f"{where}.values[{i}]"
        if isinstance(value, str):
            _check_text(value, here, MAX_STRING_BYTES, allow_empty=True)
        elif isinstance(value, float) and not math.isfinite(value):
            raise InvalidArgument("FILTER_VALUE", here, "a number must be finite")
        elif value is None and node.operator in ORDERING:
            raise InvalidArgument("FILTER_VALUE", here, "null has no order; use EQ, NE or IN")


def _check_value_count(node: Comparison, where: str) -> None:
    count = len(node.values)
    if node.operator is Operator.EXISTS:
        if count:
            raise InvalidArgument("FILTER_VALUES", where, "EXISTS takes no value")
    elif node.operator is Operator.IN:
        if not 1 <= count <= MAX_VALUES:
            raise InvalidArgument("FILTER_VALUES", where, f"IN takes 1 to {MAX_VALUES} values", limit=MAX_VALUES)
    elif count != 1:
        raise InvalidArgument("FILTER_VALUES", where, f"{node.operator.name} takes exactly one value")


def _check_text(text: str, where: str, limit: int, *, allow_empty: bool) -> None:
    if not text and not allow_empty:
        raise InvalidArgument("FILTER_PATH", where, "a key must not be empty")
    if "\0" in text:
        raise InvalidArgument("FILTER_VALUE", where, "must not hold U+0000")
    if len(text) > limit or len(text.encode()) > limit:
        raise InvalidArgument("FILTER_VALUE", where, f"is longer than {limit} bytes", limit=limit)
