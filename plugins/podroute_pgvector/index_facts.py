"""Reads which indexes a table has from the system catalogs; names tell nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from podroute_router.domain import Hnsw, Index, IndexMethod, IvfFlat, MetadataGin, Metric
from podroute_router.postgres.connection import Connection, Row
from podroute_router.sql.statements import OPERATOR_CLASSES

DEFAULT_M = 16
DEFAULT_EF_CONSTRUCTION = 64
DEFAULT_LISTS = 100
"""What pgvector takes where an index names no parameters."""

_INDEXES = """
select t.relname, c.relname, a.amname, o.opcname, coalesce(c.reloptions, '{}'), pg_relation_size(c.oid), i.indisvalid,
       exists (select from pg_constraint k where k.conindid = c.oid and k.contype in ('p', 'u', 'x')),
       case when i.indnatts = 1 and i.indpred is null then v.attname end
from pg_index i
join pg_class t on t.oid = i.indrelid
join pg_namespace n on n.oid = t.relnamespace
join pg_class c on c.oid = i.indexrelid
join pg_am a on a.oid = c.relam
join pg_opclass o on o.oid = i.indclass[0]
left join pg_attribute v on v.attrelid = i.indrelid and v.attnum = i.indkey[0]
where n.nspname = $1 and ($2::text[] is null or t.relname = any($2::text[]))
order by c.relname collate "C"
"""
_METRICS = {name: metric for metric, name in OPERATOR_CLASSES.items()}
_GIN_CLASSES = ("jsonb_path_ops", "jsonb_ops")


@dataclass(frozen=True, slots=True)
class Standing:
    """An index as it stands. `is_constraint`: a primary key, or another constraint, rests on it."""

    table: str
    index: Index
    is_constraint: bool


async def read(connection: Connection, schema: str, tables: Sequence[str] | None) -> list[Standing]:
    """The indexes of the tables of these names, or of all in the schema, by name."""
    names = None if tables is None else list(tables)
    rows = await (await connection.execute(_INDEXES, (schema, names))).fetchall()
    return [_standing(row) for row in rows]


def _standing(row: Row) -> Standing:
    table, name, access_method, operator_class, options, size_bytes, valid, is_constraint, column = row
    metric: Metric | None = None
    method: IndexMethod | None = None
    if column == "vec" and operator_class in _METRICS:
        method = _of_vectors(access_method, dict(option.split("=", 1) for option in options))
        metric = None if method is None else _METRICS[operator_class]
    elif column == "metadata" and access_method == "gin" and operator_class in _GIN_CLASSES:
        method = MetadataGin()
    index = Index(name=name, metric=metric, method=method, size_bytes=size_bytes, valid=valid)
    return Standing(table, index, is_constraint)


def _of_vectors(access_method: str, options: Mapping[str, str]) -> Hnsw | IvfFlat | None:
    match access_method:
        case "hnsw":
            return Hnsw(
                m=int(options.get("m", DEFAULT_M)),
                ef_construction=int(options.get("ef_construction", DEFAULT_EF_CONSTRUCTION)),
            )
        case "ivfflat":
            return IvfFlat(lists=int(options.get("lists", DEFAULT_LISTS)))
    return None
