"""The operations on collections, exposures and tables of others: what reaches the router, and what comes back."""

from __future__ import annotations

import podroute
import pytest
from podroute.v1 import collection_service_pb2 as collections
from podroute.v1 import shard_map_service_pb2 as shard_maps

from .router import VIA_DOCS, Either, Router


async def test_the_operations_on_collections_reach_the_router_and_come_back(client: Either, router: Router) -> None:
    made = await client.ask("create_collection", "docs", 2, metric="l2", pod="docs")
    placement = podroute.Placement(pod="docs", table_schema="vecs", table_name="docs", generation=1)
    assert made == podroute.Collection(name="docs", dimension=2, metric="l2", placement=placement)
    assert router.requests[-1] == collections.CreateCollectionRequest(
        name="docs", dimension=2, metric="METRIC_L2", pod="docs"
    )
    assert await client.ask("get_collection", "docs") == made
    assert await client.ask("delete_collection", "docs") is None
    assert router.requests[-1] == collections.DeleteCollectionRequest(name="docs")
    shard_map = await client.ask("shard_map")
    assert (shard_map.revision, shard_map.pods) == (4, ("docs",))
    assert [each.name for each in shard_map.collections] == ["a"]
    pod = podroute.Pod(name="docs", state="serving", collection_count=1, on_primary=True)
    assert await client.ask("pods") == (pod,)


async def test_what_is_to_be_explained_is_sent_as_the_call_itself_would_be(client: Either, router: Router) -> None:
    query = podroute.Query("docs", [1.0, 2.0], limit=3, path="fdw")
    explained = await client.ask("explain", query, analyze=True)
    assert explained == podroute.Explanation(
        sql="select",
        settings={"a": "b"},
        remote_sql=("SELECT",),
        plan="Scan",
        findings=(podroute.Finding(reason="TRIGGERS", message="told", blocking=True),),
        route=VIA_DOCS,
    )
    await client.ask("explain", podroute.Count("docs", filter={"k": 1}))
    await client.ask("explain", podroute.Delete("docs", ids=["a"]))
    await client.ask("query", "docs", [1.0, 2.0], limit=3, path="fdw")
    await client.ask("count", "docs", filter={"k": 1})
    await client.ask("delete", "docs", ids=["a"])
    *explanations, query_request, count_request, delete_request = router.requests
    assert explanations == [
        shard_maps.ExplainRequest(query=query_request, analyze=True),
        shard_maps.ExplainRequest(count=count_request),
        shard_maps.ExplainRequest(delete=delete_request),
    ]
    with pytest.raises(podroute.InvalidArgument):
        await client.ask("explain", podroute.Delete("docs"))


async def test_listing_collections_asks_for_page_after_page(client: Either, router: Router) -> None:
    assert [each.name for each in await client.ask("list_collections", page_size=2)] == ["a", "b", "c"]
    assert router.requests == [
        collections.ListCollectionsRequest(page_size=2),
        collections.ListCollectionsRequest(page_size=2, page_token="next"),
    ]


async def test_tables_are_listed_and_adopted_with_what_is_odd_about_them(client: Either, router: Router) -> None:
    odd = podroute.Finding(reason="TRIGGERS", message="told", blocking=True)
    (table,) = await client.ask("list_adoptable_tables", "alpha")
    assert table == podroute.AdoptableTable(table_name="Old Docs", dimension=3, record_estimate=7, findings=(odd,))
    adopted = await client.ask("adopt_collection", "alpha", "Old Docs", name="docs", metric="l2", dry_run=True)
    assert (adopted.collection.name, adopted.record_estimate, adopted.findings) == ("docs", 7, (odd,))
    assert [each.name for each in adopted.indexes] == ["docs_l2"]
    assert router.requests == [
        collections.ListAdoptableTablesRequest(pod="alpha"),
        collections.AdoptCollectionRequest(
            pod="alpha", table_name="Old Docs", name="docs", metric="METRIC_L2", dry_run=True
        ),
    ]


async def test_collections_are_exposed_shown_and_unexposed(client: Either, router: Router) -> None:
    made = await client.ask("expose_collection", "docs", columns={"url": "text", "n": "bigint"}, roles=["web"])
    assert [(each.name, each.type, each.path, each.indexed) for each in made.columns] == [
        ("url", "text", ("url",), True),
        ("new", "unknown", ("new",), False),
    ]
    assert (made.collection, made.view_schema, made.view_name, made.roles) == ("docs", "public", "docs", ("web",))
    columns = [podroute.ExposedColumn(name="at", type="timestamptz", path=("a", "b"), indexed=True)]
    await client.ask("expose_collection", "docs", schema="s", view="v", columns=columns)
    assert await client.ask("list_exposures") == (made,)
    assert await client.ask("unexpose_collection", "docs", schema="s", view="v") is None
    assert router.requests == [
        collections.ExposeCollectionRequest(
            collection="docs",
            columns=[{"name": "url", "type": "COLUMN_TYPE_TEXT"}, {"name": "n", "type": "COLUMN_TYPE_BIGINT"}],
            roles=["web"],
        ),
        collections.ExposeCollectionRequest(
            collection="docs",
            view_schema="s",
            view_name="v",
            columns=[{"name": "at", "type": "COLUMN_TYPE_TIMESTAMPTZ", "path": ["a", "b"], "indexed": True}],
        ),
        collections.ListExposuresRequest(),
        collections.UnexposeCollectionRequest(collection="docs", view_schema="s", view_name="v"),
    ]
    assert router.seconds_left[0] == pytest.approx(3600.0, rel=0.1)
    with pytest.raises(podroute.InvalidArgument) as refused:
        await client.ask("expose_collection", "docs", columns={"n": "number"})
    assert refused.value.violations[0].field == "columns[0].type"
