"""The plots' common look, and a figure that is drawn into a file. matplotlib is of the extra `bench`, so it is late."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

COLOURS = {
    "podroute DIRECT": "#1f5fbf",
    "podroute FDW": "#e07b1a",
    "bare psycopg": "#3b3b3b",
    "psycopg, PgBouncer": "#8e6bbd",
    "vecs": "#c23b3b",
    "pgbench": "#3f9b57",
    "empty handler": "#a9a9a9",
    "common FDW recipe": "#8a5a2b",
}
"""One for each case, in all plots."""

STYLE = {
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#e3e3e3",
    "grid.linewidth": 0.8,
    "legend.frameon": False,
    "lines.linewidth": 1.8,
    "lines.markersize": 5,
    "axes.titlesize": 11,
    "axes.titlelocation": "left",
}
DPI = 130


def colour(case: str) -> str:
    """Of a case, also where its name goes on after a comma; grey for others."""
    return COLOURS.get(case) or COLOURS.get(case.partition(",")[0], "#777777")


@contextmanager
def drawn(file: Path, *, columns: int = 1, width: float = 7.5, height: float = 4.2) -> Iterator[list[Any]]:
    """Axes side by side, in a figure that is written to the file at the end.

    Raises:
        ImportError: matplotlib is not installed.
    """
    import matplotlib as mpl  # noqa: PLC0415 (not in every environment)

    mpl.use("Agg")
    from matplotlib import pyplot  # noqa: PLC0415

    with mpl.rc_context(STYLE):
        figure, axes = pyplot.subplots(1, columns, figsize=(width, height), squeeze=False, layout="constrained")
        try:
            yield list(axes[0])
            figure.savefig(file, dpi=DPI)
        finally:
            pyplot.close(figure)


def shades(count: int) -> list[str]:
    """Blues from light to dark, for up to four lines of one case."""
    return ["#9cc3ee", "#4b8fd6", "#1f5fbf", "#0d2f66"][:count]
