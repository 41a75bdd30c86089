"""A query like one that was served is served by what was worked out for that one, and never wrongly."""

from __future__ import annotations

import gc
import math
import weakref
from collections.abc import AsyncIterator
from types import MappingProxyType

import numpy as np
import pytest
from podroute.v1 import record_pb2, route_pb2, vector_service_pb2
from podroute_memory.backend import MemoryBackend
from podroute_router.api.plain_queries import PlainQueries, big_endian_components
from podroute_router.api.requests import to_path, to_search
from podroute_router.config import Limits
from podroute_router.domain import AccessPath, Collection, Deadline, Metric, Placement, Record
from podroute_router.engine import Engine
from podroute_router.shard_map import Change, ShardMap
from podroute_router.wrappers import CallsBounded, DeadlineKept


class Maps:
    """A shard map that the test swaps."""

    def __init__(self) -> None:
        self.current = ShardMap(revision=1, pods=frozenset({"alpha"}), collections=MappingProxyType({}))

    async def refresh(self, deadline: Deadline) -> ShardMap:
        return self.current

    def change(self, name: str, collection: Collection | None) -> None:
        current = self.current
        self.current = current.changed(current.revision + 1, current.pods, [Change(name, collection)])


class Setup:
    """Plain queries over a memory backend."""

    def __init__(self) -> None:
        self.maps = Maps()
        self.unreachable: set[str] = set()
        self.backend = MemoryBackend()
        wrapped = DeadlineKept(CallsBounded(self.backend, limit=10))
        self.engine = Engine(
            maps=self.maps,
            backends={AccessPath.DIRECT: wrapped, AccessPath.FDW: wrapped},
            is_on_primary=lambda pod: False,
            is_reachable=lambda pod: pod not in self.unreachable,
        )
        self.queries = PlainQueries(self.engine)

    async def make(self, dimension: int, name: str = "docs") -> Collection:
        placement = Placement(pod="alpha", schema="vecs", table=name)
        collection = Collection(name=name, dimension=dimension, metric=Metric.L2, placement=placement)
        await self.backend.create_collection(collection, deadline())
        records = [Record(id=f"r{n}", vector=np.full(dimension, n, np.float32)) for n in range(20)]
        await self.backend.upsert(collection, records, deadline())
        self.maps.change(name, collection)
        return collection

    async def learn(self, request: vector_service_pb2.QueryRequest) -> None:
        """Serves it the ordinary way."""
        search, path = to_search(request, Limits()), to_path(request.path)
        await self.engine.query(request.collection, search, path, deadline())
        self.queries.learn(request, search, path)

    async def answer(self, request: vector_service_pb2.QueryRequest) -> vector_service_pb2.QueryResponse | None:
        return await self.queries.answer(request, deadline())


def deadline() -> Deadline:
    return Deadline.after(5)


def request(*components: float, **fields: object) -> vector_service_pb2.QueryRequest:
    fields = {"collection": "docs", "limit": 3, **fields}
    return vector_service_pb2.QueryRequest(vector=record_pb2.Vector(values=components), **fields)


def ids(response: vector_service_pb2.QueryResponse | None) -> list[str]:
    assert response is not None
    return [match.id for match in response.matches]


@pytest.fixture
async def setup() -> AsyncIterator[Setup]:
    made = Setup()
    await made.make(2)
    yield made
    await made.backend.close()


async def test_a_query_unlike_any_before_goes_the_ordinary_way(setup: Setup) -> None:
    assert await setup.answer(request(7, 7)) is None


async def test_one_that_differs_in_its_vector_only_is_answered(setup: Setup) -> None:
    await setup.learn(request(7, 7))
    response = await setup.answer(request(12, 12.4))
    assert ids(response) == ["r12", "r13", "r11"]
    assert response is not None
    assert response.complete
    assert response.route == route_pb2.Route(path=route_pb2.ACCESS_PATH_DIRECT, pods=["alpha"], map_revision=2)


async def test_parameters_that_say_nothing_are_none(setup: Setup) -> None:
    await setup.learn(request(7, 7))
    assert ids(await setup.answer(request(7, 7, params=vector_service_pb2.SearchParams()))) == ["r7", "r6", "r8"]


@pytest.mark.parametrize(
    "other",
    [
        {"limit": 4},
        {"collection": "others"},
        {"metric": record_pb2.METRIC_COSINE},
        {"include_metadata": True},
        {"include_vector": True},
        {"metadata_keys": ["k"]},
        {"max_distance": 1.0},
        {"path": route_pb2.ACCESS_PATH_FDW},
        {"params": vector_service_pb2.SearchParams(exact=True)},
        {"params": vector_service_pb2.SearchParams(ef_search=1)},
        {"params": vector_service_pb2.SearchParams(iterative_scan=vector_service_pb2.ITERATIVE_SCAN_OFF)},
        {"filter": {"comparison": {"path": ["n"], "operator": 1}}},
    ],
    ids=lambda fields: next(iter(fields)),
)
async def test_one_that_differs_in_anything_else_is_not(setup: Setup, other: dict[str, object]) -> None:
    await setup.learn(request(7, 7))
    assert await setup.answer(request(7, 7, **other)) is None


async def test_no_limit_is_another_thing_than_any(setup: Setup) -> None:
    without = vector_service_pb2.QueryRequest(collection="docs", vector=record_pb2.Vector(values=(7, 7)))
    await setup.learn(without)
    assert len(ids(await setup.answer(without))) == 10
    assert await setup.answer(request(7, 7, limit=-1)) is None


async def test_what_was_learnt_keeps_no_map_alive(setup: Setup) -> None:
    await setup.learn(request(7, 7))
    old = weakref.ref(setup.maps.current)
    await setup.make(2, "others")
    gc.collect()
    assert old() is None
    assert ids(await setup.answer(request(7, 7))) == ["r7", "r6", "r8"]


async def test_the_neighbours_of_a_record_are_not_its_business(setup: Setup) -> None:
    by_id = vector_service_pb2.QueryRequest(collection="docs", limit=3, id="r7")
    await setup.learn(by_id)
    assert await setup.answer(by_id) is None


@pytest.mark.parametrize(
    "components", [(1,), (1, 2, 3), (), (math.nan, 1), (math.inf, 1), (math.inf, -math.inf)], ids=str
)
async def test_a_vector_that_does_not_fit_goes_the_ordinary_way(setup: Setup, components: tuple[float, ...]) -> None:
    await setup.learn(request(7, 7))
    assert await setup.answer(request(*components)) is None


async def test_ties_are_in_the_order_of_their_ids(setup: Setup) -> None:
    await setup.learn(request(0, 0, limit=5))
    assert ids(await setup.answer(request(9.5, 9.5, limit=5))) == ["r10", "r9", "r11", "r8", "r12"]


async def test_a_change_of_the_map_is_seen(setup: Setup) -> None:
    await setup.learn(request(7, 7))
    await setup.make(2, "others")
    response = await setup.answer(request(7, 7))
    assert response is not None
    assert response.route.map_revision == 3


async def test_a_collection_made_anew_is_another_one(setup: Setup) -> None:
    await setup.learn(request(7, 7))
    [old] = setup.maps.current.collections.values()
    setup.maps.change("docs", None)
    await setup.backend.drop_collection(old, deadline())
    assert await setup.answer(request(7, 7)) is None
    await setup.make(3)
    assert await setup.answer(request(7, 7)) is None
    await setup.learn(request(7, 7, 7))
    assert ids(await setup.answer(request(7, 7, 7.1))) == ["r7", "r8", "r6"]


async def test_auto_leaves_a_pod_that_does_not_answer(setup: Setup) -> None:
    await setup.learn(request(7, 7))
    setup.unreachable = {"alpha"}
    response = await setup.answer(request(7, 7))
    assert response is not None
    assert response.route.path == route_pb2.ACCESS_PATH_FDW
    setup.unreachable = set()
    response = await setup.answer(request(7, 7))
    assert response is not None
    assert response.route.path == route_pb2.ACCESS_PATH_DIRECT


@pytest.mark.parametrize("dimension", [1, 31, 32, 33, 4095, 4096, 4097, 16_000])
def test_components_are_what_numpy_makes_of_them(dimension: int) -> None:
    vector = np.random.default_rng(dimension).normal(size=dimension).astype(np.float32)
    message = record_pb2.Vector(values=vector.tolist())
    assert big_endian_components(message, dimension) == vector.astype(">f4").tobytes()


def test_fields_that_a_later_client_sends_do_no_harm() -> None:
    vector = np.arange(40, dtype=np.float32)
    packed = record_pb2.Vector(values=vector.tolist()).SerializeToString()
    unknown = b"\x12\x03abc"
    unpacked = b"".join(b"\x0d" + component.tobytes() for component in vector)
    for wire in (unknown + packed, packed + unknown, unpacked, unpacked + unknown):
        message = record_pb2.Vector.FromString(wire)
        assert big_endian_components(message, 40) == vector.astype(">f4").tobytes()


def test_the_largest_components_are_finite() -> None:
    largest = float(np.finfo(np.float32).max)
    assert big_endian_components(record_pb2.Vector(values=[largest] * 1000), 1000) is not None
