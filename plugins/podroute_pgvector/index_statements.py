"""What a collection's indexes are called, which parameters they get, and the statement that builds one. Pure."""

from __future__ import annotations

import hashlib
import math

from podroute_router.domain import Collection, Hnsw, IndexMethod, IvfFlat, MetadataGin, WantedIndex
from podroute_router.sql.statements import OPERATOR_CLASSES
from psycopg import sql

from podroute_pgvector.index_facts import DEFAULT_EF_CONSTRUCTION, DEFAULT_M
from podroute_pgvector.tables import table

LEAST_LISTS = 10
MOST_LISTS = 32_768


def index_name(collection: Collection, index: WantedIndex) -> str:
    """The name that vecs would give it: operator class and parameters, and seven characters that make it unique."""
    match index.method:
        case Hnsw():
            m, ef_construction = with_defaults(index.method)
            kind = f"{_operator_class(index)}_hnsw_m{m}_efc{ef_construction}"
        case IvfFlat(lists=lists):
            kind = f"{_operator_class(index)}_ivfflat_nl{lists}"
        case MetadataGin():
            kind = "metadata_gin"
    return f"ix_{kind}_{_unique(collection)}"


def name_beside(collection: Collection) -> str:
    """The name of an index until it takes the place of another one. vecs does not take it for an index."""
    return f"podroute_building_{_unique(collection)}"


def with_defaults(hnsw: Hnsw) -> tuple[int, int]:
    """Its m and ef_construction."""
    return hnsw.m or DEFAULT_M, hnsw.ef_construction or DEFAULT_EF_CONSTRUCTION


def lists_for(record_count: int) -> int:
    """How many lists an IVFFlat index of so many records has, as pgvector advises."""
    wanted = record_count // 1000 if record_count <= 1_000_000 else math.isqrt(record_count)
    return min(max(wanted, LEAST_LISTS), MOST_LISTS)


def is_as_wanted(wanted: IndexMethod, standing: IndexMethod | None) -> bool:
    """True where an index that stands has the kind and parameters that are wanted."""
    match wanted, standing:
        case Hnsw(), Hnsw():
            return with_defaults(wanted) == with_defaults(standing)
        case IvfFlat(lists=lists), IvfFlat(lists=has):
            return lists in (None, has)
        case MetadataGin(), MetadataGin():
            return True
    return False


def create_index(collection: Collection, index: WantedIndex, name: str, vector_schema: str) -> str:
    """Builds the index under the name while writes go on. An IVFFlat index has its number of lists."""
    match index.method:
        case Hnsw():
            m, ef_construction = with_defaults(index.method)
            kind = sql.SQL("hnsw (vec {}) with (m = {}, ef_construction = {})").format(
                sql.Identifier(vector_schema, _operator_class(index)), sql.Literal(m), sql.Literal(ef_construction)
            )
        case IvfFlat(lists=lists):
            kind = sql.SQL("ivfflat (vec {}) with (lists = {})").format(
                sql.Identifier(vector_schema, _operator_class(index)), sql.Literal(lists)
            )
        case MetadataGin():
            kind = sql.Composed([sql.SQL("gin (metadata pg_catalog.jsonb_path_ops)")])
    return (
        sql.SQL("create index concurrently {} on {} using {}")
        .format(sql.Identifier(name), table(collection).identifier, kind)
        .as_string()
    )


def _operator_class(index: WantedIndex) -> str:
    if index.metric is None:
        raise ValueError("an index of vectors has a metric")
    return OPERATOR_CLASSES[index.metric]


def _unique(collection: Collection) -> str:
    return hashlib.sha256(collection.placement.table.encode()).hexdigest()[:7]
