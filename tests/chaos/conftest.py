"""The scale and the report of a run; and a router with a short default deadline, called without one: so it is the
router that keeps it, not the client.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from typing import NamedTuple

import grpc
import podroute
import pytest
import pytest_asyncio
from google.rpc import error_details_pb2
from grpc_status import rpc_status
from podroute.v1 import route_pb2, vector_service_pb2, vector_service_pb2_grpc
from podroute_command import LISTENERS
from podroute_router.config import make_config
from podroute_router.embedded import Cluster
from podroute_router.server import Router
from servers import BEFORE_STOP, router_values

from .report import Report
from .scale import Scale
from .secret_scan import SecretScan

DEADLINE_S = 0.6
GRACE_S = 0.1
"""How late an answer may be, beside a bare timer: a busy machine is late with everything."""
WORST_S = 0.5
"""How late it may be on any machine."""
CALLS_PER_POD = 20

DIMENSION = 4
DIRECT = route_pb2.ACCESS_PATH_DIRECT
FDW = route_pb2.ACCESS_PATH_FDW
AUTO = route_pb2.ACCESS_PATH_UNSPECIFIED


_REPORT = pytest.StashKey[Report]()


def pytest_configure(config: pytest.Config) -> None:
    config.stash[_REPORT] = Report(seed=config.option.chaos_seed, scale=config.option.chaos)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.option.chaos == "quick":
        left_out = [item for item in items if item.get_closest_marker("full")]
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if not item.get_closest_marker("full")]


def pytest_runtest_setup(item: pytest.Item) -> None:
    item.config.stash[_REPORT].module = item.path.stem


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    report = config.stash[_REPORT]
    if config.option.chaos == "full" and report.results:
        terminalreporter.section("promises")
        terminalreporter.write_line(report.table())
    if config.option.chaos_publish:
        report.write()


@pytest.fixture(scope="session")
def report(request: pytest.FixtureRequest) -> Report:
    """Where a test puts the figure of its promise, before it asserts that it held."""
    return request.config.stash[_REPORT]


@pytest.fixture(scope="session")
def scale(request: pytest.FixtureRequest) -> Scale:
    """How long tests go on."""
    options = request.config.option
    return Scale(full=options.chaos == "full", seed=options.chaos_seed, minutes=options.chaos_minutes)


@pytest.fixture(scope="session", autouse=True)
def secret_scan(report: Report) -> Iterator[SecretScan]:
    """Looks for secrets in all that the run prints, logs and keeps."""
    scan = SecretScan()
    LISTENERS.append(scan.look_at)
    BEFORE_STOP.append(scan.look_through)
    yield scan
    LISTENERS.remove(scan.look_at)
    BEFORE_STOP.remove(scan.look_through)
    report.add(scan.result())
    assert not scan.found


class Outcome(NamedTuple):
    """How a call ended: OK or the error's code and reason, the path of the answer, and how long it took.

    late_s: seconds since the deadline, or since a timer of that time went off in this event loop.
    """

    code: grpc.StatusCode
    reason: str
    path: int
    seconds: float
    late_s: float


class Watch:
    """Times a call, and a bare timer beside it."""

    def __init__(self) -> None:
        self._started = time.perf_counter()
        self._due = self._started + DEADLINE_S
        self._timer = asyncio.get_running_loop().call_later(DEADLINE_S, self._go_off)

    def _go_off(self) -> None:
        self._due = max(self._due, time.perf_counter())

    def stop(self) -> tuple[float, float]:
        """Seconds since the start, and since the timer went off; below 0 before that."""
        self._timer.cancel()
        now = time.perf_counter()
        return now - self._started, now - self._due


class Bench:
    """A router under test and a collection on each of two pods."""

    def __init__(self, channel: grpc.aio.Channel, collections: dict[str, str], address: str) -> None:
        self.address = address
        self._stub = vector_service_pb2_grpc.VectorServiceStub(channel)
        self._collections = collections

    def collection(self, pod: str) -> str:
        """Its name."""
        return self._collections[pod]

    async def query(self, pod: str, path: int = DIRECT, *, timeout: float | None = None) -> Outcome:  # noqa: ASYNC109
        """A query of the pod's collection, without a deadline of its own unless it is given one."""
        return await self._call(self._stub.Query, self.query_of(pod, path), timeout)

    def query_of(self, pod: str, path: int) -> vector_service_pb2.QueryRequest:
        """The request for it."""
        request = vector_service_pb2.QueryRequest(collection=self._collections[pod], path=path, limit=1)
        request.vector.values.extend([1.0] * DIMENSION)
        return request

    async def warm(self, pod: str, path: int = DIRECT) -> None:
        """Has the router open its connections, those for writes and those that short queries share."""
        for _ in range(3):
            outcomes = await asyncio.gather(*(self.query(pod, path) for _ in range(4)), self.upsert(pod, "a", path))
            assert {(outcome.code, outcome.reason) for outcome in outcomes} == {(grpc.StatusCode.OK, "")}

    async def upsert(
        self,
        pod: str,
        record_id: str,
        path: int = DIRECT,
        *,
        timeout: float | None = None,  # noqa: ASYNC109
    ) -> Outcome:
        """A record into the pod's collection, without a deadline of its own unless it is given one."""
        request = vector_service_pb2.UpsertRequest(collection=self._collections[pod], path=path)
        request.records.add(id=record_id).vector.values.extend([1.0] * DIMENSION)
        return await self._call(self._stub.Upsert, request, timeout)

    async def _call(
        self, rpc: grpc.aio.UnaryUnaryMultiCallable, request: object, seconds: float | None = None
    ) -> Outcome:
        watch = Watch()
        try:
            answer = await rpc(request, timeout=seconds)
        except grpc.aio.AioRpcError as error:
            return Outcome(error.code(), _reason(error), AUTO, *watch.stop())
        return Outcome(grpc.StatusCode.OK, "", answer.route.path, *watch.stop())


def _reason(error: grpc.aio.AioRpcError) -> str:
    """The reason that every error of the router carries."""
    info = error_details_pb2.ErrorInfo()
    status = rpc_status.from_call(error)
    if status is None or not any(detail.Unpack(info) for detail in status.details):
        raise LookupError(f"no ErrorInfo: {error}")
    return info.reason


@pytest_asyncio.fixture(scope="module")
async def bench(cluster: Cluster) -> AsyncIterator[Bench]:
    values = router_values(cluster)
    values["timeouts"] = {"default_s": DEADLINE_S, "probe_interval_s": 0.2}
    values["limits"] = {"calls_per_pod": CALLS_PER_POD, "connections_per_pod": 4, "fdw_connections_per_pod": 2}
    router = await Router.start(make_config(values))
    names = {pod: f"chaos_{pod}" for pod in ("alpha", "beta")}
    async with (
        podroute.AsyncClient(router.address) as client,
        grpc.aio.insecure_channel(router.address, [("grpc.enable_retries", 0)]) as channel,
    ):
        for pod, name in names.items():
            await client.create_collection(name, dimension=DIMENSION, pod=pod)
            await client.upsert(name, [("a", [1.0] * DIMENSION, {})])
        yield Bench(channel, names, router.address)
        for name in names.values():
            await client.delete_collection(name)
    await router.stop()
