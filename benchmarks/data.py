"""Clustered synthetic vectors with a fixed seed, and their true neighbours."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

Vectors = NDArray[np.float32]
Metric: TypeAlias = Literal["cosine", "l2"]

SEED = 20_240_607
RECORDS_PER_CLUSTER = 200
INTRINSIC_DIMENSION = 32
"""Embeddings vary in far fewer directions than they have components; an HNSW index finds its way by that."""
CLUSTER_WIDTH = 2.0
NOISE = 0.02
CHUNK = 50_000
"""Records that are looked at together."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Dataset:
    """Records and queries of one distribution, and the true answers by cosine distance."""

    records: Vectors
    """Shape (records, dimension). The record at `i` has the id `record_id(i)`."""
    queries: Vectors
    """Shape (queries, dimension); none is a record."""
    neighbours: NDArray[Any]
    """Shape (queries, k): positions of the nearest records, in no order."""
    metric: Metric = "cosine"

    def recall(self, answers: Sequence[Sequence[str]], first: int = 0) -> float:
        """Share of the true neighbours among the ids answered to the queries from `first` on, in their order."""
        asked = self.neighbours[first : first + len(answers)]
        found = sum(
            len({record_id(int(i)) for i in truth} & set(answer)) for truth, answer in zip(asked, answers, strict=True)
        )
        return found / asked.size


def record_id(position: int) -> str:
    """The id of the record at a position."""
    return f"record-{position:08d}"


def make_dataset(*, records: int, dimension: int, queries: int, neighbours: int) -> Dataset:
    """The same dataset for the same arguments."""
    random = np.random.default_rng(SEED)
    latent = min(INTRINSIC_DIMENSION, dimension)
    centres = random.standard_normal((max(1, records // RECORDS_PER_CLUSTER), latent), dtype=np.float32)
    embedding = random.standard_normal((latent, dimension), dtype=np.float32) / np.float32(np.sqrt(latent))

    def draw(count: int) -> Vectors:
        drawn: Vectors = np.empty((count, dimension), dtype=np.float32)
        for start in range(0, count, CHUNK):
            part = drawn[start : start + CHUNK]
            near = centres[random.integers(len(centres), size=len(part))]
            inner = near + CLUSTER_WIDTH * random.standard_normal((len(part), latent), dtype=np.float32)
            noise = NOISE * random.standard_normal(part.shape, dtype=np.float32)
            np.add(inner @ embedding, noise, out=part)
        return drawn

    stored, asked = draw(records), draw(queries)
    return Dataset(records=stored, queries=asked, neighbours=_nearest(stored, asked, neighbours))


def load_dataset(file: Path, *, neighbours: int) -> Dataset:
    """Real vectors with their true neighbours by Euclidean distance.

    Args:
        file: .npz with `base` (records, dimension), `queries` (queries, dimension), and `neighbors` (queries, k or
            more): positions in `base`, nearest first.
        neighbours: k.
    """
    with np.load(file) as arrays:
        return Dataset(
            records=arrays["base"].astype(np.float32),
            queries=arrays["queries"].astype(np.float32),
            neighbours=arrays["neighbors"][:, :neighbours].astype(np.int64),
            metric="l2",
        )


def _nearest(records: Vectors, queries: Vectors, count: int) -> NDArray[Any]:
    """By cosine distance; in chunks, so that a million records take no more memory than what they are."""
    asked = _unit(queries)
    best = np.empty((len(queries), 0), dtype=np.float32)
    positions = np.empty((len(queries), 0), dtype=np.int64)
    for start in range(0, len(records), CHUNK):
        likeness = asked @ _unit(records[start : start + CHUNK]).T
        best = np.concatenate([best, likeness], axis=1)
        here = np.broadcast_to(np.arange(start, start + likeness.shape[1]), likeness.shape)
        positions = np.concatenate([positions, here], axis=1)
        if best.shape[1] > count:
            kept = np.argpartition(-best, count - 1, axis=1)[:, :count]
            best, positions = np.take_along_axis(best, kept, axis=1), np.take_along_axis(positions, kept, axis=1)
    return positions


def _unit(vectors: Vectors) -> Vectors:
    unit: Vectors = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    return unit
