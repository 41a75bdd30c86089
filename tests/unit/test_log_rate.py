"""Calls that fail by the thousand leave some lines in the log, and their number."""

from __future__ import annotations

import json
import logging
from io import StringIO
from typing import Literal

import pytest
from podroute_router.api import call_log
from podroute_router.api.call_log import CallLog
from podroute_router.api.log_rate import MOST, LogRate
from podroute_router.errors import NotFound, Unavailable
from podroute_router.logs import configure_logs

CALLS = 1000


class Clock:
    """Stands still unless it is set."""

    now = 100.0

    def __call__(self) -> float:
        return self.now


def test_of_each_kind_some_are_let_through_in_a_second() -> None:
    clock = Clock()
    rate = LogRate(clock)
    shown = [rate.not_shown("one") for _ in range(CALLS)]
    assert shown == [0] * MOST + [None] * (CALLS - MOST)
    assert rate.not_shown("other") == 0
    clock.now += 1.0
    assert rate.not_shown("one") == CALLS - MOST
    assert rate.not_shown("one") == 0
    clock.now += 1.0
    assert rate.not_shown("one") == 0


@pytest.mark.parametrize(("level", "lines"), [("info", MOST + 2), ("debug", CALLS + 2)])
def test_a_storm_of_errors_is_a_few_lines_of_the_log(
    level: Literal["info", "debug"], lines: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock, out, root = Clock(), StringIO(), logging.getLogger()
    monkeypatch.setattr(call_log, "_rate", LogRate(clock))
    before = root.handlers[:], root.level
    try:
        configure_logs(level, "json", out)
        error = Unavailable("POD_DOWN", "it does not answer")
        for _ in range(CALLS):
            CallLog("VectorService/Query").failed(error, error)
        other = NotFound("COLLECTION_NOT_FOUND", "there is none")
        CallLog("VectorService/Query").failed(other, other)
        clock.now += 1.0
        CallLog("VectorService/Query").failed(error, error)
    finally:
        root.handlers[:], level_before = before
        root.setLevel(level_before)
    told = [json.loads(line) for line in out.getvalue().splitlines()]
    assert len(told) == lines
    assert {line["reason"] for line in told} == {"POD_DOWN", "COLLECTION_NOT_FOUND"}
    assert told[-1].get("not_shown", 0) == (CALLS - MOST if level == "info" else 0)
