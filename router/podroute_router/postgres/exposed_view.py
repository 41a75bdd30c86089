"""The view of an exposure in a database: whether its name is free, and making, granting and dropping it.

A view is ours where it is podroute_owner's and its comment says so; nothing else is replaced or dropped.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import Enum

from psycopg import errors, sql

from podroute_router.errors import AlreadyExists, FailedPrecondition, NotFound
from podroute_router.exposures import OWN_COLUMNS, ColumnType, ExposingFacts, Exposure
from podroute_router.postgres.connection import Connection
from podroute_router.postgres.prepare import OWNER, READER
from podroute_router.sql.statements import Relation


class Kind(Enum):
    """Where a view stands, which its comment says: one database may be the primary of some and a pod of others."""

    POD = "exposure"
    PRIMARY = "foreign exposure"


_TEXT_ORDER = """
select case
    when d.datlocprovider = 'b' or d.datlocprovider = 'c' and d.datcollate in ('C', 'POSIX') then 'code point'
    else concat_ws(
        '/', d.datlocprovider, d.datcollate, to_jsonb(d) ->> 'datlocale', to_jsonb(d) ->> 'daticulocale',
        to_jsonb(d) ->> 'daticurules', pg_database_collation_actual_version(d.oid)
    )
end
from pg_database d where d.datname = current_database()
"""
_SCHEMA = """
select has_schema_privilege($2, oid, 'usage') and has_schema_privilege($2, oid, 'create'),
       has_schema_privilege($3, oid, 'usage')
from pg_namespace where nspname = $1
"""
_MISSING_ROLES = """
select r from unnest($1::text[]) with ordinality as s (r, place)
where r <> 'public' and not exists (select from pg_roles where rolname = r)
order by place
"""
_STANDING = """
select c.relkind = 'v' and c.relowner = $3::regrole, coalesce(obj_description(c.oid, 'pg_class'), '')
from pg_class c join pg_namespace n on n.oid = c.relnamespace
where n.nspname = $1 and c.relname = $2
union all
select false, '' from pg_type t join pg_namespace n on n.oid = t.typnamespace
where n.nspname = $1 and t.typname = $2 and t.typrelid = 0
"""  # a view is a type, too
_COLUMNS = """
select a.attname, format_type(a.atttypid, null)
from pg_attribute a join pg_class c on c.oid = a.attrelid join pg_namespace n on n.oid = c.relnamespace
where n.nspname = $1 and c.relname = $2 and a.attnum > $3
order by a.attnum
"""
_GRANTEES = """
select distinct case a.grantee when 0 then 'public' else pg_get_userbyid(a.grantee)::text end
from pg_class c, aclexplode(c.relacl) a
where c.oid = $1::regclass and a.grantee <> c.relowner
"""
_DEPENDENTS = """
select distinct case
    when d.classid = 'pg_rewrite'::regclass
        then (select r.ev_class::regclass::text from pg_rewrite r where r.oid = d.objid)
    else pg_describe_object(d.classid, d.objid, d.objsubid)
end
from pg_depend d
where d.refclassid = 'pg_class'::regclass and d.deptype = 'n'
  and d.refobjid = (
      select c.oid from pg_class c join pg_namespace n on n.oid = c.relnamespace
      where n.nspname = $1 and c.relname = $2
  )
  and not (d.classid = 'pg_rewrite'::regclass
           and exists (select from pg_rewrite r where r.oid = d.objid and r.ev_class = d.refobjid))
order by 1
"""


TAKEN = "belongs to someone else"
"""A problem that is not podroute's to mend."""

_SHOWN_TYPES = {ColumnType.TIMESTAMPTZ: "timestamp with time zone"}


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """A view as it is wanted.

    `select` is its query, `digest` changes with whatever it is made of, `readers` are roles that exist.
    """

    exposure: Exposure
    kind: Kind
    select: sql.Composed
    digest: str
    readers: tuple[str, ...]

    @property
    def relation(self) -> Relation:
        """Its place."""
        return relation(self.exposure)

    @property
    def comment(self) -> str:
        """Says that it is ours, whose, and as of what."""
        return f"{comment_start(self.exposure, self.kind)}{self.digest}"


def relation(exposure: Exposure) -> Relation:
    """Where the exposure's view is."""
    return Relation(exposure.schema, exposure.view)


def comment_start(exposure: Exposure, kind: Kind) -> str:
    """How the comments of an exposure's views begin."""
    return f"podroute {kind.value} of {exposure.collection}: "


async def look(
    connection: Connection, exposure: Exposure, kind: Kind, where: str, *, needs_reader: bool = False
) -> ExposingFacts:
    """What the database says before the exposure is made there.

    Args:
        connection: to the database.
        exposure: what is to be made.
        kind: of the view.
        where: what people call the database.
        needs_reader: podroute_reader is to read the view, as whom the primary comes.

    Raises:
        NotFound: it has no such schema.
        FailedPrecondition: podroute may not make views there, or columns would change and something rests on the view.
        AlreadyExists: the name is someone else's.
    """
    facts = {"schema": exposure.schema, "view": exposure.view, "database": where}
    rights = await (await connection.execute(_SCHEMA, (exposure.schema, OWNER, READER))).fetchone()
    if rights is None:
        raise NotFound("SCHEMA_NOT_FOUND", f"there is no schema {exposure.schema!r} on {where}", facts=facts)
    owner_may, reader_may = rights
    schema = sql.Identifier(exposure.schema).as_string()
    grants = [] if owner_may else [f"grant usage, create on schema {schema} to {OWNER}"]
    if needs_reader and not reader_may:
        grants.append(f"grant usage on schema {schema} to {READER}")
    if grants:
        raise FailedPrecondition(
            "SCHEMA_RIGHTS", f"an administrator has to run on {where}: {'; '.join(grants)}", facts=facts
        )
    if await _comment(connection, exposure, kind) is not None and await _changes_columns(connection, exposure):
        await check_removable(connection, exposure)
    missing = await (await connection.execute(_MISSING_ROLES, (list(exposure.roles),))).fetchall()
    return ExposingFacts(
        text_order=await text_order(connection),
        vector_schema=connection.vector_schema,
        missing_roles=tuple(role for (role,) in missing),
    )


async def text_order(connection: Connection) -> str:
    """How the database sorts texts by itself; `code point`, or a name that no other order has."""
    row = await (await connection.execute(_TEXT_ORDER)).fetchone()
    return "" if row is None else str(row[0])


async def problem(connection: Connection, view: View) -> str | None:
    """What is wrong with the view, in a few words; None where it is as it is wanted."""
    try:
        comment = await _comment(connection, view.exposure, view.kind)
    except AlreadyExists:
        return TAKEN
    if comment is None:
        return "is missing"
    return None if comment == view.comment else "is not as it was exposed"


def statements(view: View) -> list[str]:
    """What makes the view, for a person to read; `put` knows more."""
    return [step.as_string() for step in (_create(view), *_grants(view), _mark(view))]


async def put(connection: Connection, view: View) -> bool:
    """Makes the view as it is wanted, in a transaction of the owner's; False where it stands so already.

    Raises:
        AlreadyExists: the name is someone else's.
        FailedPrecondition: columns change, and something rests on the view.
    """
    standing = await _comment(connection, view.exposure, view.kind)
    if standing == view.comment:
        return False
    create = _create(view, replace=standing is not None).as_string()  # one that came since is not ours to replace
    try:
        try:
            async with connection.transaction():
                await connection.execute(create)
        except errors.InvalidTableDefinition:  # it can have further columns, but none less, and none of another type
            await drop(connection, view.exposure, view.kind)
            await connection.execute(create)
    except (errors.DuplicateTable, errors.DuplicateObject, errors.WrongObjectType, errors.UniqueViolation) as error:
        raise _taken(view.exposure) from error
    await _let_read(connection, view)
    await connection.execute(_mark(view).as_string())
    return True


async def drop(connection: Connection, exposure: Exposure, kind: Kind) -> None:
    """Drops the view, in a transaction of the owner's; one that is gone, or is not ours, is left alone.

    Raises:
        FailedPrecondition: something rests on it.
    """
    try:
        if await _comment(connection, exposure, kind) is None:
            return
    except AlreadyExists:
        return
    name = relation(exposure).identifier
    await check_removable(connection, exposure)
    try:
        await connection.execute(sql.SQL("drop view {}").format(name).as_string())
    except errors.DependentObjectsStillExist as error:  # made since
        raise _depended_on(exposure, []) from error


async def check_removable(connection: Connection, exposure: Exposure) -> None:
    """Raises FailedPrecondition, which names them, where objects rest on the view."""
    found = await (await connection.execute(_DEPENDENTS, (exposure.schema, exposure.view))).fetchall()
    if found:
        raise _depended_on(exposure, [str(each) for (each,) in found])


async def existing(connection: Connection, roles: Sequence[str]) -> tuple[str, ...]:
    """Those of the roles that the server has, each once, by name."""
    rows = await (await connection.execute(_MISSING_ROLES, (list(roles),))).fetchall()
    return tuple(sorted(set(roles) - {role for (role,) in rows}))


async def _comment(connection: Connection, exposure: Exposure, kind: Kind) -> str | None:
    """The comment of our view of that name; None where the name is free. Raises AlreadyExists."""
    row = await (await connection.execute(_STANDING, (exposure.schema, exposure.view, OWNER))).fetchone()
    if row is None:
        return None
    is_view_of_owner, comment = row
    if not is_view_of_owner or not comment.startswith(comment_start(exposure, kind)):
        raise _taken(exposure)
    return str(comment)


async def _changes_columns(connection: Connection, exposure: Exposure) -> bool:
    """Whether the view has columns that it is not to have; further ones take nothing from those who rely on it."""
    values = (exposure.schema, exposure.view, len(OWN_COLUMNS))
    standing = await (await connection.execute(_COLUMNS, values)).fetchall()
    wanted = [(column.name, _SHOWN_TYPES.get(column.type, column.type.value)) for column in exposure.columns]
    return wanted[: len(standing)] != standing


async def _let_read(connection: Connection, view: View) -> None:
    name = view.relation.identifier
    rows = await (await connection.execute(_GRANTEES, (name.as_string(),))).fetchall()
    if unwanted := sorted({role for (role,) in rows} - set(view.readers)):
        await connection.execute(sql.SQL("revoke all on {} from {}").format(name, _list_of_roles(unwanted)).as_string())
    for grant in _grants(view):
        await connection.execute(grant.as_string())


def _create(view: View, *, replace: bool = True) -> sql.Composed:
    verb = sql.SQL("create or replace view" if replace else "create view")
    return sql.SQL("{} {} as {}").format(verb, view.relation.identifier, view.select)


def _grants(view: View) -> list[sql.Composed]:
    if not view.readers:
        return []
    return [sql.SQL("grant select on {} to {}").format(view.relation.identifier, _list_of_roles(view.readers))]


def _mark(view: View) -> sql.Composed:
    return sql.SQL("comment on view {} is {}").format(view.relation.identifier, sql.Literal(view.comment))


def _list_of_roles(roles: Iterable[str]) -> sql.Composed:
    # PostgreSQL takes the name "public" for everybody, quoted or not.
    return sql.SQL(", ").join(map(sql.Identifier, roles))


def _taken(exposure: Exposure) -> AlreadyExists:
    return AlreadyExists(
        "VIEW_NAME_TAKEN",
        f"{exposure.schema}.{exposure.view} belongs to someone else; podroute leaves it alone",
        facts={"collection": exposure.collection, "schema": exposure.schema, "view": exposure.view},
    )


def _depended_on(exposure: Exposure, names: Sequence[str]) -> FailedPrecondition:
    listed = ", ".join(names)
    return FailedPrecondition(
        "EXPOSURE_HAS_DEPENDENTS",
        f"objects rest on {exposure.schema}.{exposure.view}; drop them first{f': {listed}' if listed else ''}",
        facts={"collection": exposure.collection, "schema": exposure.schema, "view": exposure.view}
        | ({"dependents": listed} if listed else {}),
    )
