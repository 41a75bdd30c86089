"""From a search to the query of a backend, and from what that found to the answer. Pure."""

from __future__ import annotations

import math
from operator import lt

from podroute_router.domain import Collection, Match, Query, QueryResult, Search, SearchParams, Vector
from podroute_router.errors import InvalidArgument


def check_dimension(vector: Vector, collection: Collection, field: str) -> None:
    """Raises InvalidArgument where the collection has vectors of another dimension."""
    if len(vector) != collection.dimension:
        raise InvalidArgument(
            "DIMENSION_MISMATCH",
            field,
            f"has {len(vector)} components, collection {collection.name!r} has {collection.dimension}",
            collection=collection.name,
            dimension=collection.dimension,
        )


def as_query(search: Search, vector: Vector, collection: Collection) -> Query:
    """The search for the neighbours of this vector, with the collection's defaults."""
    check_dimension(vector, collection, "vector")
    return Query(
        vector=vector,
        limit=search.limit,
        metric=search.metric or collection.metric,
        filter=search.filter,
        params=search.params,
        include_metadata=search.include_metadata,
        metadata_keys=search.metadata_keys,
        include_vector=search.include_vector,
    )


def is_plain(search: Search) -> bool:
    """True where it asks for the nearest records and nothing else."""
    return (
        not isinstance(search.target, str)
        and search.filter is None
        and search.max_distance is None
        and search.params == SearchParams()
        and not search.include_vector
        and not search.metadata_keys
    )


def nearest_first(matches: list[Match]) -> list[Match]:
    """By distance, ties by id, NaN last. Most often they are so already, and no two have the same distance."""
    distances = [match.distance for match in matches]
    return matches if all(map(lt, distances, distances[1:])) else sorted(matches, key=_rank)


def finish(result: QueryResult, search: Search) -> QueryResult:
    """Sorted, cut to the limit and trimmed to the greatest distance."""
    matches = nearest_first(result.matches)[: search.limit]
    reason = result.incomplete_reason if len(matches) < search.limit else None  # by id, one more was asked for
    if search.max_distance is not None:
        matches = [match for match in matches if match.distance <= search.max_distance]
    return QueryResult(matches=matches, incomplete_reason=reason)


def _rank(match: Match) -> tuple[bool, float, str]:
    """By distance, NaN last; then by id. Python compares strings by code point."""
    unknown = math.isnan(match.distance)
    return unknown, 0.0 if unknown else match.distance, match.id
