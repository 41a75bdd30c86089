"""The values of podroute.vecs: rows, names, index methods, and how errors become those of vecs."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import numpy as np
import podroute
import pytest
from podroute import vecs
from podroute.values import Index, Placement
from podroute.vecs import exc, naming, rows
from podroute.vecs.indexes import build_method, covering, serving
from podroute.vecs.translation import translated

MATCH = podroute.Match(id="a", distance=0.5, metadata={"k": 1})


def collection(name: str, table: str, pod: str = "alpha") -> podroute.Collection:
    placement = Placement(pod=pod, table_schema="vecs", table_name=table, generation=1)
    return podroute.Collection(name=name, dimension=3, metric="cosine", placement=placement)


def an_index(name: str, **changes: Any) -> Index:
    facts: dict[str, Any] = {"metric": "cosine", "method": "hnsw", "size_bytes": 1, "valid": True} | changes
    return Index(name=name, **facts)


def test_importing_it_brings_in_no_numpy_and_nothing_of_vecs() -> None:
    program = "import json, sys; from podroute import vecs; print(json.dumps(sorted(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
    loaded = {name.partition(".")[0] for name in json.loads(done.stdout)}
    assert "podroute" in loaded
    assert not loaded & {"numpy", "vecs", "sqlalchemy", "flupy", "deprecated", "sentence_transformers"}


def test_a_match_has_what_was_asked_for() -> None:
    assert rows.match_row(MATCH, include_value=False, include_metadata=False) == "a"
    assert rows.match_row(MATCH, include_value=True, include_metadata=False) == ("a", 0.5)
    assert rows.match_row(MATCH, include_value=False, include_metadata=True) == ("a", {"k": 1})
    assert rows.match_row(MATCH, include_value=True, include_metadata=True) == ("a", 0.5, {"k": 1})


def test_rows_are_shown_as_tuples_and_have_names() -> None:
    row: Any = rows.match_row(MATCH, include_value=True, include_metadata=True)
    assert repr(row) == "('a', 0.5, {'k': 1})"
    assert (row.id, row.metadata) == ("a", {"k": 1})
    record = rows.record_row(podroute.Record("a", [1.0, 2.0], {"k": 1}))
    assert repr(record) == "('a', array([1., 2.], dtype=float32), {'k': 1})"


def test_vectors_are_lists_where_numpy_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "numpy", None)
    rows._numpy.cache_clear()
    try:
        assert rows.record_row(podroute.Record("a", [1.0, 2.0], {})) == ("a", [1.0, 2.0], {})
    finally:
        rows._numpy.cache_clear()


@pytest.mark.parametrize(
    ("row", "record"),
    [
        (("a", [1, 2], {"k": 1}), ("a", [1, 2], {"k": 1})),
        (["a", [1, 2], None], ("a", [1, 2], None)),
        (("a", [1, 2]), ("a", [1, 2], None)),
        ({"id": "a", "vec": [1, 2], "metadata": {"k": 1}}, ("a", [1, 2], {"k": 1})),
        ((7, [1, 2], {}), ("7", [1, 2], {})),
    ],
)
def test_a_record_may_come_as_vecs_takes_it(row: object, record: object) -> None:
    assert rows.to_record(row) == record


@pytest.mark.parametrize("row", ["abc", 1, None, ("a",), ("a", [1], {}, 4)])
def test_what_is_no_record_is_refused(row: object) -> None:
    with pytest.raises(exc.ArgError, match="a record is a tuple"):
        rows.to_record(row)


def test_arrays_are_handed_on_as_they_are() -> None:
    vector = np.array([1, 2], dtype=np.float32)
    assert rows.to_record(("a", vector, None))[1] is vector


def test_a_collection_is_listed_by_the_name_that_finds_it() -> None:
    listed = naming.named(
        [
            collection("docs", "docs"),
            collection("my_docs", "My-Docs"),  # adopted
            collection("docs_2", "docs", pod="beta"),  # adopted: there is a collection of the table's name
            collection("left", "Twice"),
            collection("right", "Twice", pod="beta"),  # two tables of one name
        ]
    )
    assert [name for name, _ in listed] == ["docs", "My-Docs", "docs_2", "left", "right"]


@pytest.mark.parametrize("name", ["docs", "a", "a_9", "a" * 48])
def test_names_that_a_collection_may_have(name: str) -> None:
    naming.check_new_name(name)


@pytest.mark.parametrize("name", ["", "Docs", "9a", "_a", "a-b", "a" * 49, "é", 1, None])
def test_names_that_none_may_have(name: Any) -> None:
    with pytest.raises(exc.ArgError, match=r"1 to 48 of \[a-z0-9_\]"):
        naming.check_new_name(name)


@pytest.mark.parametrize(("method", "built"), [("auto", "hnsw"), ("hnsw", "hnsw"), ("ivfflat", "ivfflat")])
def test_methods_are_given_by_enumerator_or_word(method: str, built: str) -> None:
    assert build_method(method, None) == built
    assert build_method(vecs.IndexMethod(method), None) == built


@pytest.mark.parametrize(
    ("method", "arguments"),
    [
        ("auto", vecs.IndexArgsHNSW()),
        ("hnsw", vecs.IndexArgsIVFFlat(5)),
        ("ivfflat", vecs.IndexArgsHNSW()),
        ("flat", None),
        (None, None),
    ],
)
def test_arguments_of_another_method_are_refused(method: Any, arguments: Any) -> None:
    with pytest.raises(exc.ArgError):
        build_method(method, arguments)


def test_an_index_serves_queries_of_its_metric_where_it_is_valid() -> None:
    indexes = serving(
        (
            an_index("being built", valid=False),
            an_index("on metadata", metric="unknown", method="unknown"),
            an_index("serves", metric="l2"),
        )
    )
    assert [index.name for index in indexes] == ["serves"]
    assert covering(indexes, "l2") is indexes[0]
    assert covering(indexes, "cosine") is None


@pytest.mark.parametrize(
    ("error", "becomes"),
    [
        (podroute.FilterError("no"), exc.FilterError),
        (podroute.InvalidArgument("too many", reason="FILTER_TOO_LARGE"), exc.FilterError),
        (podroute.NotFound("none", reason="COLLECTION_NOT_FOUND"), exc.CollectionNotFound),
    ],
)
def test_errors_that_vecs_has_become_its_own(error: podroute.Error, becomes: type[Exception]) -> None:
    with pytest.raises(becomes) as raised, translated():
        raise error
    assert raised.value.__cause__ is error


@pytest.mark.parametrize(
    "error",
    [
        podroute.InvalidArgument("no", reason="DIMENSION_MISMATCH"),
        podroute.NotFound("none", reason="INDEX_NOT_FOUND"),
        podroute.Unavailable("away"),
    ],
)
def test_other_errors_stay_podroutes(error: podroute.Error) -> None:
    with pytest.raises(podroute.Error) as raised, translated():
        raise error
    assert raised.value is error


@pytest.mark.parametrize(
    "address", ["postgresql://u:p@localhost/db", "postgres://localhost", "postgresql+psycopg2://x"]
)
def test_the_address_of_a_database_is_refused(address: str) -> None:
    with pytest.raises(exc.ArgError, match="address of a router"):
        vecs.create_client(address)
