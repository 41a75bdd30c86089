"""Metadata texts by their top-level keys: some of them chosen, two texts merged. Values stay as they stand."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence

_DECODER = json.JSONDecoder(parse_int=str, parse_float=str)  # int() refuses texts of more than 4300 digits
_SPACE = re.compile(r"[ \t\n\r]*")


def choose_keys(text: str, keys: Sequence[str]) -> str:
    """The object with only those of the top-level keys that it has."""
    values = _members(text)
    return _object({key: values[key] for key in keys if key in values})


def merge(text: str, other: str) -> str:
    """The object with the top-level keys of the other one set."""
    return _object(_members(text) | _members(other))


def _members(text: str) -> dict[str, str]:
    """The texts of an object's values by their keys. Of keys that occur twice the last counts."""
    values: dict[str, str] = {}
    at = _after_space(text, text.index("{") + 1)
    while text[at] != "}":
        key, at = _DECODER.raw_decode(text, at)
        start = _after_space(text, text.index(":", at) + 1)
        _, at = _DECODER.raw_decode(text, start)
        values[key] = text[start:at]
        at = _after_space(text, at)
        if text[at] == ",":
            at = _after_space(text, at + 1)
    return values


def _object(members: Mapping[str, str]) -> str:
    return "{" + ", ".join(f"{json.dumps(key)}: {value}" for key, value in members.items()) + "}"


def _after_space(text: str, at: int) -> int:
    found = _SPACE.match(text, at)
    return at if found is None else found.end()
