"""The statements of the data plane, for any relations that hold a collection.

Identifiers are composed, values are parameters ($1, $2 …). `limit` stands in the text, because postgres_fdw ships a
constant LIMIT under a generic plan but not a parameter.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

from psycopg import sql

from podroute_router.domain import Metric

OPERATORS = {Metric.COSINE: "<=>", Metric.L2: "<->", Metric.INNER_PRODUCT: "<#>", Metric.L1: "<+>"}
"""pgvector's distance operators."""

OPERATOR_CLASSES = {
    Metric.COSINE: "vector_cosine_ops",
    Metric.L2: "vector_l2_ops",
    Metric.INNER_PRODUCT: "vector_ip_ops",
    Metric.L1: "vector_l1_ops",
}
"""pgvector's operator classes of vectors."""

_CONTAINS = sql.SQL("metadata @> {}::jsonb")
_MATCHES = sql.SQL("jsonb_path_exists(metadata, {}::jsonpath, {}::jsonb, true)")
# A key that is missing is left out, one that is null is kept.
_CHOSEN = sql.SQL(
    "(select coalesce(jsonb_object_agg(k, metadata -> k), jsonb_build_object()) "
    "from unnest({}::text[]) as k where metadata ? k)"
)


@dataclass(frozen=True, slots=True)
class Relation:
    """A table, view or foreign table, by schema and name."""

    schema: str
    name: str

    @property
    def identifier(self) -> sql.Identifier:
        """The relation as it stands in SQL."""
        return sql.Identifier(self.schema, self.name)


def vector_type(schema: str) -> sql.Identifier:
    """pgvector's type, wherever the extension is installed."""
    return sql.Identifier(schema, "vector")


def distance(metric: Metric, schema: str, vector: str = "$1") -> sql.Composed:
    """The distance between the column and a parameter."""
    operator = sql.SQL("operator({}.{})").format(sql.Identifier(schema), sql.SQL(OPERATORS[metric]))
    return sql.SQL("vec {} {}::{}").format(operator, sql.SQL(vector), vector_type(schema))


@lru_cache(maxsize=16384)
def query(
    relation: Relation,
    vector_schema: str,
    metric: Metric,
    limit: int,
    *,
    filtered: bool,
    exact: bool,
    include_metadata: bool,
    include_vector: bool,
    choose_keys: bool = False,
    narrowed: bool = False,
) -> str:
    """Nearest records. $1 the vector; filtered: $2 the path, $3 the variables. Rows: id, distance[, metadata][, vec].

    narrowed: filtered, and $4 is what the metadata of every match contains.
    choose_keys: of the metadata only the top-level keys that one more parameter, the last, has.
    exact: the order is by an expression that no index serves.
    """
    measure = distance(metric, vector_schema)
    columns = [sql.SQL("id"), measure]
    if include_metadata:
        columns.append(
            _CHOSEN.format(sql.SQL(f"${2 + 2 * filtered + narrowed}")) if choose_keys else sql.SQL("metadata")
        )
    if include_vector:
        columns.append(_vector(vector_schema))
    statement = sql.SQL("select {columns} from {relation}{where} order by {order} limit {limit}").format(
        columns=sql.SQL(", ").join(columns),
        relation=relation.identifier,
        where=_where(filtered, 2, narrowed=narrowed),
        order=sql.SQL("({}) + 0::float8").format(measure) if exact else measure,
        limit=sql.Literal(limit),
    )
    return statement.as_string()


@lru_cache(maxsize=16384)
def upsert(relation: Relation, vector_schema: str, *, as_text: bool) -> str:
    """Writes records. $1 ids, $2 vectors, $3 metadata texts, of one length and with distinct ids.

    as_text: the relation is a foreign table with columns of text over a view that casts them and resolves conflicts by
    a rule; $2 are texts too.
    """
    # unnest() stands in the list, not in FROM, which would first copy all records into a store of their own.
    if as_text:
        statement = sql.SQL(
            "insert into {relation} (id, vec, metadata) "
            "select unnest($1::text[]), unnest($2::text[]), unnest($3::text[])"
        ).format(relation=relation.identifier)
    else:
        statement = sql.SQL(
            "insert into {relation} (id, vec, metadata) select r.id, r.vec, r.metadata::jsonb from "
            "(select unnest($1::text[]) as id, unnest($2::{vector}[]) as vec, unnest($3::text[]) as metadata) as r "
            "on conflict (id) do update set vec = excluded.vec, metadata = excluded.metadata"
        ).format(relation=relation.identifier, vector=vector_type(vector_schema))
    return statement.as_string()


@lru_cache(maxsize=16384)
def insert_new(relation: Relation, vector_schema: str) -> str:
    """Writes records whose ids are new. $1 ids, $2 vectors, $3 metadata texts, of one length and with distinct ids."""
    # No conflict target: a foreign table takes none.
    statement = sql.SQL(
        "insert into {relation} (id, vec, metadata) select r.id, r.vec, r.metadata::jsonb from "
        "(select unnest($1::text[]) as id, unnest($2::{vector}[]) as vec, unnest($3::text[]) as metadata) as r "
        "on conflict do nothing"
    )
    return statement.format(relation=relation.identifier, vector=vector_type(vector_schema)).as_string()


@lru_cache(maxsize=16384)
def update_existing(relation: Relation, vector_schema: str) -> str:
    """Writes records whose ids exist. Parameters as of `insert_new`."""
    statement = sql.SQL(
        "update {relation} as t set vec = r.vec, metadata = r.metadata::jsonb from "
        "(select unnest($1::text[]) as id, unnest($2::{vector}[]) as vec, unnest($3::text[]) as metadata) as r "
        "where t.id = r.id"
    )
    return statement.format(relation=relation.identifier, vector=vector_type(vector_schema)).as_string()


@lru_cache(maxsize=16384)
def update_existing_foreign(relation: Relation, dimension: int) -> str:
    """The same for a foreign table. $1 ids, $2 all components one after the other as real[], $3 metadata as jsonb[].

    postgres_fdw ships no join with an array, but it does ship each record's place in one.
    """
    statement = sql.SQL(
        "update {relation} set "
        "vec = ($2::real[])[{dimension} * (array_position($1::text[], id) - 1) + 1"
        " : {dimension} * array_position($1::text[], id)], "
        "metadata = ($3::jsonb[])[array_position($1::text[], id)] "
        "where id = any($1::text[])"
    )
    return statement.format(relation=relation.identifier, dimension=sql.Literal(dimension)).as_string()


@lru_cache(maxsize=16384)
def update_metadata(relation: Relation, *, merge: bool, filtered: bool, narrowed: bool = False) -> str:
    """Sets metadata, or merges it in. $1 the new one; $2 the ids, or filtered: $2 the path, $3 the variables.

    narrowed: filtered, and $4 is what the metadata of every match contains.
    """
    return (
        sql.SQL("update {} set metadata = {}$1::jsonb{}")
        .format(
            relation.identifier,
            sql.SQL("metadata || " if merge else ""),
            _where(True, 2, narrowed=narrowed) if filtered else sql.SQL(" where id = any($2::text[])"),
        )
        .as_string()
    )


@lru_cache(maxsize=16384)
def scan(
    relation: Relation,
    vector_schema: str,
    limit: int,
    *,
    filtered: bool,
    include_metadata: bool,
    include_vector: bool,
) -> str:
    """Records after an id. $1 the id; filtered: $2 the path, $3 the variables. Rows: id[, metadata][, vec].

    In the order of the id column's own collation, by which its index is sorted: postgres_fdw ships no other.
    """
    columns: list[sql.Composable] = [sql.SQL("id")]
    if include_metadata:
        columns.append(sql.SQL("metadata"))
    if include_vector:
        columns.append(_vector(vector_schema))
    return (
        sql.SQL("select {} from {}{} id > $1::text order by id limit {}")
        .format(
            sql.SQL(", ").join(columns),
            relation.identifier,
            sql.SQL("{} and").format(_where(True, 2)) if filtered else sql.SQL(" where"),
            sql.Literal(limit),
        )
        .as_string()
    )


@lru_cache(maxsize=16384)
def fetch(relation: Relation, vector_schema: str) -> str:
    """Records by id. $1 the ids. Rows: id, vec, metadata."""
    statement = sql.SQL("select id, {}, metadata from {} where id = any($1::text[])")
    return statement.format(_vector(vector_schema), relation.identifier).as_string()


@lru_cache(maxsize=16384)
def delete_ids(relation: Relation) -> str:
    """Deletes by id. $1 the ids."""
    return sql.SQL("delete from {} where id = any($1::text[])").format(relation.identifier).as_string()


@lru_cache(maxsize=16384)
def delete_matching(relation: Relation, *, narrowed: bool = False) -> str:
    """Deletes by filter. $1 the path, $2 the variables; narrowed: $3 what the metadata of every match contains."""
    return sql.SQL("delete from {}{}").format(relation.identifier, _where(True, 1, narrowed=narrowed)).as_string()


@lru_cache(maxsize=16384)
def delete_returning(relation: Relation, *, filtered: bool, narrowed: bool = False) -> str:
    """Deletes as `delete_matching` does, or as `delete_ids`. Rows: id."""
    delete = delete_matching(relation, narrowed=narrowed) if filtered else delete_ids(relation)
    return f"{delete} returning id"


@lru_cache(maxsize=16384)
def id_sizes(relation: Relation, *, narrowed: bool = False) -> str:
    """Measures the ids that `delete_matching` would delete. One row: the count, and all bytes, null where it is 0."""
    return (
        sql.SQL("select count(*), sum(octet_length(id)) from {}{}")
        .format(relation.identifier, _where(True, 1, narrowed=narrowed))
        .as_string()
    )


@lru_cache(maxsize=16384)
def count(relation: Relation, *, filtered: bool, narrowed: bool = False) -> str:
    """Counts. filtered: $1 the path, $2 the variables; narrowed: $3 as of `delete_matching`. One row: the count."""
    where = _where(filtered, 1, narrowed=narrowed)
    return sql.SQL("select count(*) from {}{}").format(relation.identifier, where).as_string()


def _vector(schema: str) -> sql.Composed:
    """The column without its dimension: a prepared statement outlives a table that is made anew with another one."""
    return sql.SQL("vec::{}").format(vector_type(schema))


def _where(filtered: bool, first: int, *, narrowed: bool = False) -> sql.Composable:
    if not filtered:
        return sql.SQL("")
    predicate = _MATCHES.format(sql.SQL(f"${first}"), sql.SQL(f"${first + 1}"))
    if narrowed:  # first: it takes less time, and spares most records the other
        predicate = sql.SQL("{} and {}").format(_CONTAINS.format(sql.SQL(f"${first + 2}")), predicate)
    return sql.SQL(" where {}").format(predicate)
