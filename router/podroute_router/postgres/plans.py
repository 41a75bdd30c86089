"""What a plan says: the statements that postgres_fdw sends, and what is not done on the pod. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from podroute_router.domain import Finding

Plan = Mapping[str, Any]
"""A node of `explain (verbose, format json)`."""

_ON_THE_PRIMARY: Final = {
    "Sort": Finding(
        reason="ORDER_NOT_PUSHED_DOWN", message="the primary sorts what the pod sends: every record", blocking=True
    ),
    "Incremental Sort": Finding(
        reason="ORDER_NOT_PUSHED_DOWN", message="the primary sorts what the pod sends", blocking=True
    ),
    # By itself it is no harm: records in order are fetched a thousand at a time, as many as are taken.
    "Limit": Finding(
        reason="LIMIT_NOT_PUSHED_DOWN", message="the primary cuts to the limit, and fetches some records beyond it"
    ),
    "Aggregate": Finding(
        reason="AGGREGATE_NOT_PUSHED_DOWN", message="the primary counts what the pod sends", blocking=True
    ),
}
_ASIDE: Final = ("SubPlan", "InitPlan")
"""Computed for each match by itself, as the choice of metadata keys is: no part of the search."""


def remote_statements(plan: Plan) -> tuple[str, ...]:
    """The statements that go to other servers."""
    return tuple(node["Remote SQL"] for node in _nodes(plan) if "Remote SQL" in node)


def findings(plan: Plan) -> tuple[Finding, ...]:
    """What is done on the primary though the pod should, or else what reads every record of a table here."""
    nodes = list(_nodes(plan))
    if any(node["Node Type"] == "Foreign Scan" for node in nodes):
        found = [finding for node in nodes for finding in _of_foreign(node)]
    else:
        found = [finding for node in nodes for finding in _of_local(node)]
    return tuple(dict.fromkeys(found))


def _nodes(plan: Plan) -> Iterator[Plan]:
    yield plan
    for child in plan.get("Plans", ()):
        if child.get("Parent Relationship") not in _ASIDE:
            yield from _nodes(child)


def _of_foreign(node: Plan) -> Iterator[Finding]:
    kind = node["Node Type"]
    if kind in _ON_THE_PRIMARY:
        yield _ON_THE_PRIMARY[kind]
    elif kind == "ModifyTable":
        if not all(child.get("Operation") in ("Update", "Delete") for child in node.get("Plans", ())):
            message = "the primary reads the records and changes them one by one"
            yield Finding(reason="WRITE_NOT_PUSHED_DOWN", message=message, blocking=True)
    elif kind not in ("Foreign Scan", "Result"):
        message = f"the primary does a step of its own: {kind}"
        yield Finding(reason="STEP_NOT_PUSHED_DOWN", message=message, blocking=True)
    if "Filter" in node:
        message = f"the primary applies a condition to what the pod sends: {node['Filter']}"
        yield Finding(reason="FILTER_NOT_PUSHED_DOWN", message=message, blocking=True)


def _of_local(node: Plan) -> Iterator[Finding]:
    if node["Node Type"] == "Seq Scan":
        yield Finding(
            reason="SEQUENTIAL_SCAN",
            message=f"every record of {node.get('Relation Name', 'the table')} is read: no index serves this, or the "
            "planner takes the table for a small one",
        )
