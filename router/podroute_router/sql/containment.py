"""What every record that matches a filter contains: a condition that a GIN index of the metadata serves. Pure."""

from __future__ import annotations

import json

from podroute_router.filters import AllOf, AnyOf, Comparison, Filter, Operator, Scalar
from podroute_router.sql.filters import compile_filter


def compile_narrowed(root: Filter) -> tuple[str, ...]:
    """The filter as `compile_filter` has it, and as a third parameter what its matches contain, where there is that.

    The third is for statements that would else read every record. Beside an index of vectors it is of no use: it would
    have the planner guess how many records match, and leave that index for it.
    """
    narrow = contained(root)
    return compile_filter(root) if narrow is None else (*compile_filter(root), narrow)


def contained(root: Filter) -> str | None:
    """A JSON object that the metadata of every match contains (jsonb's `@>`); None where the filter asks for none.

    Many a record that contains it does not match, so it stands beside the filter and never instead of it.
    """
    document: dict[str, object] = {}
    _require(root, document)
    return json.dumps(document) if document else None


def _require(node: Filter, document: dict[str, object]) -> None:
    match node:
        case AllOf(filters=filters):
            for each in filters:
                _require(each, document)
        case AnyOf(filters=(only,)):
            _require(only, document)
        case Comparison(operator=Operator.EQ | Operator.IN, values=(value,)):
            _put(document, node.path, value)
        case Comparison(operator=Operator.CONTAINS, values=(value,)):
            _put(document, node.path, [value])


def _put(document: dict[str, object], path: tuple[str, ...], value: Scalar | list[Scalar]) -> None:
    """Adds a value at a path; one that has no place beside what stands is left out, which is no harm."""
    *parents, key = path
    for parent in parents:
        inner = document.setdefault(parent, {})
        if not isinstance(inner, dict):
            return
        document = inner
    standing = document.setdefault(key, value)
    if standing is not value and isinstance(standing, list) and isinstance(value, list):
        standing.extend(value)
