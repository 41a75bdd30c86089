"""Metadata that podroute accepts, PostgreSQL's jsonb accepts too, and hands out again with every number whole."""

from __future__ import annotations

import json
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from podroute_router.embedded import Cluster
from podroute_router.errors import InvalidArgument
from podroute_router.metadata import MAX_BYTES, MAX_DEPTH, check_metadata


@pytest.fixture(scope="module")
def database(cluster: Cluster) -> Iterator[psycopg.Connection[Any]]:
    pod = cluster.pods["alpha"]
    with psycopg.connect(pod.admin_conninfo(pod.database), autocommit=True) as connection:
        yield connection


def accepts(text: str) -> bool:
    try:
        check_metadata(text, "metadata")
    except InvalidArgument:
        return False
    return True


def jsonb(database: psycopg.Connection[Any], text: str) -> str:
    """The text as jsonb stores it and writes it out."""
    row = database.execute("select (%s::text)::jsonb::text", [text]).fetchone()
    assert row is not None
    return str(row[0])


def numbers_kept(text: str) -> object:
    return json.loads(text, parse_int=Decimal, parse_float=Decimal)


# Beyond them podroute refuses what jsonb would write out at length, or keep as 0.
EXPONENTS = r"[-+]?0{0,3}[0-9]{1,4}|-[2-9][0-9]{4,5}"
NUMBERS = st.from_regex(rf"-?(0|[1-9][0-9]{{0,30}})(\.[0-9]{{1,30}})?([eE]({EXPONENTS}))?", fullmatch=True)
ESCAPES = st.one_of(
    st.sampled_from(
        ["\\ud800", "\\udc00", "\\ud83d\\ude00", "\\u0000", "\\u0001", "\\\\", "\\\\u0000", "\\n", '\\"', "\\/"]
    ),
    st.from_regex(r"\\u[0-9a-fA-F]{4}", fullmatch=True),
    st.text(st.characters(exclude_categories=["Cs"], exclude_characters='"\\'), max_size=3),
)
STRINGS = st.lists(ESCAPES, max_size=4).map(lambda parts: f'"{"".join(parts)}"')
SCALARS = st.one_of(
    NUMBERS, STRINGS, st.sampled_from(["true", "false", "null", "NaN", "-Infinity", "01", "+1", ".5", "1."])
)
SPACES = st.sampled_from(["", " ", "\n\t", "\u00a0", "\f"])


def _containers(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    arrays = st.tuples(SPACES, st.lists(inner, max_size=3)).map(lambda parts: f"[{parts[0]}{','.join(parts[1])}]")
    pairs = st.tuples(STRINGS, SPACES, inner).map(lambda parts: f"{parts[0]}{parts[1]}:{parts[2]}")
    return arrays | st.lists(pairs, max_size=3).map(lambda members: f"{{{','.join(members)}}}")


DOCUMENTS = st.recursive(SCALARS, _containers, max_leaves=6)
OBJECTS = st.tuples(STRINGS, DOCUMENTS).map(lambda parts: f"{{{parts[0]}: {parts[1]}}}")


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=OBJECTS | DOCUMENTS)
def test_what_is_accepted_jsonb_takes_and_gives_back(database: psycopg.Connection[Any], text: str) -> None:
    if accepts(text):
        assert numbers_kept(jsonb(database, text)) == numbers_kept(text)


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=OBJECTS)
def test_an_object_that_is_refused_jsonb_refuses_too(database: psycopg.Connection[Any], text: str) -> None:
    if not accepts(text):
        with pytest.raises(psycopg.DataError):
            jsonb(database, text)


@pytest.mark.parametrize(
    "text",
    [
        '{"n": 1e16382}',
        '{"n": 1e-16382}',
        '{"n": 0.001e16379}',
        '{"n": 0e16382}',
        '{"n": ' + "9" * 131072 + "}",
        '{"n": 0.' + "1" * 16383 + "}",
        '{"a": ' + "[" * (MAX_DEPTH - 1) + "]" * (MAX_DEPTH - 1) + "}",
        '{"a": "' + "x" * (MAX_BYTES - 9) + '"}',
        '{"a": [' + ",".join(["1e16382"] * 4) + "]}",
    ],
    ids=[
        "largest",
        "smallest",
        "largest_below_one",
        "zero",
        "most_digits",
        "longest_fraction",
        "deepest",
        "longest",
        "most_digits_together",
    ],
)
def test_what_lies_at_a_bound_is_taken_whole(database: psycopg.Connection[Any], text: str) -> None:
    assert accepts(text)
    assert numbers_kept(jsonb(database, text)) == numbers_kept(text)


@pytest.mark.parametrize(
    "text", ['{"n": 1e131072}', '{"n": 0e-16384}', '{"n": 1e-16384}', '{"n": ' + "9" * 131073 + "}"]
)
def test_what_lies_beyond_numeric_is_refused_by_both(database: psycopg.Connection[Any], text: str) -> None:
    assert not accepts(text)
    with pytest.raises(psycopg.DataError):
        jsonb(database, text)
