"""Calls wait for a login that is refused, and not for ever."""

from __future__ import annotations

import time

import pytest
from podroute_memory.backend import MemoryBackend
from podroute_router import logins
from podroute_router.domain import Collection, Deadline, Metric, Placement
from podroute_router.errors import PodrouteError, Unavailable
from podroute_router.filters import Filter
from podroute_router.logins import PAUSE_S, LoginsAwaited

PLACEMENT = Placement(pod="alpha", schema="vecs", table="docs", generation=1)
DOCS = Collection(name="docs", dimension=2, metric=Metric.L2, placement=PLACEMENT)


class Refusing(MemoryBackend):
    """Fails so many calls with a reason, and serves those after them."""

    def __init__(self, times: int, reason: str = logins.REFUSED) -> None:
        super().__init__()
        self.calls = 0
        self._times = times
        self._reason = reason

    async def count(self, collection: Collection, filter: Filter | None, deadline: Deadline) -> int:
        self.calls += 1
        if self.calls <= self._times:
            raise Unavailable(self._reason, "as asked")
        return 7


@pytest.fixture(autouse=True)
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logins, "PATIENCE_S", 4 * PAUSE_S)


async def test_a_call_is_made_again_until_the_login_is_taken() -> None:
    backend = Refusing(2)
    assert await LoginsAwaited(backend).count(DOCS, None, Deadline.after(10)) == 7
    assert backend.calls == 3


async def test_no_other_error_is_waited_for() -> None:
    backend = Refusing(1, "OUTCOME_UNKNOWN")
    with pytest.raises(Unavailable):
        await LoginsAwaited(backend).count(DOCS, None, Deadline.after(10))
    assert backend.calls == 1


async def test_a_call_gives_up_before_its_deadline() -> None:
    backend = Refusing(1000)
    began = time.monotonic()
    with pytest.raises(PodrouteError) as refused:
        await LoginsAwaited(backend).count(DOCS, None, Deadline.after(2 * PAUSE_S))
    assert refused.value.reason == logins.REFUSED
    assert time.monotonic() - began < 2 * PAUSE_S + 0.2


async def test_a_refusal_that_lasts_is_told_at_once_until_a_login_is_taken() -> None:
    backend = Refusing(1000)
    waiting = LoginsAwaited(backend)
    for _ in range(2):
        with pytest.raises(Unavailable):
            await waiting.count(DOCS, None, Deadline.after(10))
    assert backend.calls > 2
    before = backend.calls
    with pytest.raises(Unavailable):
        await waiting.count(DOCS, None, Deadline.after(10))
    assert backend.calls == before + 1
    backend.calls = 1000
    assert await waiting.count(DOCS, None, Deadline.after(10)) == 7
    backend.calls = 999
    assert await waiting.count(DOCS, None, Deadline.after(10)) == 7, "it is patient again"
