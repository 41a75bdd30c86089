"""A batch of queries over the wire: outcomes in order, errors as Query's own, on both paths."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator

import podroute
import psycopg
import pytest
import pytest_asyncio
from podroute import Query
from podroute_router.embedded import Cluster
from psycopg import sql

PATHS = pytest.mark.parametrize("path", ["direct", "fdw"])


@pytest_asyncio.fixture(scope="module")
async def names(client: podroute.AsyncClient) -> AsyncIterator[list[str]]:
    """Two collections on two pods; the vectors are numbers on a line."""
    made = []
    for pod in ("alpha", "beta"):
        made.append(f"c_{uuid.uuid4().hex[:12]}")
        await client.create_collection(made[-1], 2, metric="l2", pod=pod)
        await client.upsert(made[-1], [(f"{pod}{n}", [float(n), 0.0], {"n": n, "even": n % 2 == 0}) for n in range(50)])
    yield made
    for name in made:
        await client.delete_collection(name)


def outcomes(results: tuple[podroute.QueryResult | podroute.Error, ...]) -> list[list[str] | str]:
    """The ids found, or the reason of the error."""
    return [r.reason if isinstance(r, podroute.Error) else [match.id for match in r.matches] for r in results]


@PATHS
async def test_what_became_of_each_query_comes_in_their_order(
    client: podroute.AsyncClient, names: list[str], path: podroute.Path
) -> None:
    first, second = names
    results = await client.batch_query(
        [
            Query(first, [7.2, 0.0], limit=2, path=path),
            Query("no_such_collection", [7.2, 0.0], path=path),
            Query(second, [7.2, 0.0], limit=2, filter={"even": True}, path=path),
            Query(first, [1.0], path=path),
            Query(second, id="beta9", limit=2, metadata_keys=["n"], path=path),
            Query(second, id="beta99", path=path),
            Query(first, [7.2, 0.0], limit=0, path=path),
            Query(first, [7.2, 0.0], limit=1, exact=True, include_vector=True, path=path),
        ]
    )
    assert outcomes(results) == [
        ["alpha7", "alpha8"],
        "COLLECTION_NOT_FOUND",
        ["beta8", "beta6"],
        "DIMENSION_MISMATCH",
        ["beta10", "beta8"],
        "RECORD_NOT_FOUND",
        "LIMIT",
        ["alpha7"],
    ]
    kinds = [type(result) for result in results]
    assert kinds[1::2][:3] == [podroute.NotFound, podroute.InvalidArgument, podroute.NotFound]
    by_id, exact, bad = results[4], results[7], results[6]
    assert isinstance(by_id, podroute.QueryResult)
    assert isinstance(exact, podroute.QueryResult)
    assert isinstance(bad, podroute.InvalidArgument)
    assert [match.metadata for match in by_id.matches] == [{"n": 10}, {"n": 8}]
    assert (by_id.route.path, by_id.route.pods) == (path, ("beta",))
    assert exact.matches[0].vector == [7.0, 0.0]
    assert [violation.field for violation in bad.violations] == ["limit"]


@PATHS
async def test_each_outcome_is_that_of_the_query_alone(
    client: podroute.AsyncClient, names: list[str], path: podroute.Path
) -> None:
    queries = [Query(names[n % 2], [n / 2, 1.0], limit=n % 7 + 1, path=path) for n in range(100)]
    for _ in range(2):  # the second time they are known, and may go the fast way
        results = await client.batch_query(queries)
        assert len(results) == 100
        for query, result in zip(queries, results, strict=True):
            alone = await client.query(query.collection, query.vector, limit=query.limit, path=path)
            assert result == alone


async def test_a_batch_of_none_or_of_too_many_is_refused_whole(client: podroute.AsyncClient, names: list[str]) -> None:
    for count in (0, 101):
        with pytest.raises(podroute.InvalidArgument) as caught:
            await client.batch_query([Query(names[0], [1.0, 0.0])] * count)
        assert (caught.value.reason, caught.value.metadata["limit"]) == ("QUERY_COUNT", "100")


@PATHS
async def test_one_query_that_hangs_does_not_keep_the_others_from_their_caller(
    client: podroute.AsyncClient, cluster: Cluster, names: list[str], path: podroute.Path
) -> None:
    locked, free = names
    server = cluster.pods["alpha"]
    queries = [Query(name, [3.1, 0.0], limit=1, path=path) for name in (free, locked, free)]
    await client.batch_query(queries)
    with psycopg.connect(server.admin_conninfo(server.database)) as admin:
        admin.execute(sql.SQL("lock table vecs.{} in access exclusive mode").format(sql.Identifier(locked)))
        results = await client.batch_query(queries, timeout=2.0)
    assert outcomes(results) == [["beta3"], "DEADLINE_EXCEEDED", ["beta3"]]
    assert isinstance(results[1], podroute.DeadlineExceeded)
    async with asyncio.timeout(10):
        while outcomes(await client.batch_query(queries)) != [["beta3"], ["alpha3"], ["beta3"]]:
            await asyncio.sleep(0.05)


async def test_a_query_that_cannot_be_sent_is_named_by_its_place(
    client: podroute.AsyncClient, names: list[str]
) -> None:
    good = Query(names[0], [1.0, 0.0])
    for bad, field in (
        (Query(names[0]), "queries[1].target"),
        (Query(names[0], [1.0, 0.0], metadata_keys=[]), "queries[1].metadata_keys"),
        (Query(names[0], [1.0, 0.0], filter={}), "queries[1].filter"),
        (names[0], "queries[1]"),
    ):
        with pytest.raises(podroute.InvalidArgument) as caught:
            await client.batch_query([good, bad])  # type: ignore[list-item]
        assert [violation.field for violation in caught.value.violations] == [field]
