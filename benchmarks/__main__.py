"""All benchmarks, or some of them: `python -m benchmarks [--scale full|smoke] [--only query,ingest] [--out FOLDER]`.

Writes latest.json (everything, raw, with a flat object `ratios`), latest.md and plots into the folder. No figure fails
a run; a section that cannot be measured makes the exit code 1, and the others stand.
"""

from __future__ import annotations

import argparse
import os
import shlex
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib import import_module
from pathlib import Path
from typing import Any

from benchmarks import output, report, results
from benchmarks.children import ROOT
from benchmarks.progress import tell
from benchmarks.section import Scale, Section

SECTIONS = (
    "query",
    "pace",
    "load",
    "recall",
    "filtered",
    "metadata_index",
    "size",
    "workers",
    "ingest",
    "growth",
    "memory",
)
SMOKE = ("query", "ingest", "growth")
"""What a smoke run has: all that the main ratios need."""
FOLDERS = {Scale.FULL: ROOT / "benchmarks" / "results", Scale.SMOKE: ROOT / "build" / "bench-smoke"}


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the sections one after the other; returns the exit code."""
    arguments = sys.argv[1:] if arguments is None else arguments
    options = _parse(arguments)
    if sys.platform != "linux":
        tell("the benchmarks read CPU times from /proc, which only Linux has")
        return 2
    if options.vectors is not None:
        os.environ["PODROUTE_BENCH_VECTORS"] = str(options.vectors.resolve())
    if options.largest is not None:
        os.environ["PODROUTE_BENCH_LARGEST"] = str(options.largest)
    try:
        return _run(options, _shown(arguments))
    except KeyboardInterrupt:
        return 128 + signal.SIGINT


def _run(options: argparse.Namespace, command: str) -> int:
    scale: Scale = options.scale
    folder: Path = options.out or FOLDERS[scale]
    file = folder / "latest.json"
    entries = results.load(file, scale.value) if options.only else {}
    about = {
        "date": _now(),
        "scale": scale.value,
        "command": command,
        "revision": _revision(),
        "machine": output.machine(),
        "versions": output.versions(),
    }
    started, failed = time.monotonic(), []
    for name in options.only or (SECTIONS if scale is Scale.FULL else SMOKE):
        tell(f"== {name}")
        began, at = time.monotonic(), _now()
        entry = _measure(name, scale, folder)
        took_s = round(time.monotonic() - began, 1)
        entry = {"measured_at": at, "took_s": took_s, "command": command, "revision": about["revision"], **entry}
        if "error" in entry or "plots_error" in entry:
            failed.append(name)
        entries[name] = entry
        # After each section, so that one that is broken off leaves those before it.
        document = results.document(entries, about, SECTIONS)
        results.write(file, document)
        (folder / "latest.md").write_text(report.report(document), encoding="utf-8")
        tell(f"== {name} took {took_s:.0f} s")
    print(report.goals_table(document))
    print(f"\n{_path(file)}\n{_path(folder / 'latest.md')}")
    tell(f"all took {time.monotonic() - started:.0f} s" + (f"; failed: {', '.join(failed)}" if failed else ""))
    return 1 if failed else 0


def _measure(name: str, scale: Scale, folder: Path) -> dict[str, Any]:
    """A section's entry, with its plots drawn."""
    try:
        module = import_module(f"benchmarks.sections.{name}")
        section: Section = module.run(scale)
    except Exception as error:  # noqa: BLE001 (the other sections stand)
        traceback.print_exc()
        return results.failed_entry(name, error, {})
    entry = results.section_entry(section, {})
    if not hasattr(module, "plot"):
        return entry
    plots = folder / "plots"
    plots.mkdir(parents=True, exist_ok=True)
    try:
        drawn: list[Path] = module.plot(section, plots)
    except ImportError as error:
        tell(f"no plots: {error} (the extra `bench` has it)")
        return entry
    except Exception as error:  # noqa: BLE001 (the figures stand)
        traceback.print_exc()
        return {**entry, "plots_error": f"{type(error).__name__}: {error}"}
    return {**entry, "plots": [f"plots/{path.name}" for path in drawn]}


def _parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--scale", type=Scale, default=Scale.FULL, metavar="full|smoke", help="default: full")
    parser.add_argument(
        "--only",
        type=_sections,
        metavar="SECTIONS",
        help=f"some of {','.join(SECTIONS)}; the results of the others are kept",
    )
    parser.add_argument("--out", type=Path, metavar="FOLDER", help="where the results go")
    parser.add_argument(
        "--vectors",
        type=Path,
        metavar="FILE",
        help="real vectors for the section recall: .npz with base, queries, neighbors by Euclidean distance "
        "(default: PODROUTE_BENCH_VECTORS)",
    )
    parser.add_argument("--largest", type=int, metavar="N", help="most records of a collection in the section size")
    return parser.parse_args(arguments)


def _sections(text: str) -> list[str]:
    names = text.split(",")
    if unknown := [name for name in names if name not in SECTIONS]:
        raise argparse.ArgumentTypeError(f"no section is called {', '.join(unknown)}; there are {', '.join(SECTIONS)}")
    return [name for name in SECTIONS if name in names]


def _shown(arguments: Sequence[str]) -> str:
    """The command without folders of this machine."""
    words = [Path(word).name if os.sep in word and not word.startswith("-") else word for word in arguments]
    words = [word.rpartition("=")[0] + "=" + Path(word).name if os.sep in word else word for word in words]
    return shlex.join(["python", "-m", "benchmarks", *words])


def _path(path: Path) -> Path:
    return path.resolve().relative_to(Path.cwd()) if path.resolve().is_relative_to(Path.cwd()) else path


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def _revision() -> str:
    """Of git, and whether files differ from it."""
    try:
        revision = _git("rev-parse", "--short=12", "HEAD")
        code = ("--", ".", ":!benchmarks/results")
        return revision + ("+changes" if _git("status", "--porcelain", "--untracked-files=no", *code) else "")
    except (OSError, subprocess.SubprocessError):
        return "unknown"


def _git(*arguments: str) -> str:
    return subprocess.run(
        ["git", *arguments], cwd=ROOT, capture_output=True, text=True, timeout=10, check=True
    ).stdout.strip()


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # unwinds, so that everything is stopped
    sys.exit(main())
