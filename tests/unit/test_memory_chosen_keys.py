"""The memory backend gives chosen keys of the metadata, their values untouched."""

from __future__ import annotations

import pytest
from podroute_memory.chosen_keys import choose_keys


@pytest.mark.parametrize(
    ("text", "keys", "expected"),
    [
        ("{}", ("a",), "{}"),
        (" { } ", ("a",), "{}"),
        ('{"a": 1}', ("b",), "{}"),
        ('{"a": 1, "b": null}', ("b", "a"), '{"b": null, "a": 1}'),
        ('{"a":1.50 , "b" :[ {"a": 2} ,3]\n}', ("a",), '{"a": 1.50}'),
        ('{"a": {"b": 1, "c": {"a": 2}}}', ("a", "b"), '{"a": {"b": 1, "c": {"a": 2}}}'),
        ('{"a": 1, "a": 2}', ("a",), '{"a": 2}'),
        ('{"a": "}\\",:", "b": true}', ("a",), '{"a": "}\\",:"}'),
        ('{"\\u00e9": 1, "x": 2}', ("é",), '{"\\u00e9": 1}'),
        ('{"n": 12345678901234567890.000000001e5}', ("n",), '{"n": 12345678901234567890.000000001e5}'),
        ('{"n": ' + "9" * 5000 + "}", ("n",), '{"n": ' + "9" * 5000 + "}"),
    ],
)
def test_values_are_as_they_stand(text: str, keys: tuple[str, ...], expected: str) -> None:
    assert choose_keys(text, keys) == expected
