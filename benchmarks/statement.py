"""The router's own statement for a query, for the peers that ask without it."""

from __future__ import annotations

from typing import Any

from podroute_router.domain import Metric
from podroute_router.sql import statements


def nearest(database: dict[str, Any]) -> str:
    """The nearest records by id and distance; $1 is the vector.

    Args:
        database: `schema` and `table` of the collection, `vector_schema`, `metric` and `limit`.
    """
    return statements.query(
        statements.Relation(database["schema"], database["table"]),
        database["vector_schema"],
        Metric(database["metric"]),
        database["limit"],
        filtered=False,
        exact=False,
        include_metadata=False,
        include_vector=False,
    )
