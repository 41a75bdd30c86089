"""A caller's view: both paths, AUTO, routes, placement, several routers."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import numpy as np
import podroute
import pytest
from podroute_router.config import make_config
from podroute_router.embedded import Cluster
from podroute_router.server import Router
from servers import POD_ON_PRIMARY, router_values

DIMENSION = 8
PATHS = ("direct", "fdw")


@asynccontextmanager
async def collection(client: podroute.AsyncClient, pod: str, *, records: int = 0) -> AsyncIterator[str]:
    name = f"c_{uuid.uuid4().hex[:12]}"
    await client.create_collection(name, dimension=DIMENSION, pod=pod)
    try:
        if records:
            vectors = np.random.default_rng(7).normal(size=(records, DIMENSION))
            await client.upsert(name, [(f"r{i}", vector, {"n": i}) for i, vector in enumerate(vectors)])
        yield name
    finally:
        await client.delete_collection(name)


@pytest.mark.parametrize("path", PATHS)
async def test_every_call_works_on_both_paths(client: podroute.AsyncClient, path: str) -> None:
    async with collection(client, "beta") as name:
        written = await client.upsert(
            name, [("a", [1.0] * DIMENSION, {"n": 1}), ("b", [2.0] * DIMENSION, {})], path=path
        )
        found = await client.query(name, [1.0] * DIMENSION, metric="l2", include_metadata=True, path=path)
        fetched = await client.fetch(name, ["b", "nobody", "a"], path=path)
        counted = await client.count(name, filter={"n": 1}, path=path)
        deleted = await client.delete(name, ids=["a", "nobody"], path=path)
        assert written.upserted_count == 2
        assert [(m.id, m.metadata) for m in found.matches] == [("a", {"n": 1}), ("b", {})]
        assert [r.id for r in fetched.records] == ["b", "a"]
        assert fetched.missing_ids == ("nobody",)
        assert counted.count == 1
        assert deleted.deleted_count == 1
        for result in (written, found, fetched, counted, deleted):
            assert result.route.path == path
            assert result.route.pods == ("beta",)
            assert result.route.map_revision > 0
            assert not result.route.on_primary


async def test_both_paths_give_the_same_neighbours(client: podroute.AsyncClient) -> None:
    async with collection(client, "alpha", records=300) as name:
        await client.create_index(name)
        target = [0.5] * DIMENSION
        for arguments in ({}, {"exact": True}, {"ef_search": 200}, {"filter": {"n": {"$lt": 40}}}, {"limit": 250}):
            direct, fdw = [await client.query(name, target, path=path, **arguments) for path in PATHS]
            assert direct.matches == fdw.matches
            assert direct.complete
            assert fdw.complete


async def test_the_route_says_where_fdw_is_the_primarys_own_table(client: podroute.AsyncClient) -> None:
    async with collection(client, POD_ON_PRIMARY, records=5) as name:
        routes = [(await client.count(name, path=path)).route for path in PATHS]
        assert [(route.path, route.pods, route.on_primary) for route in routes] == [
            ("direct", (POD_ON_PRIMARY,), True),
            ("fdw", (POD_ON_PRIMARY,), True),
        ]


async def test_auto_prefers_direct(client: podroute.AsyncClient) -> None:
    async with collection(client, "alpha", records=1) as name:
        assert (await client.count(name)).route.path == "direct"


async def test_auto_takes_fdw_where_only_the_primary_reaches_the_pod(
    client: podroute.AsyncClient, cluster: Cluster
) -> None:
    values = router_values(cluster)
    address = values["pods"]["alpha"]
    address["primary_dsn"] = address["dsn"]
    address["dsn"] = address["dsn"].replace(f"port={cluster.pods['alpha'].port}", "port=1")
    cut_off = await Router.start(make_config(values))
    try:
        async with collection(client, "alpha", records=5) as name, podroute.AsyncClient(cut_off.address) as elsewhere:
            written = await elsewhere.upsert(name, [("new", [1.0] * DIMENSION, {})])
            counted = await elsewhere.count(name)
            assert (written.route.path, counted.route.path, counted.count) == ("fdw", "fdw", 6)
            with pytest.raises(podroute.Unavailable) as refused:
                await elsewhere.count(name, path="direct")
            assert refused.value.reason in ("UNREACHABLE", "POD_DOWN")  # the latter once it is known
    finally:
        await cut_off.stop()


async def test_neighbours_of_a_record_leave_it_out(client: podroute.AsyncClient) -> None:
    async with collection(client, "alpha", records=20) as name:
        for path in PATHS:
            found = await client.query(name, id="r3", limit=5, path=path)
            assert len(found.matches) == 5
            assert "r3" not in [match.id for match in found.matches]
        with pytest.raises(podroute.NotFound) as missing:
            await client.query(name, id="nobody")
        assert missing.value.reason == "RECORD_NOT_FOUND"


async def test_matches_beyond_the_greatest_distance_are_left_out(client: podroute.AsyncClient) -> None:
    async with collection(client, "beta") as name:
        await client.upsert(name, [(str(i), [float(i)] * DIMENSION, {}) for i in range(10)])
        for path in PATHS:
            found = await client.query(
                name, [0.0] * DIMENSION, metric="l2", max_distance=float(np.sqrt(DIMENSION)) * 2.5, path=path
            )
            assert [match.id for match in found.matches] == ["0", "1", "2"]
            assert found.complete


async def test_the_last_of_two_records_with_one_id_wins(client: podroute.AsyncClient) -> None:
    async with collection(client, "beta") as name:
        for path in PATHS:
            pair = [("same", [1.0] * DIMENSION, {"n": 1}), ("same", [2.0] * DIMENSION, {"n": 2})]
            assert (await client.upsert(name, pair, path=path)).upserted_count == 1
            assert (await client.fetch(name, ["same"], path=path)).records[0].metadata == {"n": 2}


async def test_a_collection_goes_to_the_pod_with_the_fewest_records(client: podroute.AsyncClient) -> None:
    async with collection(client, "alpha", records=400), collection(client, POD_ON_PRIMARY, records=400):
        name = f"c_{uuid.uuid4().hex[:12]}"
        for _ in range(50):  # statistics arrive within about a second
            placed = (await client.create_collection(name, dimension=DIMENSION)).placement.pod
            await client.delete_collection(name)
            if placed == "beta":
                return
            await asyncio.sleep(0.1)
        pytest.fail(f"placed on {placed}")


async def test_a_second_router_knows_a_new_collection_at_once(client: podroute.AsyncClient, cluster: Cluster) -> None:
    other = await Router.start(make_config(router_values(cluster)))
    try:
        async with podroute.AsyncClient(other.address) as elsewhere, collection(client, "beta", records=3) as name:
            for path in PATHS:
                assert (await elsewhere.count(name, path=path)).count == 3
    finally:
        await other.stop()


async def test_a_second_router_hears_of_a_deletion(client: podroute.AsyncClient, cluster: Cluster) -> None:
    other = await Router.start(make_config(router_values(cluster)))
    try:
        async with podroute.AsyncClient(other.address) as elsewhere:
            async with collection(client, "beta") as name:
                await elsewhere.get_collection(name)
            for _ in range(100):
                if name not in [known.name for known in (await elsewhere.shard_map()).collections]:
                    break
                await asyncio.sleep(0.02)
            with pytest.raises(podroute.NotFound):
                await elsewhere.get_collection(name)
    finally:
        await other.stop()


async def test_a_deleted_collection_can_be_made_anew_with_another_dimension(client: podroute.AsyncClient) -> None:
    name = f"c_{uuid.uuid4().hex[:12]}"
    generations = []
    for dimension in (3, 5):
        made = await client.create_collection(name, dimension=dimension, pod="alpha")
        generations.append(made.placement.generation)
        for path in PATHS:
            await client.upsert(name, [("a", [1.0] * dimension, {})], path=path)
            assert len((await client.query(name, [1.0] * dimension, path=path)).matches) == 1
        await client.delete_collection(name)
    assert generations[1] > generations[0]


async def test_pods_and_shard_map_are_shown(client: podroute.AsyncClient) -> None:
    async with collection(client, "alpha") as name:
        shard_map = await client.shard_map()
        assert name in [known.name for known in shard_map.collections]
        for _ in range(50):
            pods = {pod.name: pod for pod in await client.pods()}
            if all(pod.state == "serving" for pod in pods.values()):
                break
            await asyncio.sleep(0.1)
        assert {name: (pod.state, pod.on_primary) for name, pod in pods.items()} == {
            "alpha": ("serving", False),
            "beta": ("serving", False),
            POD_ON_PRIMARY: ("serving", True),
        }
        assert pods["alpha"].collection_count >= 1


async def test_collections_are_listed_page_by_page(client: podroute.AsyncClient) -> None:
    async with collection(client, "alpha") as a, collection(client, "beta") as b, collection(client, "alpha") as c:
        listed = [known.name async for known in client.list_collections(page_size=1)]
        assert [name for name in listed if name in (a, b, c)] == sorted((a, b, c))
