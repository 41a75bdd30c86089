"""Messages as callers send them, and the refusal of one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from podroute.v1 import filter_pb2, record_pb2
from podroute.v1 import vector_service_pb2 as vectors_pb
from podroute_router.config import Limits
from podroute_router.domain import (
    AccessPath,
    Route,
)
from podroute_router.errors import InvalidArgument

LIMITS = Limits(max_limit=100, max_records=3, max_fetch_ids=2)
ROUTE = Route(path=AccessPath.FDW, pods=("docs",), map_revision=7, on_primary=True)
VECTOR = record_pb2.Vector(values=[1, 2])

YEAR = filter_pb2.Comparison(path=["year"], operator=filter_pb2.OPERATOR_EQ, values=[{"int64_value": 2012}])
IS_2012 = filter_pb2.Filter(comparison=YEAR)


def refusal(convert: Callable[..., Any], *arguments: Any) -> tuple[str, str | None]:
    with pytest.raises(InvalidArgument) as caught:
        convert(*arguments)
    assert caught.value.message == f"{caught.value.field}: {caught.value.problem}"
    return caught.value.reason, caught.value.field


def record(**fields: Any) -> record_pb2.Record:
    return record_pb2.Record(**{"id": "a", "vector": VECTOR, **fields})


def upsert(*records: record_pb2.Record) -> vectors_pb.UpsertRequest:
    return vectors_pb.UpsertRequest(collection="docs", records=records)


def query(**fields: Any) -> vectors_pb.QueryRequest:
    return vectors_pb.QueryRequest(**{"collection": "docs", "vector": VECTOR, **fields})
