"""A filter becomes one jsonpath and its variables. What it selects is the contract suite's matter."""

from __future__ import annotations

import json

import pytest
from podroute_router.filters import AllOf, AnyOf, Comparison, Negated, Operator
from podroute_router.sql.filters import compile_filter

YEAR = Comparison(("year",), Operator.GTE, (2012,))


@pytest.mark.parametrize(
    ("comparison", "predicate", "variables"),
    [
        (YEAR, '$."year" >= $v0', {"v0": 2012}),
        (Comparison(("a", "b"), Operator.EQ, ("x",)), '$."a"."b" == $v0', {"v0": "x"}),
        (Comparison(("a",), Operator.NE, (1.5,)), '$."a".type() == "number" && $."a" != $v0', {"v0": 1.5}),
        (Comparison(("a",), Operator.NE, (True,)), '$."a".type() == "boolean" && $."a" != $v0', {"v0": True}),
        (Comparison(("a",), Operator.NE, (None,)), "(1 == 0)", {}),
        (Comparison(("a",), Operator.EXISTS), 'exists($."a")', {}),
        (Comparison(("a",), Operator.CONTAINS, (1,)), 'exists($."a"[*] ? (@ == $v0))', {"v0": 1}),
        (
            Comparison(("a",), Operator.IN, (1, "x", 2, None)),
            '($."a" == $v0[*]) || ($."a" == $v1[*]) || ($."a" == $v2[*])',
            {"v0": [1, 2], "v1": ["x"], "v2": [None]},
        ),
    ],
)
def test_each_operator_has_its_predicate(comparison: Comparison, predicate: str, variables: dict[str, object]) -> None:
    path, values = compile_filter(comparison)
    assert path == f"strict $ ? ({predicate})"
    assert json.loads(values) == variables


def test_combinators_are_closed_off() -> None:
    path, values = compile_filter(AllOf((YEAR, Negated(AnyOf((YEAR, Comparison(("x",), Operator.EXISTS)))))))
    inner = '($."year" >= $v1) || (exists($."x"))'
    assert path == f'strict $ ? (($."year" >= $v0) && (!(exists($ ? ({inner})))))'
    assert json.loads(values) == {"v0": 2012, "v1": 2012}


def test_values_never_stand_in_the_path() -> None:
    nasty = '") || (1 == 1'
    path, values = compile_filter(Comparison(("k",), Operator.EQ, (nasty,)))
    assert nasty not in path
    assert json.loads(values) == {"v0": nasty}


@pytest.mark.parametrize("key", ['"', "\\", '") || ($.x == 1', "a.b", "$", "@", "ключ", "new\nline", "*"])
def test_a_key_is_one_escaped_string(key: str) -> None:
    path, _ = compile_filter(Comparison((key,), Operator.EXISTS))
    prefix, suffix = "strict $ ? (exists($.", "))"
    assert path.startswith(prefix)
    assert path.endswith(suffix)
    assert json.loads(path[len(prefix) : -len(suffix)]) == key
