"""The names of foreign tables say whose they are."""

from __future__ import annotations

import pytest
from podroute_fdw import objects

COLLECTIONS = {"docs", "alpha"}
PODS = {"alpha", "beta"}


@pytest.mark.parametrize(
    "table",
    [
        objects.read_table("docs").name,
        objects.upsert_table("docs").name,
        objects.read_table("alpha").name,
        objects.upsert_table("alpha").name,
        objects.control_table("alpha").name,
        objects.control_table("beta").name,
    ],
)
def test_the_tables_of_collections_and_pods_are_theirs(table: str) -> None:
    assert objects.is_of(table, COLLECTIONS, PODS)


@pytest.mark.parametrize(
    "table",
    [
        objects.read_table("gone").name,
        objects.upsert_table("gone").name,
        objects.control_table("gone").name,
        objects.control_table("docs").name,
        objects.read_table("beta").name,
        objects.upsert_table("beta").name,
        "docs:",
        "docs:other",
        "docs:upsert:",
        "",
        ":upsert",
        ":control",
    ],
)
def test_no_other_table_is_anyones(table: str) -> None:
    assert not objects.is_of(table, COLLECTIONS, PODS)
