"""Random records, metadata and filters for property tests."""

from __future__ import annotations

import json
from collections.abc import Sequence

import numpy as np
from hypothesis import strategies as st
from podroute_router.domain import Record, Vector
from podroute_router.filters import ORDERING, AllOf, AnyOf, Comparison, Filter, Negated, Operator, Scalar

SMALLEST, LARGEST = 1e-12, 1e18
"""Sizes of components other than 0. Their squares, summed up, neither overflow float32 nor vanish in it: what pgvector
says beyond these bounds is an artefact of float32, such as NaN for the cosine of a vector of 1e-25."""

KEYS = ["a", "b", "c", "A", "0", "ключ", "a.b", "q\"uo'te", "$", "back\\slash", "%s", "😀", "*", "@", "e\u0301", " "]

_TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=8)

ids = st.sampled_from(
    ["a", "b", "c", "A", "é", "e\u0301", "'; drop table x; --", "\\", "😀", "\ufffd", " "]
) | _TEXT.filter(bool)


def _component() -> st.SearchStrategy[float]:
    def sized(low: float, high: float) -> st.SearchStrategy[float]:
        size = st.floats(float(np.float32(low)), float(np.float32(high)), width=32)
        return st.tuples(st.sampled_from([1.0, -1.0]), size).map(lambda pair: pair[0] * pair[1])

    return st.one_of(
        st.integers(-3, 3).map(float),
        sized(1e-3, 10),
        sized(SMALLEST, 1e-6),
        sized(1e6, LARGEST),
    )


def vectors(dimension: int) -> st.SearchStrategy[Vector]:
    """Vectors of all sizes, zeros, and few enough directions that some are equal."""
    components = st.one_of(
        st.just([0.0] * dimension),
        st.lists(st.sampled_from([0.0, 1.0, -1.0]), min_size=dimension, max_size=dimension),
        st.lists(_component(), min_size=dimension, max_size=dimension),
    )
    return components.map(lambda values: np.array(values, np.float32))


# What documents and filters have in common comes thrice as often as the rest, so that filters match something.
_COMMON_NUMBERS = ["0", "-0", "-0.0", "1", "1.0", "10e-1", "0.1", "0.10", "2", "1e2", "-1", str(2**53 + 1)]
_COMMON_STRINGS = ["", "a", "A", "b", "1", "é", "e\u0301", "\ufffd", "😀", "true", "null", "it's"]
_COMMON_OPERANDS: list[Scalar] = [None, False, True, 0, 1, 2, -1, 1.0, -0.0, 0.1, 100, 2**53 + 1, *_COMMON_STRINGS]

_common_texts = st.sampled_from(["null", "true", "false", *_COMMON_NUMBERS, *map(json.dumps, _COMMON_STRINGS)])
_scalar = st.one_of(
    *[_common_texts] * 3,
    st.integers(-(2**80), 2**80).map(str),
    st.floats(allow_nan=False, allow_infinity=False).map(repr),
    st.builds("{}.{}e{}".format, st.integers(-99, 99), st.integers(0, 10**30), st.integers(-60, 60)),
    st.builds(json.dumps, _TEXT, ensure_ascii=st.booleans()),
)
_key = st.builds(json.dumps, st.sampled_from(KEYS) | _TEXT, ensure_ascii=st.booleans())


def _json_array(values: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    return st.lists(values, max_size=4).map(lambda texts: "[" + ", ".join(texts) + "]")


def _json_object(values: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    # Keys may come twice: the last counts.
    members = st.lists(st.builds("{}: {}".format, _key | st.sampled_from(['"a"', '"b"']), values), max_size=5)
    return members.map(lambda texts: "{" + ", ".join(texts) + "}")


_value = st.recursive(_scalar, lambda inner: _json_object(inner) | _json_array(inner), max_leaves=6)

metadata = st.one_of(
    st.builds('{{"a": {}, "b": {}}}'.format, _scalar, _scalar),
    st.builds('{{"a": {}}}'.format, _json_array(_scalar)),
    _json_object(_value),
)
"""Texts of JSON objects, in every spelling of numbers and strings."""

operands: st.SearchStrategy[Scalar] = st.one_of(
    *[st.sampled_from(_COMMON_OPERANDS)] * 3,
    st.integers(-(2**63), 2**63 - 1),
    st.floats(allow_nan=False, allow_infinity=False),
    _TEXT,
)

paths: st.SearchStrategy[tuple[str, ...]] = st.one_of(
    *[st.sampled_from([("a",), ("b",)])] * 3,
    st.lists(st.sampled_from(["a", "b"]) | st.sampled_from(KEYS), min_size=1, max_size=3).map(tuple),
)


def document_with(path: Sequence[str], value: object) -> str:
    """Metadata that has the value at the path."""
    for key in reversed(path):
        value = {key: value}
    return json.dumps(value)


def every_comparison(path: tuple[str, ...], values: Sequence[Scalar]) -> list[Comparison]:
    """Each operator once: IN with all values, the others with the first that they take."""
    ordered = [value for value in values if value is not None]
    comparisons = []
    for operator in Operator:
        if operator is Operator.EXISTS:
            comparisons.append(Comparison(path, operator))
        elif operator is Operator.IN:
            comparisons.append(Comparison(path, operator, tuple(values)))
        elif operator not in ORDERING or ordered:
            comparisons.append(Comparison(path, operator, ((ordered if operator in ORDERING else values)[0],)))
    return comparisons


_comparisons = st.builds(every_comparison, paths, st.lists(operands, min_size=1, max_size=5)).flatmap(st.sampled_from)


def _combined(inner: st.SearchStrategy[Filter]) -> st.SearchStrategy[Filter]:
    some = st.lists(inner, min_size=1, max_size=3).map(tuple)
    return st.one_of(some.map(AllOf), some.map(AnyOf), inner.map(Negated))


filters: st.SearchStrategy[Filter] = st.recursive(_comparisons, _combined, max_leaves=6)
"""Trees of every shape."""


def records(dimension: int, max_size: int = 12) -> st.SearchStrategy[Sequence[Record]]:
    """Records of different ids."""
    one = st.builds(Record, id=ids, vector=vectors(dimension), metadata=metadata)
    return st.lists(one, max_size=max_size, unique_by=lambda record: record.id)
