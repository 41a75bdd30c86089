"""Calls that go well: what comes in, and what goes out."""

from __future__ import annotations

import json

import grpc
from podroute.v1 import collection_service_pb2 as collections_pb
from podroute.v1 import (
    route_pb2,
    shard_map_service_pb2,
)
from podroute.v1 import vector_service_pb2 as vectors_pb

from .face import CALL_TIMEOUT_S, POD, Face, failure


async def test_a_query_finds_what_was_written(face: Face) -> None:
    request = vectors_pb.QueryRequest(
        collection="docs", vector={"values": [1, 0]}, limit=2, include_metadata=True, include_vector=True
    )
    response = await face.vectors.Query(request, timeout=CALL_TIMEOUT_S)
    assert [match.id for match in response.matches] == ["a", "b"]
    assert [list(match.vector.values) for match in response.matches] == [[1, 0], [1, 1]]
    assert json.loads(response.matches[1].metadata) == {"n": 1}
    assert response.route == route_pb2.Route(path="ACCESS_PATH_DIRECT", pods=[POD], map_revision=2)
    assert response.complete


async def test_neighbours_of_a_record_come_without_itself(face: Face) -> None:
    response = await face.vectors.Query(vectors_pb.QueryRequest(collection="docs", id="c"), timeout=CALL_TIMEOUT_S)
    assert [match.id for match in response.matches] == ["b", "a"]
    assert response.matches[0].metadata == ""


async def test_records_are_fetched_counted_and_deleted(face: Face) -> None:
    record = {"id": "gone", "vector": {"values": [5, 5]}}
    written = await face.vectors.Upsert(vectors_pb.UpsertRequest(collection="docs", records=[record, record]))
    assert written.upserted_count == 1
    fetched = await face.vectors.Fetch(vectors_pb.FetchRequest(collection="docs", ids=["gone", "no", "gone"]))
    assert [one.id for one in fetched.records] == ["gone"]
    assert fetched.records[0].metadata == "{}"
    assert list(fetched.missing_ids) == ["no"]
    deleted = await face.vectors.Delete(vectors_pb.DeleteRequest(collection="docs", ids={"ids": ["gone", "no"]}))
    assert deleted.deleted_count == 1
    assert list(deleted.deleted_ids) == []
    counted = await face.vectors.Count(vectors_pb.CountRequest(collection="docs"))
    assert counted.count == 3
    assert counted.route.pods == [POD]


async def test_a_deletion_returns_ids_where_it_is_asked_to(face: Face) -> None:
    records = [{"id": record_id, "vector": {"values": [5, 5]}} for record_id in ("z", "Z")]
    await face.vectors.Upsert(vectors_pb.UpsertRequest(collection="docs", records=records))
    request = vectors_pb.DeleteRequest(collection="docs", ids={"ids": ["z", "no", "Z", "z"]}, include_ids=True)
    deleted = await face.vectors.Delete(request)
    assert (deleted.deleted_count, list(deleted.deleted_ids)) == (2, ["Z", "z"])
    assert deleted.route.pods == [POD]
    assert not (await face.vectors.Delete(request)).deleted_ids


async def test_nothing_is_deleted_where_its_ids_are_more_than_half_a_message(face: Face) -> None:
    ids = [f"{number:03}" + "x" * 997 for number in range(33)]
    records = [{"id": record_id, "vector": {"values": [5, 5]}} for record_id in ids]
    await face.vectors.Upsert(vectors_pb.UpsertRequest(collection="docs", records=records))
    request = vectors_pb.DeleteRequest(collection="docs", ids={"ids": ids}, include_ids=True)
    code, info, _ = await failure(face.vectors.Delete(request))
    assert (code, info.reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "RESPONSE_TOO_LARGE")
    deleted = await face.vectors.Delete(vectors_pb.DeleteRequest(collection="docs", ids={"ids": ids}))
    assert deleted.deleted_count == len(ids)


async def test_collections_are_made_listed_and_deleted(face: Face) -> None:
    request = collections_pb.CreateCollectionRequest(name="images", dimension=3, metric="METRIC_L2", pod=POD)
    made = (await face.collections.CreateCollection(request)).collection
    assert (made.name, made.dimension, made.metric, made.placement.pod) == ("images", 3, 2, POD)
    assert (await face.collections.GetCollection(collections_pb.GetCollectionRequest(name="images"))).collection == made
    first = await face.collections.ListCollections(collections_pb.ListCollectionsRequest(page_size=1))
    assert [one.name for one in first.collections] == ["docs"]
    rest = await face.collections.ListCollections(
        collections_pb.ListCollectionsRequest(page_token=first.next_page_token)
    )
    assert [one.name for one in rest.collections] == ["images"]
    assert rest.next_page_token == ""
    shown = (await face.maps.GetShardMap(shard_map_service_pb2.GetShardMapRequest())).shard_map
    assert list(shown.pods) == [POD]
    assert [one.name for one in shown.collections] == ["docs", "images"]
    (pod,) = (await face.maps.ListPods(shard_map_service_pb2.ListPodsRequest())).pods
    assert (pod.name, pod.state, pod.collection_count) == (POD, shard_map_service_pb2.POD_STATE_SERVING, 2)
    await face.collections.DeleteCollection(collections_pb.DeleteCollectionRequest(name="images"))
    code, info, _ = await failure(face.collections.GetCollection(collections_pb.GetCollectionRequest(name="images")))
    assert (code, info.reason) == (grpc.StatusCode.NOT_FOUND, "COLLECTION_NOT_FOUND")
