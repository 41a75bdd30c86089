"""Adapters: what becomes of records on their way in, and of queries."""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any, ClassVar

import numpy as np
import pytest
from podroute.vecs import exc
from podroute.vecs.adapter import (
    Adapter,
    AdapterContext,
    AdapterStep,
    MarkdownChunker,
    NoOp,
    ParagraphChunker,
    TextEmbedding,
)
from podroute.vecs.adapter.base import Incoming, Outgoing

UPSERT, QUERY = AdapterContext.upsert, AdapterContext.query


class Lengths(AdapterStep):
    """A vector of one number for a text."""

    @property
    def exported_dimension(self) -> int | None:
        return 1

    def __call__(self, records: Incoming, adapter_context: AdapterContext) -> Outgoing:
        for record_id, text, metadata in records:
            yield record_id, [len(text)], metadata or {}


class Model:
    """Stands in for a model of sentence-transformers: the length of a text is its vector."""

    made: ClassVar[list[tuple[str, dict[str, Any]]]] = []

    def __init__(self, name: str, **access: Any) -> None:
        self.made.append((name, access))
        self.batches: list[list[str]] = []

    def get_sentence_embedding_dimension(self) -> int:
        return 1

    def encode(self, texts: list[str], *, normalize_embeddings: bool) -> np.ndarray:
        assert normalize_embeddings
        self.batches.append(texts)
        return np.array([[len(text)] for text in texts], dtype=np.float32)


@pytest.fixture
def library(monkeypatch: pytest.MonkeyPatch) -> type[Model]:
    """sentence-transformers, as far as it is used."""
    module = ModuleType("sentence_transformers")
    module.SentenceTransformer = Model  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "sentence_transformers", module)
    monkeypatch.setattr(Model, "made", [])
    return Model


def test_records_pass_as_they_are_with_metadata_that_is_there() -> None:
    assert list(NoOp(dimension=2)([("a", [1, 2], None), ("b", "x", {"k": 1})], UPSERT)) == [
        ("a", [1, 2], {}),
        ("b", "x", {"k": 1}),
    ]


def test_paragraphs_become_records() -> None:
    step = ParagraphChunker(skip_during_query=True)
    assert list(step([("a", "one\n\ntwo\nlines", {"k": 1})], UPSERT)) == [
        ("a_para_000", "one", {"k": 1}),
        ("a_para_001", "two\nlines", {"k": 1}),
    ]
    assert list(step([("", "one\n\ntwo", None)], QUERY)) == [("", "one\n\ntwo", {})]
    assert len(list(ParagraphChunker(skip_during_query=False)([("", "one\n\ntwo", None)], QUERY))) == 2


def test_sections_become_records() -> None:
    step = MarkdownChunker(skip_during_query=True)
    text = "before\n# First\ntext\n## Second\n#none\n"
    assert [(record_id, part) for record_id, part, _ in step([("a", text, None)], UPSERT)] == [
        ("a_head_000", "before\n"),
        ("a_head_001", "# First\ntext\n"),
        ("a_head_002", "## Second\n#none\n"),
    ]
    assert list(step([("", text, None)], QUERY)) == [("", text, {})]
    assert list(step([("a", "", None)], UPSERT)) == []


def test_long_sections_are_cut_at_spaces() -> None:
    assert list(MarkdownChunker.split_by_heading("# a b c\n# d", 2)) == ["# a", "b c\n", "# d"]
    with pytest.raises(ValueError, match="max_tokens"):
        list(MarkdownChunker(skip_during_query=True)([("a", "x", None)], UPSERT, max_tokens=0))


def test_the_last_step_that_knows_the_dimension_says_it() -> None:
    chunker = ParagraphChunker(skip_during_query=True)
    assert Adapter([chunker]).exported_dimension is None
    assert Adapter([chunker, Lengths(), chunker]).exported_dimension == 1
    assert Adapter([NoOp(3), Lengths()]).exported_dimension == 1


def test_steps_follow_each_other() -> None:
    adapter = Adapter([ParagraphChunker(skip_during_query=True), Lengths()])
    assert list(adapter([("a", "one\n\nthree", None)], UPSERT)) == [("a_para_000", [3], {}), ("a_para_001", [5], {})]


def test_records_are_taken_as_they_are_needed() -> None:
    taken = []

    def records() -> Any:
        for number in range(3):
            taken.append(number)
            yield str(number), "text", None

    made = Adapter([ParagraphChunker(skip_during_query=True), Lengths()])(records(), UPSERT)
    assert next(made) == ("0_para_000", [4], {})
    assert taken == [0]


def test_an_adapter_needs_a_step() -> None:
    with pytest.raises(exc.ArgError, match="at least 1 step"):
        Adapter([])


def test_texts_are_embedded_in_batches(library: type[Model]) -> None:
    step = TextEmbedding(model="all-MiniLM-L6-v2", batch_size=2)
    embedded = list(step([("a", "x", None), ("b", "xx", {"k": 1}), ("c", "xxx", None)], UPSERT))
    assert [(record_id, vector.tolist(), metadata) for record_id, vector, metadata in embedded] == [
        ("a", [1], {}),
        ("b", [2], {"k": 1}),
        ("c", [3], {}),
    ]
    assert step.model.batches == [["x", "xx"], ["xxx"]]
    assert step.exported_dimension == 1
    assert library.made == [("all-MiniLM-L6-v2", {})]


def test_a_token_is_handed_on(library: type[Model]) -> None:
    TextEmbedding(model="all-MiniLM-L6-v2", use_auth_token="word")
    assert library.made == [("all-MiniLM-L6-v2", {"token": "word"})]


def test_without_the_library_there_is_no_embedding(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sentence_transformers", None)
    with pytest.raises(exc.MissingDependency, match="pip install sentence-transformers") as missing:
        TextEmbedding(model="all-MiniLM-L6-v2")
    assert isinstance(missing.value, ImportError)
