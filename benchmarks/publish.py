"""Puts the results of a run into docs/performance.md, between its marks: `python -m benchmarks.publish [FOLDER]`."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks import report
from benchmarks.__main__ import FOLDERS
from benchmarks.children import ROOT
from benchmarks.section import Scale

PAGE = ROOT / "docs" / "performance.md"
PLOTS = "../benchmarks/results/"
"""Where the page finds them."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Writes the page."""
    arguments = sys.argv[1:] if arguments is None else arguments
    folder = Path(arguments[0]) if arguments else FOLDERS[Scale.FULL]
    document = json.loads((folder / "latest.json").read_text(encoding="utf-8"))
    PAGE.write_text(published(PAGE.read_text(encoding="utf-8"), document), encoding="utf-8")
    return 0


def published(page: str, document: Mapping[str, Any]) -> str:
    """The page with the results of a run.

    Args:
        page: has a pair of marks for each part: `<!-- run -->` and `<!-- /run -->`, `goals`, `sections`.
        document: latest.json.

    Raises:
        ValueError: a pair of marks is not there.
    """
    sections = "\n\n".join(
        f"### {section['title']}\n\n" + "\n".join(report.section_lines(name, section, plots=PLOTS, level=4))
        for name, section in document["sections"].items()
    )
    parts = {"run": report.run_line(document), "goals": report.goals_table(document), "sections": sections}
    for name, text in parts.items():
        start, end = f"<!-- {name} -->\n", f"<!-- /{name} -->"
        if page.count(start) != 1 or page.count(end) != 1:
            raise ValueError(f"the page has to have {start.strip()} and {end} once each")
        before, rest = page.split(start)
        page = f"{before}{start}\n{text}\n\n{end}{rest.partition(end)[2]}"
    return page


if __name__ == "__main__":
    sys.exit(main())
