"""latest.md: everything that latest.json has, for people."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks.goals import RATIOS
from benchmarks.output import markdown
from benchmarks.section import Scale


def goals_table(document: Mapping[str, Any]) -> str:
    """Goals and results side by side; ratios without a goal come after them."""
    ratios: Mapping[str, float | None] = document["ratios"]
    rows = []
    for ratio in sorted(RATIOS, key=lambda ratio: ratio.goal is None):
        result = ratios.get(ratio.name)
        # Goals are those of the full scale; a smaller run only shows which way things go.
        spread = document["ratio_spreads"].get(ratio.name)
        verdict = ratio.verdict(result, spread) if document["scale"] == Scale.FULL.value else ""
        shown = _number(result) + ("" if spread is None else f" ±{spread:.0%}")
        rows.append((f"`{ratio.name}`", ratio.shown_goal, shown, verdict, ratio.meaning))
    return markdown(("ratio", "goal", "result", "", "what it is"), rows, text=(0, 3, 4))


def run_line(document: Mapping[str, Any]) -> str:
    """When, of what and on what."""
    machine = document["machine"]
    versions = ", ".join(f"{name} {version}" for name, version in document["versions"].items())
    processors = f"{machine['processor']}, {machine['processors']} processors, {machine['memory_gib']} GiB"
    return (
        f"{document['date']}, revision {document['revision']}, `{document['command']}`\n\n"
        f"{processors}, {machine['system']}; {versions}"
    )


def report(document: Mapping[str, Any]) -> str:
    """The whole file."""
    lines = [
        "# Results",
        "",
        run_line(document),
        "",
        "## Goals and results",
        "",
        goals_table(document),
        "",
        "A result is the median of the rounds; ± is half the distance between the least and the greatest of them.",
        "",
        "PostgreSQL's servers, the router and all callers share this machine's processors; the servers run with fsync "
        "off. A measurement during which other programs took a tenth of the machine was taken again.",
    ]
    revisions = {section["revision"] for section in document["sections"].values()}
    if len(revisions) > 1:
        lines += ["", f"The sections are of several runs, at {len(revisions)} revisions; each says which."]
    if document["ratios_not_measured"]:
        lines += ["", "Not measured:", ""]
        lines += [f"- `{name}`: {reason}" for name, reason in document["ratios_not_measured"].items()]
    for name, section in document["sections"].items():
        lines += ["", f"## {section['title']}", "", *section_lines(name, section)]
    return "\n".join(lines) + "\n"


def section_lines(name: str, section: Mapping[str, Any], *, plots: str = "", level: int = 3) -> list[str]:
    """A section without its title.

    Args:
        name: its key.
        section: its entry.
        plots: where the folder of the plots is, seen from the page.
        level: of the tables' headings.
    """
    lines = [f"Section `{name}`, {section['measured_at']}, {section['took_s']:g} s, revision {section['revision']}."]
    if "error" in section:
        return [*lines, "", f"**Failed**: {section['error']}"]
    if "plots_error" in section:
        lines += ["", f"Its plots could not be drawn: {section['plots_error']}"]
    lines += ["", "Parameters: " + "; ".join(_parameter(key, value) for key, value in section["parameters"].items())]
    lines += [line for note in (*section["notes"], *_others(section["rows"])) for line in ("", note)]
    for table in section["tables"]:
        lines += ["", f"{'#' * level} {table['title']}", "", markdown(table["header"], table["rows"])]
        if table["note"]:
            lines += ["", table["note"]]
    lines += [line for plot in section["plots"] for line in ("", f"![{plot}]({plots}{plot})")]
    return lines


def _others(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """How far the figures are those of a machine of our own."""
    shares = [row["others_cpu"] for row in rows if row.get("others_cpu") is not None]
    if not shares:
        return []
    return [
        f"Other programs took {statistics.median(shares):.0%} of the machine's CPU time (median of {len(shares)} "
        f"measurements, at most {max(shares):.0%})."
    ]


def _parameter(key: str, value: object) -> str:
    if isinstance(value, Mapping):
        inner = ", ".join(f"{name} {_plain(part)}" for name, part in value.items())
        return f"{key.replace('_', ' ')} ({inner})"
    if isinstance(value, list | tuple):
        return f"{key.replace('_', ' ')} {', '.join(map(_plain, value))}"
    return f"{key.replace('_', ' ')} {_plain(value)}"


def _plain(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:,}" if isinstance(value, int) else f"{value:g}" if isinstance(value, float) else str(value)


def _number(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.2f}"
