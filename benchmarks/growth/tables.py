"""What was measured of growth, as tables for people."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar

from benchmarks.growth.figures import Change, Creation, InTurn, Queries, Readied, Start
from benchmarks.measuring import Figure
from benchmarks.output import shown
from benchmarks.section import Table

S = TypeVar("S")
K = TypeVar("K")

FEW = 10
"""Collections of the smallest catalog; so many are asked of each."""

QUERY_COLUMNS: tuple[tuple[Callable[[Queries], float], int], ...] = (
    (lambda one: one.p50_ms, 2),
    (lambda one: one.p99_ms, 2),
    (lambda one: one.router_cpu_us or 0.0, 0),
    (lambda one: one.postgres_cpu_us or 0.0, 0),
)


def tables_of(
    *,
    queries: Sequence[Queries],
    in_turn: Sequence[InTurn],
    changes: Sequence[Change],
    creations: Sequence[Creation],
    starts: Sequence[Start],
    readied: Sequence[Readied],
) -> list[Table]:
    """A table for each kind of figure; of creations and the FDW path only where they were measured."""
    tables = [
        Table(
            title="A query",
            header=("collections", "asked in turn", "p50 ms", "p99 ms", "router CPU µs", "PostgreSQL CPU µs"),
            rows=[
                (f"{size:,}", f"{asked:,}", *_cells(group, *QUERY_COLUMNS))
                for (size, asked), group in _groups(
                    sorted(queries, key=lambda one: (one.collections, one.asked)),
                    lambda one: (one.collections, one.asked),
                )
            ],
            note="One caller, closed loop, case after case. Collections are asked in an order of no pattern; each was "
            "asked before.",
        ),
        Table(
            title="A query, a call of each case in turn",
            header=("collections", "asked in turn", "p50 ms", f"÷ {FEW} of {FEW}"),
            rows=[
                (
                    f"{case[0]:,}",
                    f"{case[1]:,}",
                    *_cells(group, (lambda one: one.p50_ms, 2)),
                    shown(ratio(in_turn, case), 2),
                )
                for case, group in _groups(in_turn, lambda one: (one.collections, one.asked))
            ],
            note="What else the machine did met all cases alike: these are the ratios. A connection that rests "
            "between two calls is a little slower than one that does not.",
        ),
        Table(
            title="A change of the shard map",
            header=(
                *("collections", "reached two routers after, ms", "loop late, ms", "loop busy, ms"),
                *("late without a change, ms", "busy without a change, ms"),
            ),
            rows=[
                (
                    f"{size:,}",
                    *_cells(
                        group,
                        (lambda one: one.reached_ms, 1),
                        (lambda one: one.late_ms, 1),
                        (lambda one: one.busy_ms, 1),
                        (lambda one: one.calm_late_ms, 1),
                        (lambda one: one.calm_busy_ms, 1),
                    ),
                )
                for size, group in _groups(changes, lambda one: one.collections)
            ],
            note="Late: what a call may have waited. Busy: the most CPU time of the event loop at a stretch, which "
            "tells the router's own part from a busy machine's.",
        ),
    ]
    if starts:
        tables.append(
            Table(
                title="A start",
                header=("collections", "shard map from", "first query answered after, s", "CPU time, s"),
                rows=[
                    (f"{size:,}", source, *_cells(group, (lambda one: one.seconds, 2), (lambda one: one.cpu_s, 2)))
                    for (size, source), group in _groups(starts, lambda one: (one.collections, one.source))
                ],
                note="From the start of the process, so with Python and all imports.",
            )
        )
    if creations:
        tables.append(
            Table(
                title="CreateCollection and DeleteCollection",
                header=("collections", "create ms", "delete ms"),
                rows=[
                    (f"{size:,}", *_cells(group, (lambda one: one.create_ms, 0), (lambda one: one.delete_ms, 0)))
                    for size, group in _groups(creations, lambda one: one.collections)
                ],
                note="With the FDW path, so two foreign tables on the primary each.",
            )
        )
    if readied:
        tables.append(
            Table(
                title="The FDW path made from nothing",
                header=("collections", "s", "foreign tables", "KiB on the primary a collection"),
                rows=[
                    (
                        f"{one.collections:,}",
                        f"{one.seconds:.1f}",
                        f"{one.foreign_tables:,}",
                        f"{one.bytes_a_collection / 1024:.1f}" if one.bytes_a_collection else "-",
                    )
                    for one in readied
                ],
            )
        )
    return tables


def ratio(in_turn: Sequence[InTurn], case: tuple[int, int]) -> Figure:
    """Of the p50 of a case, by its collections and how many of them are asked, to that of few; within rounds."""
    few = {one.round: one.p50_ms for one in in_turn if (one.collections, one.asked) == (FEW, FEW)}
    return Figure.of([one.p50_ms / few[one.round] for one in in_turn if (one.collections, one.asked) == case])


def _groups(samples: Iterable[S], key: Callable[[S], K]) -> list[tuple[K, list[S]]]:
    groups: dict[K, list[S]] = {}
    for sample in samples:
        groups.setdefault(key(sample), []).append(sample)
    return list(groups.items())


def _cells(group: Sequence[S], *columns: tuple[Callable[[S], float], int]) -> list[str]:
    return [shown(Figure.of([value(sample) for sample in group]), digits) for value, digits in columns]
