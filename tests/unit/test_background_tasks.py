"""The tasks beside the calls outlive any fault, and tell of it once."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager

import pytest
from podroute_memory.backend import MemoryBackend
from podroute_router import breaker as breaking
from podroute_router import following
from podroute_router import prober as probing
from podroute_router.breaker import Breaker
from podroute_router.collections import PodState
from podroute_router.domain import AccessPath, Deadline
from podroute_router.errors import NobodyListens, Unreachable
from podroute_router.following import Action, Following
from podroute_router.prober import Prober
from podroute_router.shard_map import ShardMap

FAULTS = [ValueError("nobody foresaw this"), Unreachable("UNREACHABLE", "the database cannot be reached")]


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(5):
        while not condition():
            await asyncio.sleep(0.002)


class Failing:
    """An action that fails while there are faults left."""

    def __init__(self, *faults: Exception) -> None:
        self.faults = list(faults)
        self.done: list[int] = []

    async def __call__(self, shard_map: ShardMap, deadline: Deadline) -> None:
        if self.faults:
            raise self.faults.pop(0)
        self.done.append(shard_map.revision)


@asynccontextmanager
async def acting(**actions: Action) -> AsyncIterator[Following]:
    tried = Following(actions)
    tried.start()
    yield tried
    await tried.close()


@pytest.fixture(autouse=True)
def _short_pauses(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(following, "FIRST_PAUSE_S", 0.005)
    monkeypatch.setattr(breaking, "TRIAL_INTERVAL_S", 0.005)
    return


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: type(fault).__name__)
async def test_an_action_that_fails_is_tried_again_and_told_of_once_an_outage(
    fault: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    action = Failing(fault, fault, fault)
    async with acting(readying=action) as tried:
        tried.notice(ShardMap(1))
        await until(lambda: action.done == [1])
        action.faults = [fault, fault]
        tried.notice(ShardMap(2))
        await until(lambda: action.done == [1, 2])
    told = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert [line[: line.index(",")] for line in told] == [
        "readying failed for revision 1",
        "readying failed for revision 2",
    ]


async def test_one_action_that_fails_does_not_keep_the_other_waiting() -> None:
    broken, other = Failing(*[ValueError()] * 1000), Failing()
    async with acting(broken=broken, other=other) as tried:
        tried.notice(ShardMap(1))
        await until(lambda: other.done)
        tried.notice(ShardMap(2))
        await until(lambda: 2 in other.done)


class FailingProbe(MemoryBackend):
    """A store whose probe fails while there is a fault."""

    fault: Exception | None = None

    async def probe(self, pod: str, deadline: Deadline) -> None:
        if self.fault is not None:
            raise self.fault


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: type(fault).__name__)
async def test_a_probe_that_fails_in_any_way_is_made_again(fault: Exception, caplog: pytest.LogCaptureFixture) -> None:
    told: list[PodState] = []

    async def listen(pod: str, state: PodState) -> None:
        told.append(state)

    store = FailingProbe()
    breakers = {(AccessPath.DIRECT, "docs"): Breaker()}
    prober = Prober({AccessPath.DIRECT: store}, breakers, interval_s=0.005, on_change=listen)
    prober.start()
    await until(lambda: told == [PodState.SERVING])
    store.fault = fault
    await until(lambda: len(told) == 2)
    await asyncio.sleep(0.05)  # some probes more
    store.fault = None
    await until(lambda: len(told) == 3)
    await prober.close()
    assert told == [PodState.SERVING, PodState.UNREACHABLE, PodState.SERVING]
    assert caplog.text.count("pod docs does not answer") == 1


async def test_calls_share_trials_of_a_port_that_refuses_and_these_are_at_a_bounded_rate(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(breaking, "TRIAL_INTERVAL_S", 60.0)  # those that nobody asks for

    class Refusing(MemoryBackend):
        refuses = True
        probes = 0

        async def probe(self, pod: str, deadline: Deadline) -> None:
            self.probes += 1
            if self.refuses:
                raise NobodyListens("UNREACHABLE", "the database cannot be reached")

    async def listen(pod: str, state: PodState) -> None:
        """Of no interest."""

    store, breaker = Refusing(), Breaker(on_demand=True)
    for _ in range(breaking.NOT_REACHED_MAX):
        refusal = NobodyListens("UNREACHABLE", "the database cannot be reached")
        breaker.call_failed(refusal, Deadline(1.0), began=0.0, now=0.0)
    prober = Prober(
        {AccessPath.DIRECT: store}, {(AccessPath.DIRECT, "docs"): breaker}, interval_s=60.0, on_change=listen
    )
    prober.start()
    await until(lambda: breaker.is_open and store.probes)
    before, began = store.probes, time.monotonic()
    for _ in range(5):  # each time many calls
        await asyncio.gather(*(prober.trial(AccessPath.DIRECT, "docs", 5.0) for _ in range(100)))
    took_s = time.monotonic() - began
    assert store.probes - before == 5
    assert took_s > 4 * breaking.ON_DEMAND_S
    await asyncio.sleep(3 * breaking.ON_DEMAND_S)
    assert store.probes - before == 5, "nobody asks"
    store.refuses = False
    began = time.monotonic()
    await prober.trial(AccessPath.DIRECT, "docs", 5.0)
    assert not breaker.is_open
    assert time.monotonic() - began < 1
    await prober.close()


async def test_a_router_that_stood_still_blames_no_pod(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probing, "PROBE_S", 0.02)

    class Stalled(MemoryBackend):
        probes = 0

        async def probe(self, pod: str, deadline: Deadline) -> None:
            self.probes += 1
            time.sleep(0.02 + 2 * probing.LATE_S)  # noqa: ASYNC251 - the whole loop stands still
            await asyncio.sleep(1)

    async def listen(pod: str, state: PodState) -> None:
        pytest.fail(f"pod {pod} was told to be {state}")

    store, breaker = Stalled(), Breaker()
    prober = Prober(
        {AccessPath.DIRECT: store}, {(AccessPath.DIRECT, "docs"): breaker}, interval_s=0.005, on_change=listen
    )
    prober.start()
    await until(lambda: store.probes > 3)
    await prober.close()
    assert breaker.opened_count == 0
