"""How commands print: tables for people, JSON for programs."""

from __future__ import annotations

import json
from collections.abc import Container, Iterable, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click
from rich import box
from rich.console import Console
from rich.table import Table

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

_WIDTH_ELSEWHERE = 200
"""Columns where the output is no terminal; enough for the longest names, so that no line is broken."""

json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


def console(width_elsewhere: int = _WIDTH_ELSEWHERE) -> Console:
    """Prints to stdout; `width_elsewhere` columns wide where that is no terminal."""
    found = Console(markup=False, emoji=False, highlight=False)
    if not found.is_terminal:
        found.width = width_elsewhere
    return found


def table(columns: Iterable[str], rows: Iterable[Sequence[object]], *, wrapped: Container[str] = ()) -> Table:
    """A table; columns of numbers are right-aligned, those named in `wrapped` are broken where there is no room."""
    cells = [list(row) for row in rows]
    made = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False, padding=(0, 1, 0, 0))
    for number, name in enumerate(columns):
        is_numeric = bool(cells) and all(type(row[number]) in (int, float) for row in cells)
        made.add_column(name, justify="right" if is_numeric else "left", no_wrap=name not in wrapped, overflow="fold")
    for row in cells:
        made.add_row(*map(str, row))
    return made


def print_json(value: DataclassInstance | Sequence[DataclassInstance]) -> None:
    """Prints values as JSON, with the names that the Python client has."""
    shown: Any = [asdict(each) for each in value] if isinstance(value, Sequence) else asdict(value)
    click.echo(json.dumps(shown, indent=2, ensure_ascii=False))
