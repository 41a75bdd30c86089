"""The oracle's reading of numbers and documents; tests/contract/filter_cases.py has the meaning of filters."""

from __future__ import annotations

import pytest
from podroute_memory.filters import make_predicate, parse_document
from podroute_router.filters import Comparison, Operator, Scalar


def holds(operator: Operator, value: Scalar, document: str) -> bool:
    return make_predicate(Comparison(("v",), operator, (value,)))(parse_document(document))


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.1, "0.1"),
        (0.1, "1e-1"),
        (1e22, "10000000000000000000000"),
        (5e-324, "0.000005e-318"),
        (2**63 - 1, "9223372036854775807.0"),
        (-0.0, "0"),
        (0, "-0.000"),
    ],
)
def test_numbers_are_equal_by_value_however_they_are_written(value: Scalar, text: str) -> None:
    assert holds(Operator.EQ, value, f'{{"v": {text}}}')
    assert not holds(Operator.NE, value, f'{{"v": {text}}}')


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.1, "0.1000000000000000055511151231257827"),
        (2**53, "9007199254740993"),
        (1e300, "1" + "0" * 299 + "1"),
        (1, "1.00000000000000000000000000000000000001"),
    ],
)
def test_numbers_differ_in_their_last_digit(value: Scalar, text: str) -> None:
    assert not holds(Operator.EQ, value, f'{{"v": {text}}}')
    assert holds(Operator.LT, value, f'{{"v": {text}}}') != holds(Operator.GT, value, f'{{"v": {text}}}')


def test_a_number_may_have_more_digits_than_python_reads_as_an_int() -> None:
    assert holds(Operator.GT, 1, f'{{"v": {"9" * 5000}}}')
    assert holds(Operator.LT, 0, f'{{"v": -{"9" * 5000}}}')


def test_of_a_key_that_comes_twice_the_last_counts() -> None:
    assert holds(Operator.EQ, "b", '{"v": 1, "v": "b"}')
    assert not holds(Operator.EQ, 1, '{"v": 1, "v": "b"}')
