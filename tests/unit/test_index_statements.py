"""Which lists an IVFFlat index gets, and how indexes are called."""

from __future__ import annotations

import pytest
from podroute_pgvector.index_statements import create_index, index_name, lists_for
from podroute_router.domain import Collection, Hnsw, IvfFlat, MetadataGin, Metric, Placement, WantedIndex

ODD = 'Odd "name"' + "x" * 50
COLLECTION = Collection(
    name="docs", dimension=3, metric=Metric.L2, placement=Placement(pod="alpha", schema="vecs", table=ODD)
)


@pytest.mark.parametrize(
    ("records", "lists"),
    [
        (0, 10),
        (9_999, 10),
        (20_000, 20),
        (1_000_000, 1_000),
        (1_000_001, 1_000),
        (4_000_000, 2_000),
        (10**12, 32_768),
    ],
)
def test_lists_follow_the_number_of_records(records: int, lists: int) -> None:
    assert lists_for(records) == lists


@pytest.mark.parametrize(
    "index",
    [
        WantedIndex(metric=Metric.INNER_PRODUCT, method=Hnsw(m=100, ef_construction=1000)),
        WantedIndex(metric=Metric.COSINE, method=IvfFlat(lists=32_768)),
        WantedIndex(metric=None, method=MetadataGin()),
    ],
    ids=str,
)
def test_a_name_fits_and_a_statement_quotes_the_table(index: WantedIndex) -> None:
    name = index_name(COLLECTION, index)
    assert len(name.encode()) <= 63
    statement = create_index(COLLECTION, index, name, "extensions")
    assert statement.startswith(f'create index concurrently "{name}" on "vecs"."Odd ""name""x')
    if index.metric is not None:
        assert '"extensions"."vector_' in statement
