"""The oracle itself: what a read may have seen while writes went on, and what it may not."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from .ledger import Fault, Key, Ledger, State, Version

KEY: Key = ("docs", "a")
OLD, NEW = Version(1), Version(2)

Step = Callable[[Ledger], None]


def begun(state: State) -> Step:
    return lambda ledger: ledger.begin({KEY: state})


def stored(state: State) -> Step:
    def step(ledger: Ledger) -> None:
        ledger.begin({KEY: state})
        ledger.acknowledge({KEY: state})

    return step


def unknown(state: State) -> Step:
    def step(ledger: Ledger) -> None:
        ledger.begin({KEY: state})
        ledger.lose({KEY: state})

    return step


def refused(state: State) -> Step:
    def step(ledger: Ledger) -> None:
        ledger.begin({KEY: state})
        ledger.refuse({KEY: state})

    return step


@pytest.mark.parametrize(
    ("before", "meanwhile", "seen", "fault"),
    [
        ([stored(OLD)], [], OLD, None),
        ([stored(OLD)], [stored(NEW)], OLD, None),
        ([stored(OLD)], [stored(NEW)], NEW, None),
        ([stored(OLD), stored(NEW)], [], OLD, Fault.LOST),
        ([stored(OLD), stored(NEW)], [], None, Fault.LOST),
        ([stored(OLD), begun(NEW)], [], NEW, None),
        ([stored(OLD), unknown(NEW)], [], OLD, None),
        ([stored(OLD), unknown(NEW)], [], NEW, None),
        ([stored(OLD), refused(NEW)], [], NEW, Fault.PHANTOM),
        ([stored(OLD), stored(None)], [], OLD, Fault.PHANTOM),
        ([stored(OLD)], [stored(None)], OLD, None),
        ([], [], OLD, Fault.PHANTOM),
        ([], [stored(OLD), stored(NEW)], OLD, None),
        ([], [stored(OLD), stored(NEW)], None, None),
        ([], [stored(OLD)], NEW, Fault.PHANTOM),
    ],
)
def test_a_read_is_judged_by_what_may_have_been_true_since_it_began(
    before: list[Step], meanwhile: list[Step], seen: State, fault: Fault | None
) -> None:
    ledger = Ledger()
    for step in before:
        step(ledger)
    marks = ledger.mark(ledger.keys(KEY[0]))
    for step in meanwhile:
        step(ledger)
    ledger.judge(KEY, seen, "query", marks)
    assert [finding.fault for finding in ledger.findings] == ([fault] if fault else [])
