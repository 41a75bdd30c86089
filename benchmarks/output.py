"""A run as a table for people and as JSON for programs."""

from __future__ import annotations

import os
import platform
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from benchmarks.measuring import Figure, Sample


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A case under a number of callers, over all rounds. None: not measured."""

    case: str
    callers: int
    requests_per_s: Figure
    cpu_us: Figure | None
    postgres_cpu_us: Figure | None
    load_cpu_us: Figure | None
    p50_ms: Figure
    p90_ms: Figure
    p99_ms: Figure


def summarize(samples: Iterable[Sample]) -> list[Row]:
    """A row for each case and number of callers, in the order of their first samples."""
    groups: dict[tuple[int, str], list[Sample]] = {}
    for sample in samples:
        groups.setdefault((sample.callers, sample.case), []).append(sample)
    return [
        Row(
            case=case,
            callers=callers,
            requests_per_s=Figure.of([sample.requests_per_s for sample in group]),
            cpu_us=_measured([sample.cpu_us for sample in group]),
            postgres_cpu_us=_measured([sample.postgres_cpu_us for sample in group]),
            load_cpu_us=_measured([sample.load_cpu_us for sample in group]),
            p50_ms=Figure.of([sample.p50_ms for sample in group]),
            p90_ms=Figure.of([sample.p90_ms for sample in group]),
            p99_ms=Figure.of([sample.p99_ms for sample in group]),
        )
        for (callers, case), group in groups.items()
    ]


def _measured(values: Sequence[float | None]) -> Figure | None:
    measured = [value for value in values if value is not None]
    return Figure.of(measured) if measured else None


def markdown(header: Sequence[str], rows: Sequence[Sequence[str]], *, text: Collection[int] = (0,)) -> str:
    """A Markdown table, readable as it stands.

    Args:
        header: the columns' names.
        rows: cells.
        text: columns that are text; the others are figures.
    """
    widths = [max(len(row[i]) for row in (header, *rows)) for i in range(len(header))]

    def line(cells: Sequence[str]) -> str:
        aligned = [
            cell.ljust(width) if i in text else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(cells, widths, strict=True))
        ]
        return f"| {' | '.join(aligned)} |"

    rule = [("-" * width if i in text else "-" * max(1, width - 1) + ":") for i, width in enumerate(widths)]
    return "\n".join([line(header), f"| {' | '.join(rule)} |", *map(line, rows)])


def shown(figure: Figure, digits: int) -> str:
    """The median, and its spread in percent where there is one."""
    spread = "" if figure.spread is None else f" ±{figure.spread:.0%}"
    return f"{figure.median:,.{digits}f}{spread}"


def machine() -> dict[str, Any]:
    """What the run ran on."""
    return {
        "system": f"{platform.system()} {platform.machine()}",
        "processor": _processor(),
        "processors": os.cpu_count(),
        "memory_gib": round(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30, 1),
        "load_average_at_start": os.getloadavg()[0],
    }


def versions() -> dict[str, str]:
    """The libraries on the way of a query, and those of its peers that are not on the same Python."""
    return {"Python": platform.python_version()} | {
        name: version(name) for name in ("podroute", "grpcio", "uvloop", "protobuf", "psycopg", "pgvector", "numpy")
    }


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
        key, _, value = line.partition(":")
        if key.strip() == "model name":
            return value.strip()
    return platform.processor()
