"""The words of vecs for indexes, and what podroute calls the same."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from podroute.values import Index, Metric
from podroute.values import IndexMethod as Method
from podroute.vecs.exc import ArgError


class IndexMethod(str, Enum):  # noqa: UP042 (str() of a StrEnum differs)
    """The kinds of index; auto: HNSW."""

    auto = "auto"
    ivfflat = "ivfflat"
    hnsw = "hnsw"


class IndexMeasure(str, Enum):  # noqa: UP042
    """The distances that queries order by and that indexes serve."""

    cosine_distance = "cosine_distance"
    l2_distance = "l2_distance"
    max_inner_product = "max_inner_product"
    l1_distance = "l1_distance"


@dataclass
class IndexArgsIVFFlat:
    """Parameters of an IVFFlat index.

    Attributes:
        n_lists: lists that vectors are divided into, 1 to 32768.
    """

    n_lists: int


@dataclass
class IndexArgsHNSW:
    """Parameters of an HNSW index; None leaves the default.

    Attributes:
        m: links a node, 2 to 100.
        ef_construction: size of the candidate list while building, 4 to 1000 and at least 2 * m.
    """

    m: int | None = 16
    ef_construction: int | None = 64


IndexArgs = IndexArgsIVFFlat | IndexArgsHNSW

METRICS: dict[str | None, Metric] = {
    IndexMeasure.cosine_distance: "cosine",
    IndexMeasure.l2_distance: "l2",
    IndexMeasure.max_inner_product: "inner_product",
    IndexMeasure.l1_distance: "l1",
}
"""Measures to metrics. A measure is found by its enumerator and by its word, which are equal."""


def build_method(method: IndexMethod | str, arguments: IndexArgs | None) -> Method:
    """The index to build; raises ArgError where the method is none, or the arguments are another's."""
    if method not in tuple(IndexMethod):
        raise ArgError("invalid index method")
    if arguments:
        if method == IndexMethod.auto:
            raise ArgError("Index build parameters are not allowed when using the IndexMethod.auto index.")
        owner = IndexMethod.hnsw if isinstance(arguments, IndexArgsHNSW) else IndexMethod.ivfflat
        if method != owner:
            name = type(arguments).__name__
            raise ArgError(f"{name} build parameters were supplied but {method} index was specified.")
    return "ivfflat" if method == IndexMethod.ivfflat else "hnsw"


def serving(indexes: tuple[Index, ...]) -> list[Index]:
    """Those that serve queries."""
    return [index for index in indexes if index.valid and index.metric != "unknown" and index.method != "unknown"]


def covering(indexes: list[Index], metric: Metric) -> Index | None:
    """The one that serves queries of a metric, if there is any."""
    return next((index for index in indexes if index.metric == metric), None)
