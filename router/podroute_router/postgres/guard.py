"""Refuses statements for which the primary would fetch records to decide on, where the pod should decide."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from podroute_router.errors import FailedPrecondition
from podroute_router.postgres.connection import Connection
from podroute_router.postgres.explaining import generic_plan
from podroute_router.postgres.plans import findings

STATEMENTS_MAX: Final = 10_000
"""Statements that are remembered."""


class PushdownGuard:
    """Looks at the plan of each statement once, and again after `forget`.

    One that is refused is looked at again by its next call, so that it is served as soon as the cause is mended.

    Args:
        facts: names the database in errors (pod, path).
    """

    def __init__(self, facts: Mapping[str, object]) -> None:
        self._facts = facts
        self._passed: set[str] = set()

    async def check(self, connection: Connection, statement: str, parameter_count: int) -> None:
        """Raises FailedPrecondition where the pod does not do all of it. The connection has generic plans only."""
        if statement in self._passed:
            return
        began_with = self._passed
        plan = await generic_plan(connection, statement, parameter_count)
        refused = [finding.reason for finding in findings(plan) if finding.blocking]
        if refused:
            raise FailedPrecondition(
                "NOT_PUSHED_DOWN",
                "the primary would fetch records from the pod to do what the pod should; "
                "`podroute doctor` finds the cause, `podroute explain` shows the plan",
                facts={**self._facts, "findings": ",".join(refused)},
            )
        if len(began_with) >= STATEMENTS_MAX:
            began_with.clear()
        began_with.add(statement)  # after a `forget` meanwhile it is no longer the set that is asked

    def forget(self) -> None:
        """The statements may have other plans by now."""
        self._passed = set()
