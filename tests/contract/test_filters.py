"""A filter selects the same records on every backend: those that docs/filters.md says."""

from __future__ import annotations

from collections.abc import AsyncIterator

import numpy as np
import pytest
import pytest_asyncio
from podroute_memory.filters import make_predicate, parse_document
from podroute_router.domain import Collection, Metric, Query, Record, SearchParams, Selection
from podroute_router.filters import (
    MAX_DEPTH,
    MAX_KEY_BYTES,
    MAX_NODES,
    MAX_PATH,
    MAX_STRING_BYTES,
    ORDERING,
    AllOf,
    AnyOf,
    Comparison,
    Filter,
    Negated,
    Operator,
    check_filter,
)

from .filter_cases import CASES, DOCUMENTS, EQ, EXISTS, IN, OPERANDS, Case, compare
from .harness import Harness

RECORDS = [
    Record(id=name, vector=np.array([number], np.float32), metadata=text)
    for number, (name, text) in enumerate(DOCUMENTS.items())
]


@pytest_asyncio.fixture(scope="module")
async def documents(harness: Harness) -> AsyncIterator[Collection]:
    async with harness.collection(1, RECORDS) as collection:
        yield collection


async def selected(harness: Harness, collection: Collection, filter: Filter) -> set[str]:
    """The ids that a query finds with the filter, which passes the router's own check."""
    check_filter(filter)
    query = Query(
        vector=np.zeros(1, np.float32), limit=1000, metric=Metric.L2, filter=filter, params=SearchParams(exact=True)
    )
    return {match.id for match in (await harness.backend.query(collection, query, harness.deadline())).matches}


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.label)
async def test_a_filter_selects_what_the_table_says(harness: Harness, documents: Collection, case: Case) -> None:
    assert await selected(harness, documents, case.filter) == case.selects
    assert await harness.backend.count(documents, case.filter, harness.deadline()) == len(case.selects)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.label)
async def test_its_negation_selects_the_rest(harness: Harness, documents: Collection, case: Case) -> None:
    assert await selected(harness, documents, Negated(case.filter)) == set(DOCUMENTS) - case.selects


@pytest.mark.parametrize("operator", [operator for operator in Operator if operator is not EXISTS])
async def test_every_operand_selects_what_the_oracle_says(
    harness: Harness, documents: Collection, operator: Operator
) -> None:
    parsed = {name: parse_document(text) for name, text in DOCUMENTS.items()}
    for operand in OPERANDS:
        if operand is None and operator in ORDERING:
            continue
        condition = compare(operator, operand)
        expected = {name for name, document in parsed.items() if make_predicate(condition)(document)}
        assert await selected(harness, documents, condition) == expected, condition


@pytest.mark.parametrize("case", CASES[::7], ids=lambda case: case.label)
async def test_a_delete_takes_what_its_filter_selects(harness: Harness, case: Case) -> None:
    async with harness.collection(1, RECORDS) as collection:
        selection = Selection(filter=case.filter)
        assert await harness.backend.delete(collection, selection, harness.deadline()) == len(case.selects)
        assert await selected(harness, collection, compare(EXISTS)) == await selected(
            harness, collection, AllOf((compare(EXISTS), Negated(case.filter)))
        )
        assert await harness.backend.count(collection, None, harness.deadline()) == len(DOCUMENTS) - len(case.selects)


async def test_the_largest_filters_that_are_allowed_work(harness: Harness, documents: Collection) -> None:
    deepest: Filter = compare(EQ, "b")
    for _ in range(MAX_DEPTH - 1):
        deepest = Negated(deepest)
    assert await selected(harness, documents, deepest) == set(DOCUMENTS) - {"b"}

    widest = AnyOf(tuple(compare(EQ, number) for number in range(MAX_NODES - 1)))
    assert await selected(harness, documents, widest) == {"-0", "1", "1.0", "1e2"}

    longest = compare(IN, "b", "é" * (MAX_STRING_BYTES // 2))
    assert await selected(harness, documents, longest) == {"b"}

    farthest = Comparison(tuple("é" * (MAX_KEY_BYTES // 2) for _ in range(MAX_PATH)), EXISTS)
    assert await selected(harness, documents, farthest) == set()
