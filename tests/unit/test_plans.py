"""What is read out of a plan: statements for other servers, and what is not done there."""

from __future__ import annotations

from typing import Any

import pytest
from podroute_router.postgres.plans import findings, remote_statements

SCAN = {"Node Type": "Foreign Scan", "Remote SQL": "SELECT 1"}


def over(kind: str, *plans: dict[str, Any], **facts: object) -> dict[str, Any]:
    return {"Node Type": kind, "Plans": list(plans), **facts}


def reasons(plan: dict[str, Any]) -> list[str]:
    return [finding.reason for finding in findings(plan)]


def test_one_remote_statement_has_no_findings() -> None:
    assert findings(SCAN) == ()
    assert findings(over("Result", SCAN)) == ()
    assert remote_statements(over("Result", SCAN)) == ("SELECT 1",)


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        ("Sort", "ORDER_NOT_PUSHED_DOWN"),
        ("Incremental Sort", "ORDER_NOT_PUSHED_DOWN"),
        ("Aggregate", "AGGREGATE_NOT_PUSHED_DOWN"),
        ("Nested Loop", "STEP_NOT_PUSHED_DOWN"),
    ],
)
def test_what_the_primary_does_itself_is_found(kind: str, reason: str) -> None:
    [finding] = findings(over(kind, SCAN))
    assert finding.reason == reason
    assert finding.blocking


def test_a_limit_on_the_primary_alone_is_a_note() -> None:
    """Of what comes in order no more is fetched than is taken."""
    [finding] = findings(over("Limit", SCAN))
    assert (finding.reason, finding.blocking) == ("LIMIT_NOT_PUSHED_DOWN", False)


def test_each_step_is_found() -> None:
    plan = over("Limit", over("Sort", SCAN | {"Filter": "(n > 1)"}))
    assert reasons(plan) == ["LIMIT_NOT_PUSHED_DOWN", "ORDER_NOT_PUSHED_DOWN", "FILTER_NOT_PUSHED_DOWN"]


def test_a_write_is_pushed_down_only_where_the_pod_does_it_whole() -> None:
    assert findings(over("ModifyTable", SCAN | {"Operation": "Delete"}, Operation="Delete")) == ()
    one_by_one = over("ModifyTable", SCAN | {"Operation": "Select"}, Operation="Delete", **{"Remote SQL": "DELETE 1"})
    assert reasons(one_by_one) == ["WRITE_NOT_PUSHED_DOWN"]
    assert remote_statements(one_by_one) == ("DELETE 1", "SELECT 1")


def test_what_is_computed_of_each_match_is_no_part_of_the_search() -> None:
    keys = over("Aggregate", {"Node Type": "Function Scan"}, **{"Parent Relationship": "SubPlan"})
    assert findings(SCAN | {"Plans": [keys]}) == ()


def test_a_table_here_is_read_by_an_index_or_with_a_note() -> None:
    assert findings(over("Limit", {"Node Type": "Index Scan"})) == ()
    [finding] = findings(over("Limit", over("Sort", {"Node Type": "Seq Scan", "Relation Name": "docs"})))
    assert finding.reason == "SEQUENTIAL_SCAN"
    assert not finding.blocking
    assert "docs" in finding.message
