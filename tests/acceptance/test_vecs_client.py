"""podroute.vecs as its users meet it, where vecs has nothing to compare with: paths, bounds, adopted tables."""

from __future__ import annotations

import asyncio
import re
import uuid
import warnings
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import podroute
import psycopg
import pytest
import pytest_asyncio
from podroute import vecs
from podroute_router.config import make_config
from podroute_router.embedded import Cluster
from podroute_router.server import Router
from psycopg import sql
from servers import POD_ON_PRIMARY, router_values, separate_primary

PAGE = Path(__file__).resolve().parents[2] / "docs" / "vecs-client.md"
DIMENSION = 8
NARROW_BYTES = 1024 * 1024
T = TypeVar("T")


async def outside(act: Callable[[], T]) -> T:
    """Does something that blocks, while the router goes on."""
    return await asyncio.to_thread(act)


def vector(number: int) -> list[float]:
    return np.random.default_rng(number).normal(size=DIMENSION).tolist()


def records(count: int) -> Iterator[tuple[str, list[float], dict[str, Any]]]:
    return ((f"r{i:05}", vector(i), {"n": i}) for i in range(count))


@pytest_asyncio.fixture
async def vx(router: Router) -> AsyncIterator[vecs.Client]:
    """A client of the session's router."""
    client = await outside(lambda: vecs.create_client(router.address))
    yield client
    client.disconnect()


@pytest_asyncio.fixture
async def docs(vx: vecs.Client) -> AsyncIterator[vecs.Collection]:
    """An empty collection."""
    name = f"v_{uuid.uuid4().hex[:12]}"
    yield await outside(lambda: vx.get_or_create_collection(name, dimension=DIMENSION))
    await outside(lambda: vx.delete_collection(name))


@pytest.fixture(scope="module")
def database(cluster: Cluster) -> str:
    """A database that is primary and pod."""
    return separate_primary(cluster)


@pytest_asyncio.fixture(scope="module")
async def narrow(cluster: Cluster, database: str) -> AsyncIterator[str]:
    """The address of a router of that one database, which takes and sends no long messages."""
    values = router_values(cluster, primary=database)
    values["pods"] = {POD_ON_PRIMARY: values["pods"][POD_ON_PRIMARY]}
    values["limits"] = {"max_message_bytes": NARROW_BYTES}
    router = await Router.start(make_config(values))
    yield router.address
    await router.stop()


async def test_all_records_calls_go_over_the_path_that_the_client_names(router: Router, docs: vecs.Collection) -> None:
    def act() -> None:
        with vecs.create_client(router.address, path="fdw") as over_fdw:
            same = over_fdw.get_or_create_collection(docs.name, dimension=DIMENSION)
            same.upsert(records(30))
            assert len(same) == 30
            with pytest.warns(UserWarning, match="covering index"):
                assert same.query(vector(7), limit=1, filters={"n": {"$gte": 5}}) == ["r00007"]
            assert [row.id for row in same.fetch(["r00003", "none", "r00001"])] == ["r00003", "r00001"]
            assert same.delete(["none", "r00002", "r00001"]) == ["r00002", "r00001"]
            assert same.delete(filters={"n": {"$lt": 4}}) == ["r00000", "r00003"]
            assert over_fdw.router.count(docs.name).route.path == "fdw"

    await outside(act)


async def test_more_records_than_fit_in_a_transaction_are_all_written(
    docs: vecs.Collection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("podroute.vecs.transfers.MAX_TRANSACTION_RECORDS", 100)
    for count in (100, 101, 350):
        await outside(lambda many=count: docs.upsert(records(many)))
        assert await outside(lambda: len(docs)) == count
    rows = await outside(lambda: docs.fetch(f"r{i:05}" for i in range(350)))
    assert [row.metadata["n"] for row in rows] == list(range(350))


async def test_messages_that_would_be_too_long_are_parted(narrow: str) -> None:
    def act() -> None:
        with vecs.create_client(narrow) as vx:
            docs = vx.get_or_create_collection("docs", dimension=DIMENSION)
            text = "x" * 4000
            docs.upsert([(f"r{i:03}", vector(i), {"text": text}) for i in range(500)])  # 2 MB
            assert len(docs) == 500
            rows = docs.fetch(f"r{i:03}" for i in range(500))
            assert [row.id for row in rows] == [f"r{i:03}" for i in range(500)]
            assert {row.metadata["text"] for row in rows} == {text}
            vx.delete_collection("docs")

    await outside(act)


async def test_nothing_is_deleted_where_the_ids_find_no_room_in_an_answer(narrow: str) -> None:
    def act() -> None:
        with vecs.create_client(narrow) as vx:
            docs = vx.get_or_create_collection("docs", dimension=DIMENSION)
            docs.upsert([(f"r{i:03}" + "x" * 1000, vector(i), {"n": i}) for i in range(600)])  # 600 kB of ids
            with pytest.raises(podroute.ResourceExhausted, match="nothing was deleted"):
                docs.delete(filters={"n": {"$gte": 0}})
            assert len(docs) == 600
            assert len(docs.delete(filters={"n": {"$lt": 100}})) == 100
            vx.delete_collection("docs")

    await outside(act)


async def test_an_adopted_table_is_found_by_its_own_name(
    cluster: Cluster, client: podroute.AsyncClient, vx: vecs.Client
) -> None:
    table, name = f"My-Docs {uuid.uuid4().hex[:8]}", f"adopted_{uuid.uuid4().hex[:8]}"
    server = cluster.servers["alpha"]
    with psycopg.connect(server.admin_conninfo(server.database), autocommit=True) as admin:
        admin.execute(
            sql.SQL(
                "create table vecs.{0} (id varchar primary key, vec public.vector(2) not null,"
                " metadata jsonb not null default '{{}}'); alter table vecs.{0} owner to podroute_owner"
            ).format(sql.Identifier(table))
        )
    await client.adopt_collection("alpha", table, name=name)

    def act() -> None:
        by_table = vx.get_or_create_collection(table, dimension=2)
        by_table.upsert([("a", [1, 2], {})])
        assert vx.get_or_create_collection(name, dimension=2)["a"].id == "a"
        assert repr(by_table) == f'vecs.Collection(name="{table}", dimension=2)'
        listed = [each.name for each in vx.list_collections()]
        assert table in listed
        assert name not in listed
        assert len(vecs.Collection(table, 2, vx)) == 1
        with pytest.raises(vecs.exc.MismatchedDimension):
            vx.get_or_create_collection(table, dimension=3)
        vx.delete_collection(table)
        vx.delete_collection(table)
        assert table not in [each.name for each in vx.list_collections()]

    await outside(act)


async def test_a_table_that_is_not_adopted_is_left_alone(cluster: Cluster, database: str, narrow: str) -> None:
    with psycopg.connect(cluster.primary.admin_conninfo(database), autocommit=True) as admin:
        admin.execute("create table vecs.foreign_docs (id varchar primary key, vec public.vector(2), metadata jsonb)")

    def act() -> None:
        with vecs.create_client(narrow) as vx:
            with pytest.raises(vecs.exc.CollectionAlreadyExists) as refused:
                vx.get_or_create_collection("foreign_docs", dimension=2)
            assert isinstance(refused.value.__cause__, podroute.AlreadyExists)
            assert refused.value.__cause__.reason == "TABLE_EXISTS"
            assert vx.list_collections() == []

    await outside(act)


async def test_a_collection_has_one_index_after_create_index(vx: vecs.Client, docs: vecs.Collection) -> None:
    def act() -> None:
        docs.upsert(records(50))
        for metric in ("cosine", "l2", "l1"):
            vx.router.create_index(docs.name, metric=metric)
        assert [docs.is_indexed_for_measure(measure) for measure in vecs.IndexMeasure] == [True, True, False, True]
        with pytest.raises(vecs.exc.ArgError, match="an index exists"):
            docs.create_index(vecs.IndexMeasure.max_inner_product, replace=False)
        docs.create_index(vecs.IndexMeasure.l2_distance)
        [index] = vx.router.list_indexes(docs.name)
        assert (index.name, index.metric) == (docs.index, "l2")

    await outside(act)


async def test_queries_ask_for_indexes_now_and_then_only(
    vx: vecs.Client, docs: vecs.Collection, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    list_indexes = vx.router.list_indexes

    def listing(*arguments: Any, **options: Any) -> Any:
        asked.append(arguments[0])
        return list_indexes(*arguments, **options)

    monkeypatch.setattr(vx.router, "list_indexes", listing)

    def act() -> None:
        for _ in range(3):
            with pytest.warns(UserWarning, match="covering index"):
                docs.query(vector(1))
        assert len(asked) == 1
        docs.create_index()
        asked.clear()
        docs.query(vector(1))  # no warning
        docs.query(vector(1))
        assert len(asked) == 1

    await outside(act)


async def test_a_query_is_served_where_nothing_is_known_of_indexes(
    vx: vecs.Client, docs: vecs.Collection, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unavailable(*_: Any, **__: Any) -> Any:
        raise podroute.Unavailable("the pod is reached over the primary only")

    monkeypatch.setattr(vx.router, "list_indexes", unavailable)

    def act() -> list[Any]:
        docs.upsert(records(3))
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            return docs.query(vector(1), limit=1)

    assert await outside(act) == ["r00001"]


async def test_an_ivfflat_index_is_searched_as_vecs_does(
    vx: vecs.Client, docs: vecs.Collection, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[tuple[int | None, int | None]] = []
    query = vx.router.query

    def querying(*arguments: Any, **options: Any) -> Any:
        sent.append((options["probes"], options["ef_search"]))
        return query(*arguments, **options)

    monkeypatch.setattr(vx.router, "query", querying)

    def act() -> None:
        docs.upsert(records(100))
        docs.create_index(method="hnsw")
        docs.query(vector(1))
        docs.query(vector(1), ef_search=80)
        docs.create_index(method="ivfflat", index_arguments=vecs.IndexArgsIVFFlat(20))
        docs.query(vector(1))
        docs.query(vector(1), probes=20)

    await outside(act)
    assert sent == [(None, None), (None, 80), (10, None), (20, None)]


async def test_collections_may_be_made_by_several_at_once(router: Router, vx: vecs.Client) -> None:
    name = f"v_{uuid.uuid4().hex[:12]}"
    made = await asyncio.gather(
        *(outside(lambda: vx.get_or_create_collection(name, dimension=DIMENSION)) for _ in range(4))
    )
    assert {repr(each) for each in made} == {f'vecs.Collection(name="{name}", dimension={DIMENSION})'}
    await outside(lambda: vx.delete_collection(name))


async def test_a_client_that_disconnected_connects_again(router: Router, vx: vecs.Client) -> None:
    before = vx.router
    vx.disconnect()
    assert isinstance(await outside(vx.list_collections), list)
    assert vx.router is not before


async def test_a_client_says_at_once_that_nobody_serves() -> None:
    with pytest.raises(podroute.DeadlineExceeded) as refused:
        await outside(lambda: vecs.create_client("127.0.0.1:1", timeout_s=0.2))
    assert refused.value.reason == "NOT_SERVING"


async def test_the_example_of_the_documentation_runs(narrow: str) -> None:
    page = PAGE.read_text(encoding="utf-8")
    [example] = re.findall(r"^```python\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    [shown] = re.findall(r"# (\[.*\])$", example, re.MULTILINE)
    example = example.replace("127.0.0.1:50051", narrow).replace("docs.query(", "found = docs.query(")

    def act() -> None:
        names: dict[str, Any] = {}
        exec(example, names)
        assert repr(names["found"]) == shown
        names["vx"].delete_collection("docs")

    await outside(act)
