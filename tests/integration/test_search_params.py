"""Search parameters reach the pod on both paths, change the query that brings them, and no other on its connection."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import podroute
import psycopg
import pytest
import pytest_asyncio
from podroute_router.config import make_config
from podroute_router.embedded import Cluster
from podroute_router.postgres import prepare
from podroute_router.server import Router
from psycopg import sql
from servers import POD_ON_PRIMARY, kept_verifier, router_values

DIMENSION = 8
RECORDS = 10_000
LISTS = 50
EF_SEARCH = 40
"""pgvector's default."""
RARE = {"percent": 7}
"""Matches a hundred records."""
VECTORS = np.random.default_rng(3).normal(size=(RECORDS, DIMENSION)).astype(np.float32)


def password(cluster: Cluster) -> str:
    return cluster.router_password_file.read_text(encoding="utf-8").strip()


@pytest_asyncio.fixture(scope="module")
async def single(cluster: Cluster, router: Router) -> AsyncIterator[podroute.AsyncClient]:
    """A client of a router that has one connection to each pod on each path, and next to no time for exact passes.

    So all queries on a path share a connection, and one whose index stops short comes back incomplete.
    """
    values = router_values(cluster)
    values["limits"] = {"connections_per_pod": 1, "fdw_connections_per_pod": 1}
    values["timeouts"] = {"exact_pass_s": 0.001}
    started = await Router.start(make_config(values))
    async with podroute.AsyncClient(started.address) as client:
        yield client
    await started.stop()


@dataclass(frozen=True)
class Place:
    """A collection, and the path to it."""

    collection: str
    path: podroute.Path


@pytest_asyncio.fixture(scope="module")
async def collections(cluster: Cluster, client: podroute.AsyncClient) -> AsyncIterator[dict[str, str]]:
    """One on a pod apart and one on the primary, each with HNSW for L2 and IVFFlat for cosine."""
    made = {}
    for pod, server in (("alpha", cluster.pods["alpha"]), (POD_ON_PRIMARY, cluster.primary)):
        name = made[pod] = f"c_{uuid.uuid4().hex[:12]}"
        await client.create_collection(name, DIMENSION, pod=pod)
        records = ((f"r{number}", VECTORS[number], {"percent": number % 100}) for number in range(RECORDS))
        await client.upsert_many(name, records)
        await client.create_index(name, metric="l2")
        with psycopg.connect(server.conninfo(cluster.router_role), password=password(cluster)) as connection:
            connection.execute(sql.SQL("set role {}").format(sql.Identifier(prepare.OWNER)))
            statement = sql.SQL(
                "create index on vecs.{} using ivfflat (vec public.vector_cosine_ops) with (lists = {})"
            )
            connection.execute(statement.format(sql.Identifier(name), sql.Literal(LISTS)))
            connection.execute(sql.SQL("analyze vecs.{}").format(sql.Identifier(name)))
    yield made
    for name in made.values():
        await client.delete_collection(name)


@pytest.fixture(params=["direct", "fdw", "fdw on the primary"])
def place(request: pytest.FixtureRequest, collections: dict[str, str]) -> Place:
    if request.param == "fdw on the primary":
        return Place(collections[POD_ON_PRIMARY], "fdw")
    return Place(collections["alpha"], request.param)


async def find(client: podroute.AsyncClient, place: Place, **arguments: Any) -> podroute.QueryResult:
    arguments = {"metric": "l2", "limit": 100, **arguments}
    return await client.query(place.collection, [0.25] * DIMENSION, path=place.path, **arguments)


async def test_ef_search_is_how_many_a_scan_finds_that_may_not_go_on(
    single: podroute.AsyncClient, place: Place
) -> None:
    for ef_search in (25, 60):
        found = await find(single, place, iterative_scan="off", ef_search=ef_search)
        assert (len(found.matches), found.complete) == (ef_search, False)
        assert found.incomplete_reason == "scan_limited"


async def test_probes_are_the_lists_searched(single: podroute.AsyncClient, place: Place) -> None:
    search = partial(find, single, place, metric="cosine", iterative_scan="off", limit=1000)
    counts = [len((await search(probes=probes)).matches) for probes in (1, 3, LISTS)]
    assert counts[0] < counts[1] <= counts[2] == 1000
    assert (await search(probes=LISTS)).complete


async def test_an_ivfflat_index_goes_on_until_it_has_enough_and_the_matches_are_sorted(
    single: podroute.AsyncClient, place: Place
) -> None:
    for scan in ("strict", "relaxed"):
        found = await find(single, place, metric="cosine", limit=1000, iterative_scan=scan)
        assert (len(found.matches), found.complete) == (1000, True)
        distances = [match.distance for match in found.matches]
        assert distances == sorted(distances)


async def test_a_relaxed_scan_comes_back_sorted(single: podroute.AsyncClient, place: Place) -> None:
    found = await find(single, place, filter=RARE, limit=50, iterative_scan="relaxed", ef_search=5)
    assert (len(found.matches), found.complete) == (50, True)
    distances = [match.distance for match in found.matches]
    assert distances == sorted(distances)


async def test_a_bound_on_the_scan_ends_it(single: podroute.AsyncClient, place: Place) -> None:
    found = await find(single, place, filter=RARE, max_scan_tuples=500)
    assert 0 < len(found.matches) < 50
    assert found.incomplete_reason == "scan_limited"
    found = await find(single, place, filter=RARE, limit=50, max_scan_tuples=RECORDS)
    assert (len(found.matches), found.complete) == (50, True)


async def test_an_exact_pass_that_has_no_time_is_told_of(single: podroute.AsyncClient, place: Place) -> None:
    found = await find(single, place, filter=RARE, limit=200)
    assert 0 < len(found.matches) <= 100
    assert (found.complete, found.incomplete_reason) == (False, "timed_out")
    assert (await find(single, place, filter=RARE, limit=200, exact=True)).complete


async def test_no_parameter_outlives_its_query(single: podroute.AsyncClient, place: Place) -> None:
    hnsw = partial(find, single, place)
    ivfflat = partial(find, single, place, metric="cosine", limit=1000)
    one_list = len((await ivfflat(iterative_scan="off")).matches)
    assert one_list < 1000
    for _ in range(3):
        assert len((await hnsw(iterative_scan="off", ef_search=5)).matches) == 5
        assert (await hnsw(filter=RARE, limit=50)).complete, "scans go on again"
        await hnsw(filter=RARE, max_scan_tuples=1)
        assert (await hnsw(filter=RARE, limit=50)).complete, "as far as before"
        await hnsw(ef_search=200, iterative_scan="relaxed")
        assert len((await hnsw(iterative_scan="off")).matches) == EF_SEARCH
        assert len((await ivfflat(iterative_scan="off", probes=LISTS)).matches) == 1000
        assert len((await ivfflat(iterative_scan="off")).matches) == one_list
        assert (await ivfflat()).complete


async def test_a_query_that_fails_leaves_no_parameter_behind(single: podroute.AsyncClient, place: Place) -> None:
    with pytest.raises(podroute.DeadlineExceeded):
        await find(single, place, iterative_scan="off", ef_search=1, timeout=0.000001)
    with pytest.raises(podroute.InvalidArgument):
        await single.query(place.collection, [1.0], iterative_scan="off", ef_search=1, path=place.path)
    assert (await find(single, place, filter=RARE, limit=50)).complete


async def test_the_neighbours_of_a_record_take_parameters_and_keys_too(
    single: podroute.AsyncClient, place: Place
) -> None:
    found = await single.query(
        place.collection,
        id="r7",
        metric="l2",
        limit=10,
        exact=True,
        filter=RARE,
        metadata_keys=["percent", "none"],
        path=place.path,
    )
    others = [number for number in range(7, RECORDS, 100) if number != 7]
    true = sorted(others, key=lambda number: float(np.linalg.norm(VECTORS[number] - VECTORS[7])))
    assert [match.id for match in found.matches] == [f"r{number}" for number in true[:10]]
    assert [match.metadata for match in found.matches] == [RARE] * 10
    farthest = found.matches[4].distance
    near = await single.query(
        place.collection, id="r7", metric="l2", exact=True, filter=RARE, max_distance=farthest, path=place.path
    )
    assert [match.id for match in near.matches] == [match.id for match in found.matches[:5]]
    assert near.complete
    bounded = await single.query(
        place.collection, id="r7", metric="l2", limit=100, iterative_scan="off", ef_search=30, path=place.path
    )
    assert (len(bounded.matches), bounded.incomplete_reason) == (29, "scan_limited")


@pytest.fixture
def older_control_view(cluster: Cluster) -> Iterator[None]:
    """Pod alpha as a version prepared it that knew fewer settings."""
    server = cluster.pods["alpha"]
    older = sql.SQL(
        "create or replace function podroute.apply_setting() returns trigger language plpgsql as $$ begin "
        "if new.name = 'hnsw.ef_search' then perform set_config(new.name, new.value, true); return new; end if; "
        "raise exception 'podroute does not set %', new.name using errcode = 'insufficient_privilege'; end $$"
    )
    admin = server.admin_conninfo(server.database)
    with psycopg.connect(admin) as connection:
        connection.execute(older)
    yield
    secret = kept_verifier(cluster.router_role, password(cluster))
    prepare.prepare(admin, role=cluster.router_role, verifier=secret, pod=True, primary=False)


@pytest.mark.usefixtures("older_control_view")
async def test_a_pod_prepared_by_an_older_version_says_what_to_do(
    single: podroute.AsyncClient, cluster: Cluster, collections: dict[str, str]
) -> None:
    place = Place(collections["alpha"], "fdw")
    with pytest.raises(podroute.FailedPrecondition, match="podroute pods prepare") as caught:
        await find(single, place, probes=5)
    assert (caught.value.reason, caught.value.metadata["pod"]) == ("NOT_PREPARED", "alpha")
    assert len((await find(single, place)).matches) == 100
    secret = kept_verifier(cluster.router_role, password(cluster))
    admin = cluster.pods["alpha"].admin_conninfo(cluster.pods["alpha"].database)
    prepare.prepare(admin, role=cluster.router_role, verifier=secret, pod=True, primary=False)
    assert len((await find(single, place, probes=5)).matches) == 100
