"""Slow statements are told from fast ones."""

from __future__ import annotations

from podroute_router.postgres.pace import SHORT_S, STATEMENTS_MAX, Pace


def test_a_statement_that_was_never_seen_is_not_short() -> None:
    assert not Pace().is_short("select 1")


def test_a_statement_is_short_as_long_as_it_takes_little_time() -> None:
    pace = Pace()
    pace.took("select 1", SHORT_S / 10)
    assert pace.is_short("select 1")
    for _ in range(50):
        pace.took("select 1", SHORT_S * 10)
    assert not pace.is_short("select 1")
    pace.took("select 1", SHORT_S / 10)
    assert pace.is_short("select 1")


def test_a_statement_that_held_others_up_is_not_short_until_it_is_seen_to_be() -> None:
    pace = Pace()
    pace.took("select 1", SHORT_S / 10)
    pace.stalled("select 1")
    assert not pace.is_short("select 1")
    pace.took("select 1", SHORT_S * 2)
    assert not pace.is_short("select 1")
    pace.took("select 1", SHORT_S / 10)
    assert pace.is_short("select 1")


def test_a_busy_spell_makes_no_slow_statement() -> None:
    pace = Pace()
    for seconds in (SHORT_S / 10, *[SHORT_S * 2] * 9, SHORT_S / 10, *[SHORT_S * 2] * 9):
        pace.took("select 1", seconds)
    assert pace.is_short("select 1")


def test_what_is_remembered_is_bounded() -> None:
    pace = Pace()
    for i in range(STATEMENTS_MAX + 10):
        pace.took(f"select {i}", 0.0)
    assert pace.is_short(f"select {STATEMENTS_MAX + 9}")
    assert not pace.is_short("select 0")
