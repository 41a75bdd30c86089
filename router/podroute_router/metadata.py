"""Whether a text is the metadata of a record: a JSON object that jsonb takes. A check, never a rewrite.

Python's parser is laxer than jsonb's, so that the difference is checked here: numbers that are none (NaN), numbers
beyond numeric, U+0000 and lone surrogates in escapes, and nesting. The text itself is handed on, and so numbers keep
every digit.
"""

from __future__ import annotations

import re
from json import JSONDecodeError, JSONDecoder
from typing import Never

from podroute_router.errors import InvalidArgument

MAX_BYTES = 1024 * 1024
"""Longest text, in bytes of UTF-8."""
MAX_DEPTH = 64
MAX_DIGITS_BEFORE_POINT = 131_072
MAX_DIGITS_AFTER_POINT = 16_383
"""Of a number without an exponent, as numeric has it."""
MAX_DIGITS_WITH_EXPONENT = 16_383
"""Of a number with an exponent, written out without it."""
MAX_EXPONENTS = 10_000
"""Numbers with an exponent."""
MAX_WRITTEN_OUT = 64 * 1024
"""Digits of all numbers with an exponent: jsonb writes them out, and a short text must not become a long record."""

_ESCAPE = re.compile(r"\\(?:u([0-9a-fA-F]{4})|.)")
_STRING = re.compile(r'"(?:[^"\\]|\\.)*"')
_EXPONENT = re.compile(r"[0-9][eE][-+]?[0-9]")
_WITH_EXPONENT = re.compile(r"(?<![0-9.])([0-9]++)(?:\.([0-9]++))?[eE][-+]?0*([0-9]*)")
# Each begins at the first digit of a run: beginning anew at every digit would take the square of the time.
_LONG_NUMBER = re.compile(rf"(?<![0-9])[0-9]{{{MAX_DIGITS_AFTER_POINT + 1}}}")
_BEYOND_NUMERIC = re.compile(
    rf"\.[0-9]{{{MAX_DIGITS_AFTER_POINT + 1}}}|(?<![0-9])[0-9]{{{MAX_DIGITS_BEFORE_POINT + 1}}}"
)


class _Refused(ValueError):
    """jsonb would not take it; the message says why."""


def check_metadata(text: str, field: str) -> str:
    """Returns the text, or "{}" where it is empty; raises InvalidArgument where no record can have it."""
    if not text or text == "{}":
        return "{}"
    try:
        _check(text)
    except JSONDecodeError as error:
        problem = f"is not JSON: {error.msg} at character {error.pos}"
    except RecursionError:
        problem = f"nests more than {MAX_DEPTH} levels"
    except _Refused as error:
        problem = str(error)
    else:
        return text
    raise InvalidArgument("METADATA", field, problem)


def _check(text: str) -> None:
    if len(text) > MAX_BYTES or (not text.isascii() and len(text.encode()) > MAX_BYTES):
        raise _Refused(f"is longer than {MAX_BYTES} bytes")
    value = _DECODER.decode(text)
    if not isinstance(value, dict):
        raise _Refused("is not a JSON object")
    if "\\u" in text:
        _check_escapes(text)
    if text.count("{") + text.count("[") > MAX_DEPTH:
        _check_depth(value)
    if _EXPONENT.search(text) or _LONG_NUMBER.search(text):
        _check_numbers(_STRING.sub('""', text))


def _refuse_constant(name: str) -> Never:
    raise _Refused(f"{name} is not JSON")


# str: the digits are not converted, which would be slow and is bounded by Python.
_DECODER = JSONDecoder(parse_int=str, parse_float=str, parse_constant=_refuse_constant)


def _check_numbers(text: str) -> None:
    """Refuses numbers beyond numeric, and short ones that jsonb would write out at length. The text has no strings."""
    if _BEYOND_NUMERIC.search(text):
        raise _Refused(
            f"a number has more than {MAX_DIGITS_BEFORE_POINT} digits before the decimal point "
            f"or {MAX_DIGITS_AFTER_POINT} after it"
        )
    total = 0
    for count, number in enumerate(_WITH_EXPONENT.finditer(text), start=1):
        if count > MAX_EXPONENTS:
            raise _Refused(f"more than {MAX_EXPONENTS} of its numbers have an exponent")
        whole, fraction, exponent = number.groups(default="")
        digits = len(whole) + len(fraction) + (int(exponent or "0") if len(exponent) < 9 else MAX_WRITTEN_OUT)
        if digits > MAX_DIGITS_WITH_EXPONENT:
            raise _Refused(f"a number with an exponent has more than {MAX_DIGITS_WITH_EXPONENT} digits, written out")
        total += digits
        if total > MAX_WRITTEN_OUT:
            raise _Refused(f"its numbers with an exponent have more than {MAX_WRITTEN_OUT} digits, written out")


def _check_escapes(text: str) -> None:
    """Refuses escapes that are no character of UTF-8. The text has been parsed: escapes stand in strings only."""
    high_ends_at = None  # where the low half of a surrogate pair must begin
    for escape in _ESCAPE.finditer(text):
        code = int(escape[1], 16) if escape[1] else -1
        is_low = 0xDC00 <= code <= 0xDFFF
        if is_low != (high_ends_at is not None) or (is_low and escape.start() != high_ends_at):
            raise _Refused("an escape is half of a surrogate pair")
        if code == 0:
            raise _Refused("must not hold U+0000")
        high_ends_at = escape.end() if 0xD800 <= code <= 0xDBFF else None
    if high_ends_at is not None:
        raise _Refused("an escape is half of a surrogate pair")


def _check_depth(value: object) -> None:
    level = [value]
    for _ in range(MAX_DEPTH):
        level = [
            inner
            for outer in level
            for inner in (outer.values() if isinstance(outer, dict) else outer if isinstance(outer, list) else ())
            if isinstance(inner, dict | list)
        ]
        if not level:
            return
    raise _Refused(f"nests more than {MAX_DEPTH} levels")
