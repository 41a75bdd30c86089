"""SQL is composed of literals, identifiers and parameters alone: nothing that a caller sends is ever a part of it."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from podroute_router.filters import Comparison, Operator
from podroute_router.sql.filters import compile_filter

ROOT = Path(__file__).resolve().parents[2]
SOURCES = sorted(path for folder in ("router", "plugins") for path in (ROOT / folder).rglob("*.py"))

FRAGMENTS = {
    "OPERATORS[metric]": "pgvector's operators, by an enum",
    "vector": "how the vector is given: two literals of the module",
    "f'${first}'": "the number of a parameter",
    "f'${first + 1}'": "the number of a parameter",
    "f'${first + 2}'": "the number of a parameter",
    "f'${2 + 2 * filtered + narrowed}'": "the number of a parameter",
    "each.value": "the type of an exposed column, by an enum",
    "wanted[name]": "podroute's own functions, by their names in the source",
    "method": "kinds of index, two literals of the function",
}
"""Arguments of `SQL(…)` that are no literals, and what they are."""
STATEMENTS = {
    "prepare + self._statement": "EXPLAIN: a statement of `sql/` behind `prepare name (types) as`",
    "';'.join((step.statement for drift in part for step in drift.steps))": "statements that were composed one by one",
    "';'.join(map(objects.drop_table, some))": "statements that were composed one by one",
}
"""Arguments of `execute` that are put together there, and of what."""
SHOWN = {
    "f'alter table {facts.text} owner to {owner}'",
    "f'grant {role} to {owner}'",
    "f'grant usage, create on schema {schema} to {OWNER}'",
    "f'grant usage on schema {schema} to {READER}'",
    "f'set role {OWNER};'",
}
"""Statements that an administrator is told or shown, and podroute does not run. Their identifiers are quoted."""

_RUNS = ("execute", "executemany", "copy", "stream")
_STATEMENT = re.compile(
    r"\s*(select|insert\s+into|update|delete\s+from|create|drop|alter|grant|revoke|set\s+local|set\s+role|lock\s+table|listen"
    r"|notify|copy|explain|prepare|execute|deallocate|truncate|comment\s+on|with)\s",
)


def composed(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Line and text of each expression that makes SQL of anything but literals and `psycopg.sql`."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and node.args:
            name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            first = node.args[0]
            text = ast.unparse(first)
            if name == "SQL" and not _is_literal(first) and text not in FRAGMENTS:
                yield node.lineno, f"SQL({text})"
            if name in _RUNS and _is_put_together(first) and text not in STATEMENTS:
                yield node.lineno, f"{name}({text})"
        if _is_put_together(node) and _STATEMENT.match(_beginning(node)) and ast.unparse(node) not in SHOWN:
            yield node.lineno, ast.unparse(node)


def _is_literal(node: ast.expr) -> bool:
    if isinstance(node, ast.IfExp):
        return _is_literal(node.body) and _is_literal(node.orelse)
    return isinstance(node, ast.Constant)


def _is_put_together(node: ast.AST) -> bool:
    """True for f-strings, `+`, `%`, `"…".format(…)` and `"…".join(…)`."""
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
        return node.func.attr in ("format", "join") and isinstance(node.func.value, ast.Constant)
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add | ast.Mod):
        return True
    return isinstance(node, ast.JoinedStr)


def _beginning(node: ast.AST) -> str:
    """The text that it begins with, where that is a literal."""
    if isinstance(node, ast.JoinedStr):
        return _beginning(node.values[0]) if node.values else ""
    if isinstance(node, ast.BinOp):
        return _beginning(node.left)
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
        return _beginning(node.func.value)
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else ""


def test_no_sql_is_made_of_strings() -> None:
    found = [
        f"{path.relative_to(ROOT)}:{line}: {text}"
        for path in SOURCES
        for line, text in composed(ast.parse(path.read_text(encoding="utf-8")))
    ]
    assert found == []


def test_each_exception_is_still_one() -> None:
    nodes = [node for path in SOURCES for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))]
    arguments = {ast.unparse(node.args[0]) for node in nodes if isinstance(node, ast.Call) and node.args}
    assert (FRAGMENTS.keys() | STATEMENTS.keys()) <= arguments
    assert {ast.unparse(node) for node in nodes if isinstance(node, ast.JoinedStr)} >= SHOWN


@pytest.mark.parametrize(
    "source",
    [
        "SQL(name)",
        "sql.SQL(f'select {name}')",
        "sql.SQL('a' + name)",
        "cursor.execute(f'listen {name}')",
        "cursor.execute('select ' + name)",
        "cursor.execute('drop table %s' % name)",
        "cursor.execute('drop table {}'.format(name))",
        "statement = f'select from {name}'",
        "statement = 'drop table {}'.format(name)",
        "copy(f'copy {name} from stdin')",
    ],
)
def test_a_splice_is_found(source: str) -> None:
    assert list(composed(ast.parse(source)))


@pytest.mark.parametrize(
    "key",
    ["a", 'q"', "\\", '\\"', "$", '" ? (1 == 1)', "a.b", "*", "ключ", "😀", "\u2028", "'; drop table x", "%s", "\n"],
)
def test_the_path_of_a_filter_is_a_quoted_string_of_its_jsonpath(key: str) -> None:
    """The jsonpath is a parameter; in it a key is a JSON string, and a value is a variable."""
    path, variables = compile_filter(Comparison((key,), Operator.EQ, (key,)))
    quoted = json.dumps(key)
    assert path == f"strict $ ? ($.{quoted} == $v0)"
    assert json.loads(quoted) == key
    assert quoted.isascii()
    assert json.loads(variables) == {"v0": key}
