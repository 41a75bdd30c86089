"""What filters select, as a table written by hand: documents by name, and the names that each filter selects."""

from __future__ import annotations

from typing import NamedTuple

from podroute_router.filters import AllOf, AnyOf, Comparison, Filter, Negated, Operator, Scalar

DOCUMENTS: dict[str, str] = {
    # The record's id: its metadata. Most ask what is at the path v.
    "empty": "{}",
    "elsewhere": '{"w": 1}',
    "null": '{"v": null}',
    "false": '{"v": false}',
    "true": '{"v": true}',
    "-5": '{"v": -5}',
    "-0": '{"v": -0}',
    "0.1": '{"v": 0.1}',
    "0.1 and a bit": '{"v": 0.1000000000000000055511151231257827}',
    "1": '{"v": 1}',
    "1.0": '{"v": 1.0}',
    "1e2": '{"v": 1e2}',
    "2**53": '{"v": 9007199254740992}',
    "2**53+1": '{"v": 9007199254740993}',
    "2**63-1": '{"v": 9223372036854775807}',
    "2**63": '{"v": 9223372036854775808}',
    "2**70": '{"v": 1180591620717411303424}',
    "blank": '{"v": ""}',
    "text 1": '{"v": "1"}',
    "text 10": '{"v": "10"}',
    "text true": '{"v": "true"}',
    "text null": '{"v": "null"}',
    "A": '{"v": "A"}',
    "Z": '{"v": "Z"}',
    "a": '{"v": "a"}',
    "aa": '{"v": "aa"}',
    "b": '{"v": "b"}',
    "é": '{"v": "\\u00e9"}',
    "e + accent": '{"v": "e\\u0301"}',
    "U+FFFD": '{"v": "\\ufffd"}',
    "emoji": '{"v": "\\ud83d\\ude00"}',
    "quotes": '{"v": "it\'s \\"x\\" \\\\ %s $1"}',
    "[]": '{"v": []}',
    "[1]": '{"v": [1]}',
    "[[1]]": '{"v": [[1]]}',
    "['a']": '{"v": ["a"]}',
    "mixed array": '{"v": [1.0, "a", null, true, {"x": 1}]}',
    "array of objects": '{"v": [{"x": 1}]}',
    "{}": '{"v": {}}',
    "{x: 1}": '{"v": {"x": 1}}',
    "{x: null}": '{"v": {"x": null}}',
    "{x: {y: 'deep'}}": '{"v": {"x": {"y": "deep"}}}',
    "{0: 1}": '{"v": {"0": 1}}',
    "twice": '{"v": 1, "v": "a"}',  # the last counts
    "V": '{"V": 1}',
    "odd keys": '{"v.x": 1, "q\\"uo\'te": 1, "back\\\\slash": 1, "$v": 1, "v ": 1, "%s": 1, '
    '"\\u043a\\u043b\\u044e\\u0447": 1, "*": 1, "@": 1, "new\\nline": 1, "\\ud83d\\ude00": 1, "": 1}',
}

_NUMBERS = {
    "-5", "-0", "0.1", "0.1 and a bit", "1", "1.0", "1e2", "2**53", "2**53+1", "2**63-1", "2**63", "2**70",
}  # fmt: skip
_STRINGS = {
    "blank", "text 1", "text 10", "text true", "text null", "A", "Z", "a", "aa", "b", "é", "e + accent", "U+FFFD",
    "emoji", "quotes", "twice",
}  # fmt: skip
_ARRAYS = {"[]", "[1]", "[[1]]", "['a']", "mixed array", "array of objects"}
_OBJECTS = {"{}", "{x: 1}", "{x: null}", "{x: {y: 'deep'}}", "{0: 1}"}
_PRESENT = {"null", "false", "true"} | _NUMBERS | _STRINGS | _ARRAYS | _OBJECTS
_ALL = set(DOCUMENTS)


def compare(operator: Operator, *values: Scalar, path: tuple[str, ...] = ("v",)) -> Comparison:
    """A comparison, of what is at `v` unless told."""
    return Comparison(path, operator, values)


EQ, NE, LT, LTE, GT, GTE = Operator.EQ, Operator.NE, Operator.LT, Operator.LTE, Operator.GT, Operator.GTE
IN, CONTAINS, EXISTS = Operator.IN, Operator.CONTAINS, Operator.EXISTS

_NEITHER_V_NOR_W = Negated(AnyOf((compare(EXISTS), compare(EXISTS, path=("w",)))))


class Case(NamedTuple):
    """A filter, and the ids of the documents that it selects."""

    label: str
    filter: Filter
    selects: set[str]


CASES = [
    Case("eq null is null only", compare(EQ, None), {"null"}),
    Case("eq false", compare(EQ, False), {"false"}),
    Case("eq true is not 1", compare(EQ, True), {"true"}),
    Case("eq 1 is 1.0, and not true or '1'", compare(EQ, 1), {"1", "1.0"}),
    Case("eq 1.0 is 1", compare(EQ, 1.0), {"1", "1.0"}),
    Case("eq 100 is 1e2", compare(EQ, 100), {"1e2"}),
    Case("eq 0 is -0", compare(EQ, 0), {"-0"}),
    Case("eq -0.0 is -0", compare(EQ, -0.0), {"-0"}),
    Case("eq 0.1 is the decimal, not the double", compare(EQ, 0.1), {"0.1"}),
    Case("eq beyond the doubles' whole numbers", compare(EQ, 2**53 + 1), {"2**53+1"}),
    Case("eq the largest int64", compare(EQ, 2**63 - 1), {"2**63-1"}),
    Case("eq a double is its shortest decimal", compare(EQ, 2.0**53), {"2**53"}),
    Case("eq blank", compare(EQ, ""), {"blank"}),
    Case("eq text 1 is not 1", compare(EQ, "1"), {"text 1"}),
    Case("eq text true is not true", compare(EQ, "true"), {"text true"}),
    Case("eq text null is not null", compare(EQ, "null"), {"text null"}),
    Case("eq minds the case", compare(EQ, "a"), {"a", "twice"}),
    Case("eq does not normalise Unicode", compare(EQ, "\u00e9"), {"é"}),
    Case("eq combining characters", compare(EQ, "e\u0301"), {"e + accent"}),
    Case("eq beyond the BMP", compare(EQ, "\U0001f600"), {"emoji"}),
    Case("eq quotes and placeholders", compare(EQ, 'it\'s "x" \\ %s $1'), {"quotes"}),
    Case("eq what is nowhere", compare(EQ, "'; drop table vecs.docs; --"), set()),
    Case("ne is of the same type", compare(NE, 1), _NUMBERS - {"1", "1.0"}),
    Case("ne 0.5 is every number", compare(NE, 0.5), _NUMBERS),
    Case("ne a string", compare(NE, "a"), _STRINGS - {"a", "twice"}),
    Case("ne a bool", compare(NE, True), {"false"}),
    Case("ne null is nothing", compare(NE, None), set()),
    Case("lt 1", compare(LT, 1), {"-5", "-0", "0.1", "0.1 and a bit"}),
    Case("lte 1", compare(LTE, 1), {"-5", "-0", "0.1", "0.1 and a bit", "1", "1.0"}),
    Case("gt 1", compare(GT, 1), {"1e2", "2**53", "2**53+1", "2**63-1", "2**63", "2**70"}),
    Case("gte 1", compare(GTE, 1), {"1", "1.0", "1e2", "2**53", "2**53+1", "2**63-1", "2**63", "2**70"}),
    Case("gt 0.1 sees the last digit", compare(GT, 0.1), _NUMBERS - {"-5", "-0", "0.1"}),
    Case("gt the largest int64", compare(GT, 2**63 - 1), {"2**63", "2**70"}),
    Case("gt sees one in 2**53", compare(GT, 2**53), {"2**53+1", "2**63-1", "2**63", "2**70"}),
    Case("gt the largest double", compare(GT, 1.7976931348623157e308), set()),
    Case("lt the smallest double", compare(LT, 5e-324), {"-5", "-0"}),
    Case("lt a string orders upper case first", compare(LT, "a"), {"blank", "text 1", "text 10", "A", "Z"}),
    Case("lte a string", compare(LTE, "A"), {"blank", "text 1", "text 10", "A"}),
    Case("lt blank is nothing", compare(LT, ""), set()),
    Case("gte blank is every string", compare(GTE, ""), _STRINGS),
    Case("gt b", compare(GT, "b"), {"text true", "text null", "é", "e + accent", "U+FFFD", "emoji", "quotes"}),
    Case("gt by code point: accents after z", compare(GT, "z"), {"é", "U+FFFD", "emoji"}),
    Case("gt by code point: beyond the BMP last", compare(GT, "\ufffd"), {"emoji"}),
    Case("lt by code point: beyond the BMP last", compare(LT, "\U0001f600"), _STRINGS - {"emoji"}),
    Case("lt true", compare(LT, True), {"false"}),
    Case("lte false", compare(LTE, False), {"false"}),
    Case("gt false", compare(GT, False), {"true"}),
    Case("gte true", compare(GTE, True), {"true"}),
    Case("in one", compare(IN, 1), {"1", "1.0"}),
    Case("in mixed types", compare(IN, 1, "a", None, True), {"1", "1.0", "a", "twice", "null", "true"}),
    Case("in null", compare(IN, None), {"null"}),
    Case("in what is nowhere", compare(IN, "nope", 17), set()),
    Case("in does not unwrap arrays", compare(IN, "a", "b"), {"a", "twice", "b"}),
    Case("in a thousand", compare(IN, *range(1000)), {"-0", "1", "1.0", "1e2"}),
    Case("contains 1 does not unwrap twice", compare(CONTAINS, 1), {"[1]", "mixed array"}),
    Case("contains a, and a string is no array", compare(CONTAINS, "a"), {"['a']", "mixed array"}),
    Case("contains null", compare(CONTAINS, None), {"mixed array"}),
    Case("contains true is not 1", compare(CONTAINS, True), {"mixed array"}),
    Case("contains false", compare(CONTAINS, False), set()),
    Case("exists is true of null", compare(EXISTS), _PRESENT),
    Case("not exists", Negated(compare(EXISTS)), {"empty", "elsewhere", "V", "odd keys"}),
    Case("a nested path", compare(EQ, 1, path=("v", "x")), {"{x: 1}"}),
    Case("a deeper path", compare(EQ, "deep", path=("v", "x", "y")), {"{x: {y: 'deep'}}"}),
    Case(
        "a nested path exists, and not in arrays",
        compare(EXISTS, path=("v", "x")),
        {"{x: 1}", "{x: null}", "{x: {y: 'deep'}}"},
    ),
    Case("a nested null", compare(EQ, None, path=("v", "x")), {"{x: null}"}),
    Case("a path beyond a scalar", compare(EXISTS, path=("v", "x", "y", "z")), set()),
    Case("a number is a key, never a place", compare(EQ, 1, path=("v", "0")), {"{0: 1}"}),
    Case("keys mind the case", compare(EQ, 1, path=("V",)), {"V"}),
    Case("a dot does not part keys", compare(EQ, 1, path=("v.x",)), {"odd keys"}),
    *(
        Case(f"the key {key!r}", compare(EQ, 1, path=(key,)), {"odd keys"})
        for key in ("q\"uo'te", "back\\slash", "$v", "v ", "%s", "ключ", "*", "@", "new\nline", "\U0001f600")
    ),
    Case("a key that is nowhere", compare(EXISTS, path=('"; drop table --',)), set()),
    Case("all_of", AllOf((compare(GT, 0), compare(LT, 1))), {"0.1", "0.1 and a bit"}),
    Case("all_of of one", AllOf((compare(EQ, 1),)), {"1", "1.0"}),
    Case("all_of that excludes itself", AllOf((compare(EQ, 1), compare(EQ, "1"))), set()),
    Case("any_of", AnyOf((compare(EQ, 1), compare(EQ, "1"), compare(EQ, None))), {"1", "1.0", "text 1", "null"}),
    Case("any_of with a missing path", AnyOf((compare(EQ, 1, path=("v", "x")), compare(EQ, "b"))), {"{x: 1}", "b"}),
    Case("negated is two-valued", Negated(compare(EQ, 1)), _ALL - {"1", "1.0"}),
    Case("negated of ne", Negated(compare(NE, 1)), _ALL - _NUMBERS | {"1", "1.0"}),
    Case("negated of ne null is everything", Negated(compare(NE, None)), _ALL),
    Case("negated of an order", Negated(compare(LT, 1)), _ALL - {"-5", "-0", "0.1", "0.1 and a bit"}),
    Case("negated twice", Negated(Negated(compare(EQ, "b"))), {"b"}),
    Case("negated of any_of", _NEITHER_V_NOR_W, {"empty", "V", "odd keys"}),
    Case(
        "negated of all_of with a missing path",
        Negated(AllOf((compare(EXISTS), compare(EQ, 1, path=("v", "x"))))),
        _ALL - {"{x: 1}"},
    ),
    Case(
        "negated within all_of",
        AllOf((compare(EXISTS), Negated(compare(GTE, "")), Negated(compare(NE, 0.5)))),
        _PRESENT - _STRINGS - _NUMBERS,
    ),
    Case(
        "a tree",
        AnyOf(
            (
                AllOf((compare(GTE, "a"), Negated(compare(GT, "b")))),
                _NEITHER_V_NOR_W,
            )
        ),
        {"a", "aa", "b", "twice", "empty", "V", "odd keys"},
    ),
]

OPERANDS: tuple[Scalar, ...] = (
    None, False, True, -5, 0, 0.1, 1, 1.5, 100, 2**53, 2**63 - 1, -(2**63), 1e300, 5e-324,
    "", "1", "A", "Z", "a", "e", "é", "z", "\ufffd", "\U0001f600", "null", '"', "\\", "%", "_",
)  # fmt: skip
"""Operands to compare every document with, by every operator that takes them."""
