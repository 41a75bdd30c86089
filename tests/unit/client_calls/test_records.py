"""The operations on records: what reaches the router, and what comes back."""

from __future__ import annotations

from typing import Any

import grpc
import grpc.aio
import podroute
import pytest
from podroute.v1 import vector_service_pb2 as vectors

from .router import VIA_DOCS, Either, Router


async def test_the_operations_on_records_reach_the_router_and_come_back(client: Either, router: Router) -> None:
    written = await client.ask("upsert", "docs", [("a", [1.0, 2.0], {"k": 1})])
    assert written == podroute.UpsertResult(upserted_count=1, route=VIA_DOCS)
    found = await client.ask("query", "docs", [1.0, 2.0], filter={"k": 1})
    match = podroute.Match(id="a", distance=0.25, metadata={"k": 1}, vector=[1.0, 2.0])
    assert found == podroute.QueryResult(matches=(match,), route=VIA_DOCS, complete=True)
    read = await client.ask("fetch", "docs", ["a", "b"])
    record = podroute.Record("a", [1.0, 2.0], {"k": 1})
    assert read == podroute.FetchResult(records=(record,), missing_ids=("b",), route=VIA_DOCS)
    deleted = await client.ask("delete", "docs", ids=["a"])
    assert deleted == podroute.DeleteResult(deleted_count=2, route=VIA_DOCS)
    deleted = await client.ask("delete", "docs", ids=["a"], include_ids=True)
    assert deleted == podroute.DeleteResult(deleted_count=2, deleted_ids=("a", "b"), route=VIA_DOCS)
    counted = await client.ask("count", "docs")
    assert counted == podroute.CountResult(count=3, route=VIA_DOCS)
    updated = await client.ask("update_metadata", "docs", {"k": 1}, ids=["a"])
    assert updated == podroute.UpdateMetadataResult(updated_count=4, route=VIA_DOCS)
    assert [type(request).__name__ for request in router.requests] == [
        "UpsertRequest",
        "QueryRequest",
        "FetchRequest",
        "DeleteRequest",
        "DeleteRequest",
        "CountRequest",
        "UpdateMetadataRequest",
    ]


async def test_a_batch_has_a_result_or_an_error_for_each_query(client: Either, router: Router) -> None:
    queries = [
        podroute.Query("docs", [1.0, 2.0], probes=3, iterative_scan="relaxed", metadata_keys=["k"]),
        podroute.Query("docs", id="a", max_scan_tuples=5, path="fdw"),
    ]
    missing, found, nothing, unreadable, new = await client.ask("batch_query", queries, timeout=5.0)
    assert router.requests == [
        vectors.BatchQueryRequest(
            queries=[
                {
                    "collection": "docs",
                    "vector": {"values": [1.0, 2.0]},
                    "limit": 10,
                    "params": {"probes": 3, "iterative_scan": "ITERATIVE_SCAN_RELAXED"},
                    "metadata_keys": ["k"],
                },
                {
                    "collection": "docs",
                    "id": "a",
                    "limit": 10,
                    "params": {"max_scan_tuples": 5},
                    "path": "ACCESS_PATH_FDW",
                },
            ]
        )
    ]
    assert isinstance(missing, podroute.NotFound)
    assert (missing.reason, missing.metadata, missing.message) == ("POD_DOWN", {"pod": "docs"}, "pod docs is down")
    assert found == podroute.QueryResult(matches=(), route=VIA_DOCS, complete=False, incomplete_reason="scan_limited")
    assert [each.reason for each in (nothing, unreadable)] == ["OUTCOME_MISSING", "METADATA_UNREADABLE"]
    assert (type(new), new.code) == (podroute.Error, grpc.StatusCode.UNKNOWN)


@pytest.mark.parametrize(
    ("arguments", "field"),
    [
        ({"iterative_scan": "on"}, "iterative_scan"),
        ({"metadata_keys": "k"}, "metadata_keys"),
        ({"metadata_keys": []}, "metadata_keys"),
        ({"metadata_keys": [1]}, "metadata_keys"),
        ({"probes": "many"}, "query"),
    ],
    ids=str,
)
async def test_a_query_that_cannot_be_sent_is_refused_before(
    client: Either, router: Router, arguments: dict[str, Any], field: str
) -> None:
    with pytest.raises(podroute.InvalidArgument) as caught:
        await client.ask("query", "docs", [1.0, 2.0], **arguments)
    assert [violation.field for violation in caught.value.violations] == [field]
    with pytest.raises(podroute.InvalidArgument) as caught:
        await client.ask("batch_query", [podroute.Query("docs", [1.0, 2.0], **arguments)])
    assert [violation.field for violation in caught.value.violations] == [f"queries[0].{field}"]
    assert router.requests == []
