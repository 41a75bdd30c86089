"""A part of the benchmarks: what it measures at which scale, and what came of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum

from benchmarks.measuring import Figure


class Scale(Enum):
    """How much is measured."""

    FULL = "full"
    """What docs/performance.md shows; as long as it takes."""
    SMOKE = "smoke"
    """The main ratios from a small run: less than a minute, once everything is set up."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """Figures for people; the first column is text."""

    title: str
    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    note: str = ""
    """What a reader has to know to read it rightly."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """What a part of the benchmarks measured.

    A module of `benchmarks.sections` has `run(scale: Scale) -> Section`, and `plot(section: Section, folder: Path) ->
    list[Path]` where it draws something.
    """

    name: str
    """Its key in latest.json."""
    title: str
    parameters: Mapping[str, object]
    """Everything that one has to set to measure the same again."""
    rows: Sequence[Mapping[str, object]]
    """Every single measurement, raw."""
    tables: Sequence[Table]
    ratios: Mapping[str, Figure | float | None] = field(default_factory=dict)
    """Flat, by the names of latest.json; a figure where rounds have one each. None: not measured; `notes` say why."""
    notes: Sequence[str] = ()
