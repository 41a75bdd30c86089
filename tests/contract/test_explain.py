"""Every backend says how it would run a call, and does not run it."""

from __future__ import annotations

import numpy as np
import pytest
from podroute_router.domain import Counting, Explainable, Metric, Query, Record, SearchParams, Selection
from podroute_router.filters import Comparison, Operator

from contract.harness import Harness

VECTOR = np.array([1, 2, 3], dtype=np.float32)
RECORDS = [Record(id=str(i), vector=VECTOR, metadata=f'{{"n": {i}}}') for i in range(5)]
FILTER = Comparison(("n",), Operator.GTE, (2,))
NAMED_RELATION = {"pgvector": "vecs", "fdw": "podroute_fdw", "fdw_on_primary": "vecs"}

ASKED: dict[str, Explainable] = {
    "query": Query(vector=VECTOR, limit=3, metric=Metric.L2),
    "filtered query": Query(
        vector=VECTOR,
        limit=3,
        metric=Metric.L2,
        filter=FILTER,
        include_metadata=True,
        metadata_keys=("n",),
        include_vector=True,
        params=SearchParams(ef_search=77),
    ),
    "exact query": Query(vector=VECTOR, limit=3, metric=Metric.COSINE, params=SearchParams(exact=True)),
    "count": Counting(),
    "filtered count": Counting(filter=FILTER),
    "delete by ids": Selection(ids=("1", "it's")),
    "delete by filter": Selection(filter=FILTER),
}


@pytest.mark.parametrize("asked", ASKED.values(), ids=ASKED.keys())
async def test_a_call_is_explained_and_not_run(harness: Harness, asked: Explainable) -> None:
    async with harness.collection(3, RECORDS) as collection:
        found = await harness.backend.explain(collection, asked, harness.deadline())
        assert found.plan
        assert await harness.backend.count(collection, None, harness.deadline()) == len(RECORDS)
        if harness.name not in NAMED_RELATION:
            return
        assert f'"{NAMED_RELATION[harness.name]}"."{collection.name}"' in found.sql
        assert bool(found.remote_sql) is (harness.name == "fdw")
        assert not any(finding.blocking for finding in found.findings)
        is_tuned = isinstance(asked, Query) and asked.params.ef_search is not None
        assert dict(found.settings) == ({"hnsw.ef_search": "77"} if is_tuned else {})


async def test_a_query_and_a_count_can_be_run_to_be_explained(harness: Harness) -> None:
    async with harness.collection(3, RECORDS) as collection:
        for name in ("filtered query", "filtered count"):
            found = await harness.backend.explain(collection, ASKED[name], harness.deadline(), analyze=True)
            assert ("actual time" in found.plan) is (harness.name in NAMED_RELATION)
