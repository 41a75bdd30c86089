"""docs/errors.md lists the reasons that the source raises, each below the code that it travels with, and no other."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from podroute_router import errors
from podroute_router.api.status import code_of

ROOT = Path(__file__).resolve().parents[2]
SOURCES = [ROOT / "router" / "podroute_router", *sorted((ROOT / "plugins").glob("podroute_*"))]
CLASSES = {
    name: value
    for name, value in vars(errors).items()
    if isinstance(value, type) and issubclass(value, errors.PodrouteError)
}
REASON = re.compile(r"[A-Z][A-Z0-9]*(_[A-Z0-9]+)*")


def raised() -> dict[str, set[str]]:
    """The reasons of the source, each with the gRPC codes that it is raised with.

    A reason is the first argument of an error class, or of a function `_check_…` that hands it to InvalidArgument.
    """
    found: dict[str, set[str]] = {}
    for folder in SOURCES:
        for path in sorted(folder.rglob("*.py")):
            for kind, argument in _constructions(ast.parse(path.read_text(encoding="utf-8"))):
                where = f"{path.relative_to(ROOT)}:{argument.lineno}"
                if isinstance(argument, ast.Constant) and isinstance(argument.value, str):
                    assert REASON.fullmatch(argument.value), f"{where}: {argument.value!r} is no UPPER_SNAKE"
                    code = code_of(kind.__new__(kind)).name
                    found.setdefault(argument.value, set()).add(code)
                else:
                    handed_on = isinstance(argument, ast.Name) and argument.id == "reason"
                    assert handed_on, f"{where}: a reason must stand in the source as a literal"
    return found


def _constructions(tree: ast.Module) -> Iterator[tuple[type[errors.PodrouteError], ast.expr]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and node.args:
            name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            first = node.args[0]
            if name in CLASSES:
                yield CLASSES[name], first
            elif name.startswith("_check") and isinstance(first, ast.Constant) and REASON.fullmatch(str(first.value)):
                yield errors.InvalidArgument, first


def documented() -> dict[str, set[str]]:
    """The reasons of the document, each with the codes that it stands below."""
    found: dict[str, set[str]] = {}
    code = ""
    for line in (ROOT / "docs" / "errors.md").read_text(encoding="utf-8").splitlines():
        if line.startswith("## "):
            code = line.removeprefix("## ").strip()
        elif row := re.match(r"\| `([A-Z0-9_]+)` \|", line):
            found.setdefault(row[1], set()).add(code)
    return found


def test_the_scan_finds_reasons_in_every_part() -> None:
    found = raised()
    assert found["LIMIT"] == {"INVALID_ARGUMENT"}
    assert found["UNREACHABLE"] == {"UNAVAILABLE"}
    assert found["COLLECTION_NOT_FOUND"] == {"NOT_FOUND"}
    assert len(found) > 40


def test_every_reason_is_documented_below_its_code_and_no_other_is() -> None:
    assert documented() == raised()
