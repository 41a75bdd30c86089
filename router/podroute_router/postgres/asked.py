"""What is asked of a collection, as a statement and its parameters. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from podroute_router.domain import Query, Selection
from podroute_router.filters import Filter
from podroute_router.sql import statements
from podroute_router.sql.containment import compile_narrowed
from podroute_router.sql.filters import compile_filter
from podroute_router.sql.statements import Relation

Asked = tuple[str, tuple[object, ...]]
Chosen = tuple[str | Sequence[str], ...]
"""A filter's parameters, or the ids."""


def counting(relation: Relation, filter: Filter | None) -> Asked:
    """How many records match; all where the filter is None."""
    parameters = () if filter is None else compile_narrowed(filter)
    return statements.count(relation, filtered=filter is not None, narrowed=len(parameters) > 2), parameters


def deletion(relation: Relation, selection: Selection) -> tuple[str, Chosen]:
    """Deletes the records selected."""
    parameters, narrowed = selection_parameters(selection)
    if selection.filter is not None:
        return statements.delete_matching(relation, narrowed=narrowed), parameters
    return statements.delete_ids(relation), parameters


def selection_parameters(selection: Selection) -> tuple[Chosen, bool]:
    """The ids, or the filter's parameters and whether they are three."""
    if selection.filter is None:
        return (sorted(selection.ids or ()),), False
    parameters = compile_narrowed(selection.filter)
    return parameters, len(parameters) > 2


def searching(vector_schema: str, relation: Relation, query: Query, *, exact: bool) -> Asked:
    """Finds the nearest records; `exact`: in place of what the query says."""
    condition: tuple[str, ...] = ()
    if query.filter is not None:
        condition = compile_narrowed(query.filter) if exact else compile_filter(query.filter)
    chosen = (list(query.metadata_keys),) if query.metadata_keys else ()
    statement = statements.query(
        relation,
        vector_schema,
        query.metric,
        query.limit,
        filtered=query.filter is not None,
        exact=exact,
        include_metadata=query.include_metadata,
        include_vector=query.include_vector,
        choose_keys=bool(chosen),
        narrowed=len(condition) > 2,
    )
    return statement, (query.vector, *condition, *chosen)
