"""Metadata is the text of a JSON object that jsonb takes, and is handed on as it came."""

from __future__ import annotations

import time

import pytest
from podroute_router.errors import InvalidArgument
from podroute_router.metadata import (
    MAX_BYTES,
    MAX_DEPTH,
    MAX_DIGITS_AFTER_POINT,
    MAX_DIGITS_BEFORE_POINT,
    check_metadata,
)


def nested(levels: int) -> str:
    return '{"a":' * (levels - 1) + "{}" + "}" * (levels - 1)


@pytest.mark.parametrize(
    "text",
    [
        "{}",
        ' {"a" : [1, -2.50, 1e3, 1E-7, true, false, null, "x"]}\n',
        '{"big": 123456789012345678901234567890.123456789}',
        '{"é": "日本語 😀", "escaped": "\\ud83d\\ude00 \\u00e9 \\\\u0000 \\/"}',
        '{"looks like numbers": "1e999999 3e5"}',
        '{"twice": 1, "twice": 2}',
        '{"e": 1e16382}',
        '{"e": -1.5E-0016381}',
        '{"e": [0e1, 0.001e16379]}',
        '{"e": [' + ",".join(["1e-5"] * 10_000) + "]}",
        '{"e": "1e99999999999"}',
        '{"e": ' + "9" * 131072 + "}",
        '{"zeros": 1e00000000000000000000001}',
        '{"wide": [' + ",".join(["[]"] * 1000) + "]}",
        nested(MAX_DEPTH),
    ],
)
def test_an_object_that_jsonb_takes_is_handed_on_as_it_came(text: str) -> None:
    assert check_metadata(text, "metadata") == text


def test_an_empty_text_means_an_empty_object() -> None:
    assert check_metadata("", "metadata") == "{}"


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("[]", "is not a JSON object"),
        ('"a"', "is not a JSON object"),
        ("1", "is not a JSON object"),
        ("null", "is not a JSON object"),
        (" ", "is not JSON"),
        ("{", "is not JSON"),
        ("{'a': 1}", "is not JSON"),
        ('{"a": 1,}', "is not JSON"),
        ('{"a": 01}', "is not JSON"),
        ('{"a": +1}', "is not JSON"),
        ('{"a": 1} x', "is not JSON"),
        ('\ufeff{"a": 1}', "is not JSON"),
        ('\u00a0{"a": 1}', "is not JSON"),
        ('{"a": ١}', "is not JSON"),
        ('{"a": "line\nbreak"}', "is not JSON"),
        ('{"a": "\x00"}', "is not JSON"),
        ('{"a": "\\x41"}', "is not JSON"),
        ('{"a": NaN}', "NaN is not JSON"),
        ('{"a": Infinity}', "Infinity is not JSON"),
        ('{"a": [-Infinity]}', "-Infinity is not JSON"),
        ('{"a": "\\u0000"}', "U+0000"),
        ('{"\\u0000": 1}', "U+0000"),
        ('{"a": "\\\\\\u0000"}', "U+0000"),
        ('{"a": "\\ud800"}', "surrogate"),
        ('{"a": "\\udc00"}', "surrogate"),
        ('{"a": "\\udc00\\ud800"}', "surrogate"),
        ('{"a": "\\ud800\\ud800"}', "surrogate"),
        ('{"a": "\\ud800x\\udc00"}', "surrogate"),
        ('{"a": "\\ud800\\n\\udc00"}', "surrogate"),
        ('{"a": "\\ud800", "b": "\\udc00"}', "surrogate"),
        ('{"a": 1e16383}', "written out"),
        ('{"a": 1e99999999999999999999}', "written out"),
        ('{"a": 1e-16384}', "digits"),
        ('{"a": -1e99999999999999999999}', "digits"),
        ('{"a": 1e-99999999999999999999}', "digits"),
        ('{"a": ' + "9" * 131073 + "}", "digits"),
        ('{"a": 0.' + "1" * 16384 + "}", "digits"),
        ('{"a": [' + ",".join(["1e16382"] * 5) + "]}", "written out"),
        ('{"a": [' + ",".join(["1e-5"] * 10_001) + "]}", "have an exponent"),
        ('{"a": [' + ",".join(["1e7000"] * 10) + "]}", "written out"),
        ('{"a": 1e00000000000000000000016383}', "written out"),
        (nested(MAX_DEPTH + 1), "nests"),
        ('{"a":' + "[" * 64 + "]" * 64 + "}", "nests"),
        ('{"a":' + "[" * 100_000 + "]" * 100_000 + "}", "nests"),
        ('{"a": "' + "x" * MAX_BYTES + '"}', "is longer"),
        ('{"a": "' + "é" * (MAX_BYTES // 2) + '"}', "is longer"),
    ],
)
def test_what_jsonb_would_refuse_is_refused_with_the_field_and_a_cause(text: str, problem: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        check_metadata(text, "records[3].metadata")
    assert caught.value.reason == "METADATA"
    assert caught.value.field == "records[3].metadata"
    assert problem in caught.value.problem
    assert len(caught.value.message) < 200


def long_texts() -> dict[str, str]:
    """Texts of about the greatest length, each slow for a check that looks twice at a character."""
    fraction, whole = "1" * MAX_DIGITS_AFTER_POINT, "1" * (MAX_DIGITS_BEFORE_POINT - 1)

    def filled(piece: str, *, before: str, after: str, between: str = "") -> str:
        count = (MAX_BYTES - len(before) - len(after)) // len(piece + between)
        return before + between.join([piece] * count) + after

    array: dict[str, str] = {"before": '{"a": [1e1, ', "after": "]}", "between": ","}
    string: dict[str, str] = {"before": '{"a": 1e1, "b": "', "after": '"}'}
    return {
        "small_numbers": filled("1", **array),
        "small_fractions": filled("1.1", **array),
        "long_numbers": filled(whole, **array),
        "long_fractions": filled(f"1.{fraction}", **array),
        "long_negative_numbers": filled(f"-{fraction}", **array),
        "long_digits_in_a_string": filled(f"{fraction} ", **string),
        "points_in_a_string": filled("1.", **string),
        "exponents_in_a_string": filled("1e1", **string),
        "escapes": filled("\\\\", **string),
        "escaped_quotes": filled('\\"', **string),
        "escaped_characters": filled("\\ud83d\\ude00", **string),
        "strings": filled('""', **array),
        "brackets": filled("[]", **array),
    }


@pytest.mark.parametrize("text", long_texts().values(), ids=long_texts().keys())
def test_the_check_takes_time_in_proportion_to_the_text(text: str) -> None:
    """A tenth to half a second of CPU; with the square it was ten to sixty, or hours."""
    assert len(text) > MAX_BYTES * 0.85
    began = time.process_time()
    check_metadata(text, "metadata")
    assert time.process_time() - began < 5
