"""A breaker opens when the pod does not answer, never for a caller's own haste, and closes with the first answer."""

from __future__ import annotations

import asyncio

import pytest
from podroute_router.breaker import (
    FAIR_S,
    NOT_REACHED_MAX,
    ON_DEMAND_S,
    PROBES_MAX,
    SILENT_MAX,
    TRIAL_INTERVAL_S,
    Breaker,
    BreakerState,
    pod_down,
)
from podroute_router.domain import AccessPath, Deadline
from podroute_router.errors import (
    DeadlineExceeded,
    NobodyListens,
    PodrouteError,
    ResourceExhausted,
    Unavailable,
    Unreachable,
    deadline_passed,
)

CLOSED, OPEN, HALF_OPEN = BreakerState.CLOSED, BreakerState.OPEN, BreakerState.HALF_OPEN
GIVEN_S = 2 * FAIR_S

NOT_REACHED = Unreachable("UNREACHABLE", "the database cannot be reached")
REFUSED = NobodyListens("UNREACHABLE", "the database cannot be reached")
NOT_FROM_PRIMARY = Unavailable("POD_UNREACHABLE_FROM_PRIMARY", "the primary cannot reach the pod")
TIMED_OUT = deadline_passed()
CONNECT_TIMED_OUT = Unreachable("UNREACHABLE", "the database cannot be reached")
CONNECT_TIMED_OUT.__cause__ = TimeoutError()
SAY_NOTHING = [
    Unreachable("SESSION_REFUSED", "the database refuses the session"),
    Unavailable("OUTCOME_UNKNOWN", "the connection was lost"),
    Unavailable("TABLE_MISSING", "the collection has no table"),
    ResourceExhausted("POD_BUSY", "too many calls"),
    DeadlineExceeded("STATEMENT_TIMEOUT", "the database ended the statement"),
]


def fail(breaker: Breaker, error: BaseException, times: int, *, given_s: float = GIVEN_S, took_s: float = 0.0) -> None:
    """Calls with that much time end with the error after so long; a timeout takes all of it."""
    for _ in range(times):
        breaker.call_failed(error, Deadline(given_s), began=0.0, now=took_s)


def fail_probe(breaker: Breaker, now: float = 0.0, error: Exception = NOT_REACHED) -> None:
    breaker.probe_began()
    breaker.probe_failed(error, now)


@pytest.fixture
def breaker() -> Breaker:
    return Breaker()


@pytest.mark.parametrize("error", [NOT_REACHED, NOT_FROM_PRIMARY], ids=lambda error: error.reason)
def test_calls_that_do_not_reach_the_pod_open_it(breaker: Breaker, error: PodrouteError) -> None:
    fail(breaker, error, NOT_REACHED_MAX - 1)
    assert breaker.state is CLOSED
    fail(breaker, error, 1)
    assert (breaker.state, breaker.is_open, breaker.opened_count) == (OPEN, True, 1)
    fail(breaker, error, NOT_REACHED_MAX)  # those that were under way
    assert breaker.opened_count == 1


def test_an_answer_in_between_starts_the_count_anew(breaker: Breaker) -> None:
    for _ in range(3):
        fail(breaker, NOT_REACHED, NOT_REACHED_MAX - 1)
        fail(breaker, TIMED_OUT, SILENT_MAX - 1)
        assert breaker.is_doubted
        breaker.answered()
    assert not any((breaker.is_open, breaker.is_doubted, breaker.wants_probe))


@pytest.mark.parametrize("error", [TIMED_OUT, CONNECT_TIMED_OUT, asyncio.CancelledError()], ids=repr)
def test_calls_that_time_out_have_the_pod_probed_and_the_probe_decides(breaker: Breaker, error: BaseException) -> None:
    fail(breaker, error, SILENT_MAX - 1, took_s=GIVEN_S)
    assert not breaker.wants_probe
    fail(breaker, error, 50, took_s=GIVEN_S)
    assert breaker.wants_probe
    assert not breaker.is_open, "a slow statement is no dead pod"
    fail_probe(breaker)
    assert breaker.is_open


def test_an_answered_probe_takes_back_what_timeouts_said(breaker: Breaker) -> None:
    fail(breaker, TIMED_OUT, SILENT_MAX)
    breaker.probe_began()
    breaker.answered()
    fail_probe(breaker)
    assert not breaker.is_open


@pytest.mark.parametrize("error", [TIMED_OUT, CONNECT_TIMED_OUT, NOT_REACHED, asyncio.CancelledError()], ids=repr)
def test_a_callers_short_deadline_is_no_trouble_of_others(breaker: Breaker, error: BaseException) -> None:
    fail(breaker, error, 1000, given_s=0.001, took_s=0.001)
    assert not any((breaker.is_doubted, breaker.wants_probe, breaker.is_open))


def test_a_call_that_its_caller_gave_up_says_nothing(breaker: Breaker) -> None:
    fail(breaker, asyncio.CancelledError(), 1000, given_s=10.0, took_s=1.0)
    assert not any((breaker.is_doubted, breaker.wants_probe))


@pytest.mark.parametrize("error", SAY_NOTHING, ids=lambda error: error.reason)
def test_other_errors_say_nothing(breaker: Breaker, error: PodrouteError) -> None:
    fail(breaker, error, 1000)
    assert not any((breaker.is_doubted, breaker.wants_probe))


def test_probes_alone_open_it_and_one_failure_does_not(breaker: Breaker) -> None:
    fail_probe(breaker)
    assert (breaker.state, breaker.wants_probe) == (CLOSED, True)
    for _ in range(PROBES_MAX - 1):
        fail_probe(breaker)
    assert breaker.is_open


def test_a_call_that_was_answered_during_a_probe_counts_more_than_the_probe(breaker: Breaker) -> None:
    fail_probe(breaker)
    for _ in range(10):
        breaker.probe_began()
        breaker.answered()
        breaker.probe_failed(TIMED_OUT, 0.0)
    assert not breaker.is_open


def test_trials_are_made_at_a_bounded_rate_however_long_the_pod_is_away(breaker: Breaker) -> None:
    fail(breaker, NOT_REACHED, NOT_REACHED_MAX)
    now = 0.0
    assert breaker.trial_in_s(now) == 0.0
    for _ in range(1000):
        breaker.probe_began()
        assert (breaker.state, breaker.is_open) == (HALF_OPEN, True)
        now += 1.0
        breaker.probe_failed(NOT_REACHED, now)
        assert (breaker.state, breaker.trial_in_s(now)) == (OPEN, TRIAL_INTERVAL_S)
        now += TRIAL_INTERVAL_S
        assert breaker.trial_in_s(now) == 0.0
    breaker.probe_began()
    breaker.answered()
    assert (breaker.state, breaker.is_open, breaker.opened_count) == (CLOSED, False, 1)


def test_it_opens_again_as_it_did_at_first(breaker: Breaker) -> None:
    for count in range(1, 4):
        fail(breaker, NOT_REACHED, NOT_REACHED_MAX - 1)
        assert not breaker.is_open
        fail(breaker, NOT_REACHED, 1)
        assert breaker.opened_count == count
        breaker.answered()


def test_what_callers_are_told_says_that_nothing_was_sent_and_what_the_last_failure_was(breaker: Breaker) -> None:
    fail(breaker, NOT_FROM_PRIMARY, NOT_REACHED_MAX)
    error = pod_down("docs", AccessPath.FDW, breaker)
    assert isinstance(error, Unreachable)
    assert (error.reason, error.retry_after_s) == ("POD_DOWN", TRIAL_INTERVAL_S)
    assert error.facts == {"pod": "docs", "path": "fdw", "last_reason": "POD_UNREACHABLE_FROM_PRIMARY"}


def test_a_call_may_ask_for_a_trial_soon_where_the_port_refuses_and_nowhere_else() -> None:
    breaker = Breaker(on_demand=True)
    fail(breaker, REFUSED, NOT_REACHED_MAX)
    assert (breaker.is_open, breaker.is_refused) == (True, True)
    fail_probe(breaker, 0.0, error=REFUSED)
    assert breaker.trial_in_s(0.0, on_demand=True) == ON_DEMAND_S
    assert breaker.trial_in_s(0.0) == TRIAL_INTERVAL_S, "without a call it is asked as often as ever"
    error = pod_down("docs", AccessPath.DIRECT, breaker)
    assert (error.reason, error.retry_after_s) == ("POD_DOWN", ON_DEMAND_S)
    assert "refuses connections" in error.message


@pytest.mark.parametrize("error", [NOT_REACHED, CONNECT_TIMED_OUT, TIMED_OUT, *SAY_NOTHING, ValueError()], ids=repr)
def test_after_any_other_failure_the_next_trial_is_as_far_as_ever(error: Exception) -> None:
    breaker = Breaker(on_demand=True)
    fail(breaker, REFUSED, NOT_REACHED_MAX)
    fail_probe(breaker, 1.0, error=error)
    assert (breaker.is_open, breaker.is_refused) == (True, False)
    assert breaker.trial_in_s(1.0, on_demand=True) == TRIAL_INTERVAL_S
    assert pod_down("docs", AccessPath.DIRECT, breaker).retry_after_s == TRIAL_INTERVAL_S


def test_where_calls_may_not_ask_a_refusal_is_as_any_other_failure(breaker: Breaker) -> None:
    fail(breaker, REFUSED, NOT_REACHED_MAX)
    fail_probe(breaker, 1.0, error=REFUSED)
    assert (breaker.is_open, breaker.is_refused) == (True, False)
    assert breaker.trial_in_s(1.0, on_demand=True) == TRIAL_INTERVAL_S
