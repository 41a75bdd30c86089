"""Explain, between the contract and the core. Pure; what is explained is checked as the call itself would be."""

from __future__ import annotations

from podroute.v1 import shard_map_service_pb2

from podroute_router.api.filter_requests import to_filter
from podroute_router.api.requests import to_path, to_search, to_selection
from podroute_router.api.responses import from_finding, from_route
from podroute_router.config import Limits
from podroute_router.domain import AccessPath, Counting, Explanation, Route, Search, Selection
from podroute_router.errors import InvalidArgument
from podroute_router.names import check_collection_name


def to_explained(
    request: shard_map_service_pb2.ExplainRequest, limits: Limits
) -> tuple[str, Search | Counting | Selection, AccessPath]:
    """The collection, what is asked of it, and on which path. A field at fault is named as of the call itself."""
    asked: Search | Counting | Selection
    match request.WhichOneof("request"):
        case "query":
            name, path, asked = request.query.collection, request.query.path, to_search(request.query, limits)
        case "count":
            condition = to_filter(request.count.filter) if request.count.HasField("filter") else None
            name, path, asked = request.count.collection, request.count.path, Counting(filter=condition)
        case "delete":
            if request.analyze:
                raise InvalidArgument("ANALYZE", "analyze", "would delete the records; only queries and counts are run")
            name, path, asked = request.delete.collection, request.delete.path, to_selection(request.delete, limits)
        case _:
            raise InvalidArgument("REQUEST_MISSING", "request", "give the query, count or delete to explain")
    return check_collection_name(name, "collection"), asked, to_path(path)


def from_explanation(explanation: Explanation, route: Route) -> shard_map_service_pb2.ExplainResponse:
    """How a call would be run."""
    return shard_map_service_pb2.ExplainResponse(
        sql=explanation.sql,
        settings=explanation.settings,
        remote_sql=explanation.remote_sql,
        plan=explanation.plan,
        findings=map(from_finding, explanation.findings),
        route=from_route(route),
    )
