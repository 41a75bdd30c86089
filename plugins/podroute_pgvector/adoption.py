"""Finds tables of the vecs layout on a pod, tells what is odd about them, and makes collections of them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from podroute_router.domain import Collection, Finding, FoundTable, Index
from podroute_router.errors import AlreadyExists
from podroute_router.postgres.connection import Connection
from podroute_router.postgres.prepare import COLLECTIONS, OWNER, READER
from podroute_router.sql.statements import Relation
from psycopg import errors, sql

from podroute_pgvector import index_facts
from podroute_pgvector.tables import begin, create_upsert_view, table, upsert_view

_TABLES = """
select c.relname, pg_get_userbyid(c.relowner), pg_has_role($3, c.relowner, 'usage'),
       (select r.rolsuper from pg_roles r where r.oid = c.relowner),
       greatest(c.reltuples, pg_stat_get_live_tuples(c.oid), 0)::bigint, row_security_active(c.oid),
       exists (
           select from pg_policy p
           where p.polrelid = c.oid and p.polpermissive and p.polcmd in ('*', 'r')
             and exists (select from unnest(p.polroles) r where r = 0 or pg_has_role(session_user, r, 'usage'))
       ),
       array(select t.tgname::text from pg_trigger t where t.tgrelid = c.oid and not t.tgisinternal order by 1),
       array(select r.rulename::text from pg_rewrite r where r.ev_class = c.oid order by 1),
       array(
           select p from unnest(array['select', 'insert', 'update', 'delete']) p
           where not has_table_privilege($3, c.oid, p)
       ),
       coalesce((select k.conkey from pg_constraint k where k.conrelid = c.oid and k.contype = 'p'), '{}'),
       exists (select from pg_inherits i where c.oid in (i.inhrelid, i.inhparent))
from pg_class c
join pg_namespace n on n.oid = c.relnamespace and n.nspname = $1
where c.relkind = 'r' and ($2::text[] is null or c.relname = any($2::text[]))
order by c.relname collate "C"
"""
_COLUMNS = """
select c.relname, a.attnum, a.attname, t.typname, format_type(a.atttypid, a.atttypmod), a.atttypmod, a.attnotnull,
       a.atthasdef or a.attidentity <> '' or a.attgenerated <> ''
from pg_class c
join pg_namespace n on n.oid = c.relnamespace and n.nspname = $1
join pg_attribute a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
join pg_type t on t.oid = a.atttypid
where c.relkind = 'r' and ($2::text[] is null or c.relname = any($2::text[]))
order by a.attnum
"""
_SCHEMA_USAGE = "select has_schema_privilege($2, oid, 'usage') from pg_namespace where nspname = $1"
_VIEW_IS_OVER = """
select t.relnamespace::regnamespace::text, t.relname
from pg_rewrite r
join pg_depend d on d.classid = 'pg_rewrite'::regclass and d.objid = r.oid and d.refclassid = 'pg_class'::regclass
join pg_class t on t.oid = d.refobjid and t.oid <> r.ev_class
join pg_class v on v.oid = r.ev_class
where v.relnamespace = $1::regnamespace and v.relname = $2
"""
_LAYOUT = ("id", "vec", "metadata")
_IDS = ("text", "varchar")


@dataclass(frozen=True, slots=True)
class _Column:
    number: int
    name: str
    type_name: str
    declared: str
    modifier: int
    is_not_null: bool
    fills_itself: bool


@dataclass(frozen=True, slots=True)
class _Table:
    """What the system catalogs say of a table.

    `is_owned`: podroute's owner has the rights of its owner. `inherits`: it has records of others, or others of its.
    """

    name: str
    owner: str
    is_owned: bool
    is_of_superuser: bool
    record_estimate: int
    has_row_security: bool
    has_policy: bool
    triggers: list[str]
    rules: list[str]
    missing_privileges: list[str]
    key: list[int]
    inherits: bool
    columns: dict[str, _Column] = field(default_factory=dict)

    @property
    def text(self) -> str:
        """The table as it stands in SQL."""
        return Relation(COLLECTIONS, self.name).identifier.as_string()


async def find(connection: Connection, names: Sequence[str] | None) -> list[FoundTable]:
    """The tables of these names in the schema of collections, or all, by name, with what is odd about each."""
    wanted = None if names is None else list(names)
    usage = await (await connection.execute(_SCHEMA_USAGE, (COLLECTIONS, OWNER))).fetchone()
    if usage is None:  # no schema, no tables
        return []
    rows = await (await connection.execute(_TABLES, (COLLECTIONS, wanted, OWNER))).fetchall()
    tables = {row[0]: _Table(*row) for row in rows}
    for name, *facts in await (await connection.execute(_COLUMNS, (COLLECTIONS, wanted))).fetchall():
        if name in tables:
            column = _Column(*facts)
            tables[name].columns[column.name] = column
    indexes: dict[str, list[Index]] = {name: [] for name in tables}
    for standing in await index_facts.read(connection, COLLECTIONS, wanted):
        if standing.table in indexes and not standing.is_constraint:
            indexes[standing.table].append(standing.index)
    return [_found(each, indexes[name], may_use_schema=usage[0]) for name, each in tables.items()]


async def adopt(connection: Connection, collection: Collection) -> None:
    """Makes the upsert view over a table that stands, and lets podroute's readers read it where podroute may say so.

    Raises:
        AlreadyExists: the view of that name upserts into another table, or another call is making it.
    """
    facts = {"collection": collection.name, "pod": collection.placement.pod}
    try:
        await _adopt(connection, collection, facts)
    except (errors.UniqueViolation, errors.DuplicateObject, errors.DuplicateTable) as error:
        raise AlreadyExists(
            "VIEW_TAKEN", f"another call is making collection {collection.name!r}", facts=facts
        ) from error


async def _adopt(connection: Connection, collection: Collection, facts: Mapping[str, object]) -> None:
    base, view = table(collection), upsert_view(collection)
    async with connection.transaction():
        await begin(connection)
        over = await (await connection.execute(_VIEW_IS_OVER, (view.schema, view.name))).fetchall()
        if any(Relation(*each) != base for each in over):
            raise AlreadyExists(
                "VIEW_TAKEN", f"the pod's view {view.schema}.{view.name} belongs to another table", facts=facts
            )
        await create_upsert_view(connection, collection)
        owned = await connection.execute(
            "select from pg_class where oid = $1::regclass and pg_has_role(current_user, relowner, 'usage')",
            (base.identifier.as_string(),),
        )
        if owned.rowcount:
            grant = sql.SQL("grant select on {} to {}").format(base.identifier, sql.Identifier(READER))
            await connection.execute(grant.as_string())


def _found(facts: _Table, indexes: list[Index], *, may_use_schema: bool) -> FoundTable:
    vectors = facts.columns.get("vec")
    findings = [
        *_layout(facts),
        *_odd_columns(facts),
        *_obstacles(facts),
        *_rights(facts, may_use_schema=may_use_schema),
        *_about_indexes(indexes),
    ]
    return FoundTable(
        name=facts.name,
        dimension=max(0, vectors.modifier) if vectors is not None and vectors.type_name == "vector" else 0,
        record_estimate=facts.record_estimate,
        indexes=tuple(indexes),
        findings=tuple(sorted(findings, key=lambda finding: not finding.blocking)),
    )


def _layout(facts: _Table) -> Iterator[Finding]:
    """What keeps the table from being of the vecs layout."""
    record_id, vectors, metadata = (facts.columns.get(name) for name in _LAYOUT)
    if record_id is None or record_id.type_name not in _IDS:
        yield _blocking("ID_COLUMN", "there is no column id of type text or varchar")
    elif facts.key != [record_id.number]:
        yield _blocking("PRIMARY_KEY", "the primary key is not the column id alone")
    elif record_id.type_name == "varchar" and record_id.modifier > 0:
        yield Finding(reason="ID_LENGTH", message=f"ids are {record_id.declared}: longer ones are refused")
    if vectors is None or vectors.type_name != "vector" or vectors.modifier < 1:
        yield _blocking("VEC_COLUMN", "there is no column vec of type vector with a fixed dimension")
    if metadata is None or metadata.type_name != "jsonb":
        yield _blocking("METADATA_COLUMN", "there is no column metadata of type jsonb")
    for column in (vectors, metadata):
        if column is not None and not column.is_not_null:
            yield _blocking(
                "NULLABLE_COLUMN",
                f"the column {column.name} may be null: alter table {facts.text} alter column {column.name} "
                "set not null",
            )


def _odd_columns(facts: _Table) -> Iterator[Finding]:
    for column in facts.columns.values():
        if column.name in _LAYOUT:
            continue
        name = sql.Identifier(column.name).as_string()
        if column.is_not_null and not column.fills_itself:
            yield _blocking("EXTRA_COLUMN", f"upserts cannot fill the column {name}, which must not be null")
        else:
            yield Finding(reason="EXTRA_COLUMN", message=f"the column {name} stays as it is; upserts do not set it")


def _obstacles(facts: _Table) -> Iterator[Finding]:
    if facts.inherits:
        yield _blocking("INHERITANCE", "it is a partition, or inherits: the key is not that of all its records")
    if facts.rules:
        yield _blocking("RULES", f"upserts do not work on a table with rules: {', '.join(facts.rules)}")
    if facts.triggers:
        yield Finding(reason="TRIGGERS", message=f"triggers run as the router: {', '.join(facts.triggers)}")
    if facts.has_row_security:
        owner = sql.Identifier(OWNER).as_string()
        yield Finding(
            reason="ROW_SECURITY",
            message="row-level security holds for podroute, "
            + (
                "which sees and writes what its policies let it"
                if facts.has_policy
                else f"and no policy lets it see a record: create policy podroute on {facts.text} to {owner} "
                "using (true) with check (true)"
            ),
            blocking=not facts.has_policy,
        )


def _rights(facts: _Table, *, may_use_schema: bool) -> Iterator[Finding]:
    owner = sql.Identifier(OWNER).as_string()
    if not may_use_schema:
        schema = sql.Identifier(COLLECTIONS).as_string()
        yield _blocking("PRIVILEGES", f"an administrator has to run: grant usage on schema {schema} to {owner}")
    if facts.missing_privileges:
        rights = ", ".join(facts.missing_privileges)
        yield _blocking("PRIVILEGES", f"an administrator has to run: grant {rights} on {facts.text} to {owner}")
    if not facts.is_owned:
        role = sql.Identifier(facts.owner).as_string()
        # Never the rights of a superuser.
        change = f"alter table {facts.text} owner to {owner}" if facts.is_of_superuser else f"grant {role} to {owner}"
        yield Finding(
            reason="OTHER_OWNER",
            message=f"the table belongs to {role}; to index or delete it, podroute needs: {change}",
        )


def _about_indexes(indexes: Iterable[Index]) -> Iterator[Finding]:
    of_vectors = [index for index in indexes if index.metric is not None]
    if not any(index.valid for index in of_vectors):
        yield Finding(reason="INDEX_MISSING", message="no valid index of the vectors: every query reads all of them")
    for index in of_vectors:
        if not index.valid:
            yield Finding(
                reason="INDEX_INVALID",
                message=f"the index {index.name} is invalid: its build goes on, or was cut off",
            )


def _blocking(reason: str, message: str) -> Finding:
    return Finding(reason=reason, message=message, blocking=True)
