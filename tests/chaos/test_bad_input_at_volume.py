"""Whatever the bytes: the router lives, tells what is wrong, tells it alike on both paths, and tells nothing else."""

from __future__ import annotations

import asyncio
import math
import time
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack
from itertools import chain
from random import Random

import grpc
import podroute
import pytest
import pytest_asyncio
from grpc_health.v1 import health_pb2, health_pb2_grpc
from hypothesis import HealthCheck, given, seed, settings, strategies
from pod_sessions import ask
from podroute.v1 import record_pb2, vector_service_pb2
from podroute_router.embedded import Cluster
from servers import router_values

from .bad_input import (
    METHODS,
    METHODS_OF,
    PATHS,
    Answer,
    Caller,
    Case,
    Cases,
    are_alike,
    collections,
    complaints,
    smallest,
)
from .odd_messages import DIMENSION, IDS
from .report import Report, Result
from .routers import RouterProcess, router_process
from .scale import Scale

CHANNELS = 4
READERS = 12
SHARES = {"read": 0.68, "write": 0.24, "control": 0.08}
ROUND = 5000
"""Most cases between two looks at the router."""
MOST_SHOWN = 10

READ, CONTROL = "fuzz_read", "fuzz_control"
TWINS = [(f"fuzz_twin{i}d", f"fuzz_twin{i}f") for i in range(2)]
"""Collections that get the same writes, one over DIRECT and one over FDW."""
ALL_TWINS = frozenset(chain(*TWINS))
RECORDS = [(record_id, [float(i % 3), 1.0, -float(i % 5)], {"a": i % 4, "b": "a"}) for i, record_id in enumerate(IDS)]


class Found:
    """How calls ended, and what was wrong, with the cases that show it."""

    def __init__(self) -> None:
        self.cases = 0
        self.codes: Counter[str] = Counter()
        self.complaints = 0
        self.shown: list[str] = []

    def add(self, case: Case, problems: Sequence[str]) -> None:
        self.complaints += 1
        if len(self.shown) < MOST_SHOWN:
            self.shown.append("\n".join([*problems, str(case)]))


class Target:
    """The router under test, with a client and many channels to it."""

    def __init__(self, process: RouterProcess, client: podroute.AsyncClient, caller: Caller) -> None:
        self.client = client
        self.caller = caller
        self._process = process

    async def assert_well(self) -> None:
        """It lives, says so, and answers a good call."""
        assert self._process.running.process.poll() is None, self._process.running.err
        async with grpc.aio.insecure_channel(self._process.address) as channel:
            health = await health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=10)
        assert health.status == health_pb2.HealthCheckResponse.SERVING
        for path in ("direct", "fdw"):
            assert (await self.client.count(READ, path=path)).count == len(RECORDS)


@pytest_asyncio.fixture(scope="module")
async def target(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Target]:
    """In the end there are the collections that were there before, and no other."""
    options = [("grpc.use_local_subchannel_pool", 1), ("grpc.enable_retries", 0)]
    with router_process(router_values(cluster), tmp_path_factory.mktemp("fuzzed")) as router:
        async with AsyncExitStack() as stack:
            client = await stack.enter_async_context(podroute.AsyncClient(router.address))
            opened = [grpc.aio.insecure_channel(router.address, options) for _ in range(CHANNELS)]
            channels = [await stack.enter_async_context(channel) for channel in opened]
            before = {each.name async for each in client.list_collections()}
            for name in (READ, CONTROL, *chain(*TWINS)):
                await client.create_collection(name, dimension=DIMENSION, pod="alpha")
            await client.upsert(READ, RECORDS)
            yield Target(router, client, Caller(channels))
            for each in await client.list_exposures():
                await client.unexpose_collection(each.collection, schema=each.view_schema, view=each.view_name)
            async for left in client.list_collections():
                if left.name not in before:
                    await client.delete_collection(left.name)


class Fuzzer:
    """Draws requests that touch one kind of thing, sends them one after the other, and looks at the answers.

    Args:
        caller: sends them.
        kind: see `METHODS_OF`.
        names: of the collection that requests have on each of the paths.
        seed: of what is drawn.
    """

    def __init__(self, caller: Caller, kind: str, names: Sequence[str], seed: int) -> None:
        self._caller = caller
        self._kind = kind
        self._names = names
        self._random = Random(seed)
        self._cases = Cases(self._random, names)

    def _draw(self) -> Case:
        return self._cases.draw(METHODS_OF[self._kind], raw=self._random.random() < 0.5)

    async def run(self, count: int, found: Found) -> None:
        for _ in range(count):
            case = self._draw()
            while self._kind == "write" and not are_twins(case, self._names):
                case = self._draw()
            answers = await self._caller.answers(case)
            found.cases += 1
            found.codes.update(answer.code.name for answer in answers)
            if problems := complaints(case, answers):
                is_repeatable = self._kind == "read" and found.complaints < MOST_SHOWN
                found.add(await smallest(case, self._caller) if is_repeatable else case, problems)


def are_twins(case: Case, pair: Sequence[str]) -> bool:
    """True where both of the pair get the same and no other twin gets anything: a mutation may change the name, too."""
    named = collections(case)
    return are_alike(case) and (tuple(named) == tuple(pair) or ALL_TWINS.isdisjoint(named))


@pytest.mark.timeout(900)
async def test_whatever_is_sent_the_router_lives_and_tells_alike_on_both_paths(
    target: Target, cluster: Cluster, report: Report, scale: Scale
) -> None:
    """Of each method's messages half are odd but whole, and half had their bytes changed.

    Controls: the oracle, below; a router that raises ValueError for vectors of another length gave 8 INTERNAL in the
    quick run; one that loses the sign of -0 on its way over FDW made different records.
    """
    total = int(scale.pick(300, 100_000))
    found = Found()
    kinds = [*[("read", (READ, READ))] * READERS, *(("write", pair) for pair in TWINS), ("control", (CONTROL, CONTROL))]
    fuzzers = [Fuzzer(target.caller, *kind, scale.seed + i) for i, kind in enumerate(kinds)]
    shares = [SHARES[kind] / Counter(name for name, _ in kinds)[kind] for kind, _ in kinds]
    began, done = time.monotonic(), 0
    while done < total:
        size = min(total - done, ROUND)
        await asyncio.gather(
            *(each.run(math.ceil(size * share), found) for each, share in zip(fuzzers, shares, strict=True))
        )
        done += size
        await target.assert_well()
    seconds = time.monotonic() - began
    differing = [pair for pair in TWINS if contents(cluster, pair[0]) != contents(cluster, pair[1])]
    report.add(
        Result(
            promise="Bad input crashes nothing, is never UNKNOWN or INTERNAL, leaks nothing; both paths tell the same",
            load=f"{found.cases:,} requests of every method, half of them with changed bytes, in {seconds:.0f} s",
            faults="odd, mutated and random bytes",
            figure=f"{found.complaints} complaints, {found.codes['OK']:,} of {found.codes.total():,} answers OK",
            bound="0 complaints",
            held=not found.complaints and not differing,
        )
    )
    assert not found.complaints, f"seed {scale.seed}, {dict(found.codes)}\n\n" + "\n\n".join(found.shown)
    assert not differing, f"seed {scale.seed}: the same writes over both paths made different records"
    assert {"OK", "INVALID_ARGUMENT", "NOT_FOUND"} <= found.codes.keys(), "all of it was of one kind"


async def test_hypothesis_finds_no_request_that_is_answered_wrongly(
    target: Target, report: Report, scale: Scale
) -> None:
    """The same draws, made by hypothesis, which shows the smallest case that fails. Control: as above."""
    loop = asyncio.get_running_loop()
    examples = int(scale.pick(25, 2_000))

    @seed(scale.seed)
    @settings(max_examples=examples, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(random=strategies.randoms(use_true_random=False), kind=strategies.sampled_from(["read", "control"]))
    def look(random: Random, kind: str) -> None:
        name = READ if kind == "read" else CONTROL
        case = Cases(random, (name, name)).draw(METHODS_OF[kind], raw=random.random() < 0.2)
        answers = asyncio.run_coroutine_threadsafe(target.caller.answers(case), loop).result(60)
        assert complaints(case, answers) == [], str(case)

    failure = None
    try:
        await asyncio.to_thread(look)
    except AssertionError as error:
        failure = error
    report.add(
        Result(
            promise="Hypothesis finds no request that is answered wrongly",
            load=f"{examples:,} examples over both paths",
            faults="odd and mutated messages, shrunk where one fails",
            figure="found one" if failure else "found none",
            bound="none",
            held=failure is None,
        )
    )
    if failure is not None:
        raise failure
    await target.assert_well()


def test_the_oracle_tells_each_fault() -> None:
    method = next(method for method in METHODS if method.name == "Query")
    cases = Cases(Random(1), (READ, READ))
    case = cases.draw([method], raw=False)
    refused = Answer(grpc.StatusCode.INVALID_ARGUMENT, "LIMIT", "limit: is 0, must be 1 to 1000", [])
    assert complaints(case, [refused, refused]) == []
    for wrong in (
        refused._replace(code=grpc.StatusCode.UNKNOWN),
        refused._replace(code=grpc.StatusCode.INTERNAL),
        refused._replace(code=grpc.StatusCode.UNAVAILABLE),
        refused._replace(reason=""),
        refused._replace(reason="UNDECODABLE"),
        refused._replace(told='relation "vecs.docs" does not exist'),
        refused._replace(told="DETAIL:  Key (id)=(a) already exists."),
        refused._replace(told="connection to server at 127.0.0.1, port 5432 failed"),
        refused._replace(told="select id from podroute_fdw.docs"),
    ):
        assert complaints(case, [wrong, wrong]), wrong
    assert complaints(case, [refused, refused._replace(reason="METRIC")])
    assert complaints(case, [Answer(grpc.StatusCode.OK, "", "", [match]) for match in (one_match("a"), one_match("b"))])


def test_the_same_write_reaches_both_twins_or_none() -> None:
    method = next(method for method in METHODS if method.name == "Delete")
    (first, second), (other, _) = TWINS

    def written(*names: str) -> Case:
        messages = [
            vector_service_pb2.DeleteRequest(collection=name, ids=vector_service_pb2.IdList(ids=["a"]), path=path)
            for name, path in zip(names, PATHS, strict=True)
        ]
        return Case(method=method, payloads=[message.SerializeToString() for message in messages])

    assert are_twins(written(first, second), TWINS[0])
    assert are_twins(written("nowhere", "nowhere"), TWINS[0])
    for names in ((second, second), (first, first), (second, first), (other, other)):
        assert not are_twins(written(*names), TWINS[0]), names


def one_match(record_id: str) -> vector_service_pb2.QueryResponse:
    return vector_service_pb2.QueryResponse(matches=[record_pb2.Match(id=record_id)])


def contents(cluster: Cluster, collection: str) -> list[object]:
    """All of a collection, bit by bit: floats and jsonb have one text each."""
    return ask(cluster, f'select id, vec::text, metadata::text from vecs.{collection} order by id collate "C"')
