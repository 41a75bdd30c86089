"""The file of results: sections are put in one by one, and ratios are read from all that are in it."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.goals import RATIOS
from benchmarks.measuring import Figure
from benchmarks.section import Section

FORMAT = 1
NOT_RUN = "the section was not run"
UNEXPLAINED = "not measured; the section's notes may say why"


def load(path: Path, scale: str) -> dict[str, Any]:
    """What an earlier run of the same scale left; nothing where there is none."""
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    if document.get("format") != FORMAT or document.get("scale") != scale:
        return {}
    return dict(document["sections"])


def section_entry(section: Section, about: Mapping[str, Any]) -> dict[str, Any]:
    """A section as JSON.

    Args:
        section: what was measured.
        about: when, how long, and by which command and revision.
    """
    return {
        **about,
        "title": section.title,
        "parameters": dict(section.parameters),
        "ratios": {
            name: _finite(value.median if isinstance(value, Figure) else value)
            for name, value in section.ratios.items()
        },
        "ratio_spreads": {
            name: _finite(value.spread) for name, value in section.ratios.items() if isinstance(value, Figure)
        },
        "notes": list(section.notes),
        "tables": [
            {
                "title": table.title,
                "header": list(table.header),
                "rows": [list(row) for row in table.rows],
                "note": table.note,
            }
            for table in section.tables
        ],
        "plots": [],
        "rows": [dict(row) for row in section.rows],
    }


def failed_entry(title: str, error: BaseException, about: Mapping[str, Any]) -> dict[str, Any]:
    """A section that could not be measured."""
    return {**about, "title": title, "error": f"{type(error).__name__}: {error}"}


def document(
    sections: Mapping[str, Mapping[str, Any]], about: Mapping[str, Any], order: Sequence[str]
) -> dict[str, Any]:
    """All of latest.json.

    Args:
        sections: entries by name.
        about: the run that wrote last.
        order: of the sections.
    """
    ratios, reasons = gather_ratios(sections)
    return {
        "format": FORMAT,
        **about,
        "ratios": ratios,
        "ratio_spreads": {
            name: spread
            for section in sections.values()
            for name, spread in section.get("ratio_spreads", {}).items()
            if spread is not None
        },
        "ratio_meanings": {
            ratio.name: {"meaning": ratio.meaning, "section": ratio.section, "goal": ratio.shown_goal}
            for ratio in RATIOS
        },
        "ratios_not_measured": reasons,
        "sections": {name: sections[name] for name in order if name in sections},
    }


def gather_ratios(
    sections: Mapping[str, Mapping[str, Any]],
) -> tuple[dict[str, float | None], dict[str, str]]:
    """All ratios by name, flat, and for those that are null the reason."""
    ratios: dict[str, float | None] = {}
    reasons = {}
    for ratio in RATIOS:
        section = sections.get(ratio.section)
        value = _finite((section or {}).get("ratios", {}).get(ratio.name))
        ratios[ratio.name] = value
        if value is None:
            reasons[ratio.name] = NOT_RUN if section is None else _reason(section)
    for section in sections.values():
        for name, value in section.get("ratios", {}).items():
            ratios.setdefault(name, _finite(value))
    return ratios, reasons


def _reason(section: Mapping[str, Any]) -> str:
    if "error" in section:
        return f"the section failed: {section['error']}"
    return UNEXPLAINED


def _finite(value: float | None) -> float | None:
    return None if value is None or not math.isfinite(value) else round(float(value), 4)


def write(path: Path, document: Mapping[str, Any]) -> None:
    """Replaces the file, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".new")
    partial.write_text(json.dumps(document, indent=1, allow_nan=False) + "\n", encoding="utf-8")
    partial.rename(path)
