"""Calls of a pod that is down fail at once and send nothing; the others tell its breaker how they end."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

import pytest
from podroute_memory.backend import MemoryBackend
from podroute_router.backend import PreparedQuery
from podroute_router.breaker import NOT_REACHED_MAX, SILENT_MAX, Breaker
from podroute_router.domain import AccessPath, Collection, Deadline, Match, Metric, Placement, PlainQuery
from podroute_router.errors import DeadlineExceeded, NobodyListens, PodrouteError, ResourceExhausted, Unreachable
from podroute_router.fail_fast import TRIAL_WAIT_S, FailFast
from podroute_router.filters import Filter
from podroute_router.wrappers import DeadlineKept

QUERY = PlainQuery(limit=1, metric=Metric.L2, include_metadata=False)


def collection(pod: str = "alpha") -> Collection:
    return Collection(
        name="docs", dimension=1, metric=Metric.L2, placement=Placement(pod=pod, schema="vecs", table="docs")
    )


class Scripted(MemoryBackend):
    """A backend that does what it is told, and counts."""

    def __init__(self) -> None:
        super().__init__()
        self.called = 0
        self.error: PodrouteError | None = None
        self.takes_s = 0.0
        self.matches: list[Match] | None = []

    async def count(self, collection: Collection, filter: Filter | None, deadline: Deadline) -> int:
        await self._serve()
        return 7

    def prepare_query(self, collection: Collection, query: PlainQuery) -> PreparedQuery | None:
        return self

    async def run(self, vector: bytes, deadline: Deadline) -> list[Match] | None:
        await self._serve()
        return self.matches

    async def _serve(self) -> None:
        self.called += 1
        if self.takes_s:
            await asyncio.sleep(self.takes_s)
        if self.error is not None:
            raise self.error


class Setup:
    def __init__(self) -> None:
        self.backend = Scripted()
        self.breaker = Breaker(on_demand=True)
        self.trials: list[float] = []
        self.on_trial: Callable[[], None] = lambda: None
        self.looked: list[str] = []
        self.wrapped = FailFast(
            DeadlineKept(self.backend),
            AccessPath.DIRECT,
            {"alpha": self.breaker},
            look=self.looked.append,
            trial=self.trial,
        )
        prepared = self.wrapped.prepare_query(collection(), QUERY)
        assert prepared is not None
        self.prepared = prepared

    async def trial(self, pod: str, patience_s: float) -> None:
        assert pod == "alpha"
        self.trials.append(patience_s)
        await asyncio.sleep(0)
        self.on_trial()

    async def call(self, kind: str, deadline_s: float = 5.0) -> object:
        deadline = Deadline.after(deadline_s)
        if kind == "prepared":
            return await self.prepared.run(b"", deadline)
        return await self.wrapped.count(collection(), None, deadline)


@pytest.fixture
def setup() -> Setup:
    return Setup()


@pytest.fixture(params=["ordinary", "prepared"])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


async def test_calls_that_are_not_reached_open_it_and_later_ones_send_nothing(setup: Setup, kind: str) -> None:
    setup.backend.error = Unreachable("UNREACHABLE", "the database cannot be reached")
    for _ in range(NOT_REACHED_MAX):
        with pytest.raises(Unreachable, match="cannot be reached"):
            await setup.call(kind)
    assert setup.looked == ["alpha"], "the trial begins without a caller"
    began = time.perf_counter()
    with pytest.raises(Unreachable) as down:
        await setup.call(kind)
    assert time.perf_counter() - began < 0.05
    assert down.value.reason == "POD_DOWN"
    assert setup.backend.called == NOT_REACHED_MAX
    assert setup.trials == [], "only a port that refuses is asked for a call"


def refuse(setup: Setup) -> None:
    """The pod's port refuses connections, and that is known."""
    for _ in range(2):
        setup.breaker.probe_began()
        setup.breaker.probe_failed(NobodyListens("UNREACHABLE", "the database cannot be reached"), 0.0)
    assert setup.breaker.is_open


async def test_a_call_waits_for_a_trial_where_the_port_refuses_and_goes_on_where_it_is_answered(
    setup: Setup, kind: str
) -> None:
    refuse(setup)
    with pytest.raises(Unreachable) as down:
        await setup.call(kind)
    assert (down.value.reason, setup.backend.called) == ("POD_DOWN", 0)
    setup.on_trial = setup.breaker.answered
    await setup.call(kind)
    assert setup.backend.called == 1
    await setup.call(kind)
    assert setup.trials == [TRIAL_WAIT_S, TRIAL_WAIT_S], "a call of a pod that answers asks for none"


async def test_a_call_waits_for_a_trial_for_half_of_its_time_at_most(setup: Setup, kind: str) -> None:
    refuse(setup)
    with pytest.raises(Unreachable):
        await setup.call(kind, deadline_s=0.1)
    assert setup.trials[0] <= 0.05


async def test_where_too_many_wait_a_call_fails_as_one_of_a_pod_that_is_down(setup: Setup, kind: str) -> None:
    def busy() -> None:
        raise ResourceExhausted("POD_BUSY", "too many calls")

    refuse(setup)
    setup.on_trial = busy
    with pytest.raises(Unreachable) as down:
        await setup.call(kind)
    assert down.value.reason == "POD_DOWN"


async def test_timeouts_have_the_pod_looked_at_and_an_answer_ends_that(setup: Setup, kind: str) -> None:
    setup.backend.error = DeadlineExceeded("DEADLINE_EXCEEDED", "the call's deadline passed")
    for _ in range(SILENT_MAX):
        assert setup.looked == []
        with pytest.raises(DeadlineExceeded):
            await setup.call(kind)
    assert setup.looked == ["alpha"]
    setup.backend.error = None
    await setup.call(kind)
    assert not any((setup.breaker.is_doubted, setup.breaker.wants_probe))


async def test_the_deadline_kept_by_the_wrapper_inside_is_seen(setup: Setup) -> None:
    setup.backend.takes_s = 5.0
    calls = [setup.call("ordinary", 0.3) for _ in range(SILENT_MAX)]
    ended = await asyncio.gather(*calls, return_exceptions=True)
    assert {type(error) for error in ended} == {DeadlineExceeded}
    assert setup.looked[:1] == ["alpha"]


async def test_a_millisecond_of_one_caller_opens_nothing_for_others(setup: Setup) -> None:
    setup.backend.takes_s = 5.0
    calls = [setup.call("ordinary", 0.001) for _ in range(200)]
    await asyncio.gather(*calls, return_exceptions=True)
    setup.backend.takes_s = 0.0
    assert not any((setup.looked, setup.breaker.is_doubted))
    assert await setup.call("ordinary") == 7


async def test_a_prepared_query_that_is_left_to_the_ordinary_way_says_nothing(setup: Setup) -> None:
    setup.backend.matches = None
    setup.breaker.probe_began()
    assert await setup.call("prepared") is None
    assert setup.breaker.is_doubted


async def test_a_pod_without_a_breaker_is_always_called(setup: Setup) -> None:
    setup.backend.error = Unreachable("UNREACHABLE", "the database cannot be reached")
    for _ in range(2 * NOT_REACHED_MAX):
        with pytest.raises(Unreachable, match="cannot be reached"):
            await setup.wrapped.count(collection("beta"), None, Deadline.after(5))
