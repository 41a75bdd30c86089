"""What the router adds to a query: requests/s and CPU time beside an empty RPC and bare psycopg, in one run.

    python -m benchmarks.overhead [--records N] [--dimension N] [--seconds S] [--rounds N] [--json FILE]

Prints a table. There are no thresholds in it: read the ratios.
"""

from __future__ import annotations

import argparse
import json
import signal
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from benchmarks import output, ratios
from benchmarks.children import ChildFailed
from benchmarks.data import make_dataset
from benchmarks.measuring import Figure, Sample, measure
from benchmarks.output import Row, markdown, shown
from benchmarks.stage import BARE, FLOOR, Stage, open_stage

LIMIT = 10
EF_SEARCH = 40
"""The pod's default, which no case changes."""
CALLERS = (1, 8)
QUERIES = 400
WARM_UP_S = 0.3


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the benchmark; returns the exit code."""
    options = _parse(arguments)
    if not Path("/proc/self/stat").exists():
        print("benchmarks.overhead reads CPU times from /proc, which only Linux has", file=sys.stderr)
        return 2
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # unwinds, so that everything is stopped
    try:
        _run(options)
    except ChildFailed as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 128 + signal.SIGINT
    return 0


def _run(options: argparse.Namespace) -> None:
    started = time.monotonic()
    about = {
        "benchmark": "overhead",
        "machine": output.machine(),
        "parameters": {
            **{name: getattr(options, name) for name in ("records", "dimension", "seconds", "rounds")},
            "limit": LIMIT,
            "ef_search": EF_SEARCH,
            "metric": "cosine",
            "queries": QUERIES,
            "callers": list(CALLERS),
            "warm_up_s": WARM_UP_S,
        },
    }
    _tell(f"{options.records:,} records of dimension {options.dimension}: filling the pod, building its index …")
    dataset = make_dataset(
        records=options.records, dimension=options.dimension, queries=QUERIES, neighbours=min(LIMIT, options.records)
    )
    with open_stage(dataset, limit=LIMIT, callers=max(CALLERS)) as stage:
        _tell(f"ready after {time.monotonic() - started:.0f} s")
        about["versions"] = output.versions() | stage.versions
        recall = {case.name: dataset.recall(case.callers.answers()) for case in stage.cases if case.name != FLOOR}
        samples = _measure(stage, seconds=options.seconds, rounds=options.rounds)
    rows = output.summarize(samples)
    print(f"\n{_ratio_table(samples, recall)}\n\n{_figure_table(rows)}\n")
    others = Figure.of([sample.others_cpu for sample in samples])
    _tell(f"other processes took {others.median:.0%} of the machine's CPU time (median of {len(samples)} measurements)")
    _tell(f"the whole run took {time.monotonic() - started:.0f} s")
    if options.json is not None:
        document = output.document(
            about=about, recall=recall, rows=rows, ratios=ratios.all_ratios(samples), samples=samples
        )
        options.json.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")


def _measure(stage: Stage, *, seconds: float, rounds: int) -> list[Sample]:
    """All cases in turn, round after round; each round begins with another case, as neighbours in time are alike."""
    samples = []
    for number in range(rounds):
        for callers in CALLERS:
            turn = number % len(stage.cases)
            for case in stage.cases[turn:] + stage.cases[:turn]:
                sample = measure(
                    case,
                    callers=callers,
                    round=number,
                    warm_up_s=WARM_UP_S,
                    seconds=seconds,
                    postgres=stage.postgres,
                )
                samples.append(sample)
        _tell(f"round {number + 1} of {rounds}")
    return sorted(samples, key=lambda sample: (sample.callers, [case.name for case in stage.cases].index(sample.case)))


def _ratio_table(samples: Sequence[Sample], recall: Mapping[str, float]) -> str:
    header = (
        "ratios",
        "callers",
        "CPU ÷ empty",
        "requests/s ÷ psycopg",
        "p50 ÷ psycopg",
        "p50 - psycopg, ms",
        f"recall@{LIMIT}",
    )
    return markdown(
        header,
        [
            (
                case,
                str(callers),
                _ratio(ratios.over(samples, ratios.cpu, case, FLOOR, callers)),
                _ratio(ratios.over(samples, ratios.throughput, case, BARE, callers)),
                _ratio(ratios.over(samples, ratios.p50, case, BARE, callers)),
                f"{ratios.added(samples, ratios.p50, case, BARE, callers).median:+.2f}",
                f"{recall[case]:.3f}" if case in recall else "-",
            )
            for callers, case in dict.fromkeys((sample.callers, sample.case) for sample in samples)
        ],
    )


def _ratio(figure: Figure) -> str:
    return shown(figure, 2)


def _figure_table(rows: Sequence[Row]) -> str:
    header = ("figures", "callers", "requests/s", "CPU µs", "PostgreSQL CPU µs", "p50 ms", "p99 ms")
    return markdown(
        header,
        [
            (
                row.case,
                str(row.callers),
                shown(row.requests_per_s, 0),
                shown(row.cpu_us, 0),
                shown(row.postgres_cpu_us, 0) if row.case != FLOOR else "-",
                shown(row.p50_ms, 2),
                shown(row.p99_ms, 2),
            )
            for row in rows
        ],
    )


def _tell(text: str) -> None:
    """Progress; the tables alone go to stdout."""
    print(text, file=sys.stderr, flush=True)


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.overhead", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--records", type=int, default=20_000, help="records in the collection (default: 20000)")
    parser.add_argument("--dimension", type=int, default=384, help="components of a vector (default: 384)")
    parser.add_argument("--seconds", type=float, default=1.25, help="length of each measurement (default: 1.25)")
    parser.add_argument("--rounds", type=int, default=3, help="measurements of each case (default: 3)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write everything as JSON")
    options = parser.parse_args(arguments)
    for name, least, most in (
        ("records", LIMIT, 5_000_000),
        ("dimension", 1, 2000),
        ("seconds", 0.2, 600),
        ("rounds", 1, 100),
    ):
        if not least <= getattr(options, name) <= most:
            parser.error(f"--{name} must be {least} to {most}")
    return options


if __name__ == "__main__":
    sys.exit(main())
