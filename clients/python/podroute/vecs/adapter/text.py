"""The steps for texts: taking them apart, and embedding them."""

from __future__ import annotations

import importlib
from itertools import islice
from typing import Any, Literal

from podroute.vecs.adapter.base import AdapterContext, AdapterStep, Incoming, Outgoing
from podroute.vecs.exc import MissingDependency

TextEmbeddingModel = Literal[
    "all-mpnet-base-v2",
    "multi-qa-mpnet-base-dot-v1",
    "all-distilroberta-v1",
    "all-MiniLM-L12-v2",
    "multi-qa-distilbert-cos-v1",
    "all-MiniLM-L6-v2",
    "multi-qa-MiniLM-L6-cos-v1",
    "paraphrase-multilingual-mpnet-base-v2",
    "paraphrase-albert-small-v2",
    "paraphrase-multilingual-MiniLM-L12-v2",
    "paraphrase-MiniLM-L3-v2",
    "distiluse-base-multilingual-cased-v1",
    "distiluse-base-multilingual-cased-v2",
]
"""Models that vecs names; any other of sentence-transformers does as well."""


class TextEmbedding(AdapterStep):
    """Makes vectors of length 1 of texts, with a model of sentence-transformers.

    Args:
        model: the model's name.
        batch_size: texts that are embedded together.
        use_auth_token: the Hugging Face token for a private model.

    Raises:
        MissingDependency: sentence-transformers is not installed.
    """

    def __init__(self, *, model: TextEmbeddingModel, batch_size: int = 8, use_auth_token: str | None = None) -> None:
        try:
            library = importlib.import_module("sentence_transformers")
        except ImportError as error:
            raise MissingDependency(
                "TextEmbedding needs sentence-transformers. Hint: `pip install sentence-transformers`"
            ) from error
        access = {} if use_auth_token is None else {"token": use_auth_token}
        self.model: Any = library.SentenceTransformer(model, **access)
        self._exported_dimension: int | None = self.model.get_sentence_embedding_dimension()
        self.batch_size = batch_size

    @property
    def exported_dimension(self) -> int | None:
        """Components of the model's vectors."""
        return self._exported_dimension

    def __call__(self, records: Incoming, adapter_context: AdapterContext) -> Outgoing:  # noqa: ARG002
        """The records with vectors in place of texts."""
        waiting = iter(records)
        while batch := list(islice(waiting, self.batch_size)):
            vectors = self.model.encode([text for _, text, _ in batch], normalize_embeddings=True)
            for (record_id, _, metadata), vector in zip(batch, vectors, strict=True):
                yield record_id, vector, metadata or {}


class ParagraphChunker(AdapterStep):
    """Makes a record of each paragraph, called `<id>_para_<number>`. Empty lines part them.

    Args:
        skip_during_query: leave the text of a query whole.
    """

    def __init__(self, *, skip_during_query: bool) -> None:
        self.skip_during_query = skip_during_query

    def __call__(self, records: Incoming, adapter_context: AdapterContext) -> Outgoing:
        """The paragraphs as records, with the metadata of their text."""
        whole = adapter_context == AdapterContext.query and self.skip_during_query
        for record_id, media, metadata in records:
            if whole:
                yield record_id, media, metadata or {}
                continue
            for number, paragraph in enumerate(media.split("\n\n")):
                yield f"{record_id}_para_{number:03}", paragraph, metadata or {}
