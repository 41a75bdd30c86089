"""Clustered synthetic vectors with a fixed seed, and their true neighbours."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Vectors = NDArray[np.float32]

SEED = 20_240_607
RECORDS_PER_CLUSTER = 200
INTRINSIC_DIMENSION = 32
"""Embeddings vary in far fewer directions than they have components; an HNSW index finds its way by that."""
CLUSTER_WIDTH = 2.0
NOISE = 0.02


@dataclass(frozen=True, slots=True, kw_only=True)
class Dataset:
    """Records and queries of one distribution, and the true answers by cosine distance."""

    records: Vectors
    """Shape (records, dimension). The record at `i` has the id `record_id(i)`."""
    queries: Vectors
    """Shape (queries, dimension); none is a record."""
    neighbours: NDArray[Any]
    """Shape (queries, k): positions of the nearest records, in no order."""

    def recall(self, answers: Sequence[Sequence[str]]) -> float:
        """Share of the true neighbours among the ids answered, the queries in their order."""
        found = sum(
            len({record_id(int(i)) for i in truth} & set(answer))
            for truth, answer in zip(self.neighbours, answers, strict=True)
        )
        return found / self.neighbours.size


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
        near = centres[random.integers(len(centres), size=count)]
        inner = near + CLUSTER_WIDTH * random.standard_normal((count, latent), dtype=np.float32)
        noise = NOISE * random.standard_normal((count, dimension), dtype=np.float32)
        drawn: Vectors = (inner @ embedding + noise).astype(np.float32)
        return drawn

    stored, asked = draw(records), draw(queries)
    return Dataset(records=stored, queries=asked, neighbours=_nearest(stored, asked, neighbours))


def _nearest(records: Vectors, queries: Vectors, count: int) -> NDArray[Any]:
    likeness = _unit(queries) @ _unit(records).T
    nearest: NDArray[Any] = np.argpartition(-likeness, count - 1, axis=1)[:, :count]
    return nearest


def _unit(vectors: Vectors) -> Vectors:
    unit: Vectors = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    return unit
