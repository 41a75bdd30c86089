"""Adapters make vectors of what a program writes and asks for."""

from podroute.vecs.adapter.base import Adapter, AdapterContext, AdapterStep
from podroute.vecs.adapter.markdown import MarkdownChunker
from podroute.vecs.adapter.noop import NoOp
from podroute.vecs.adapter.text import ParagraphChunker, TextEmbedding, TextEmbeddingModel

__all__ = [
    "Adapter",
    "AdapterContext",
    "AdapterStep",
    "MarkdownChunker",
    "NoOp",
    "ParagraphChunker",
    "TextEmbedding",
    "TextEmbeddingModel",
]
