"""Casts of metadata to SQL types that never fail: functions on the pod, and the expressions that views have.

They are immutable, so that an index can hold what they return. A value of another JSON type, or one that the SQL type
cannot hold, is null.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable

from podroute_router.exposures import ColumnType, ExposedColumn
from podroute_router.postgres.connection import Connection
from podroute_router.postgres.prepare import POD_OBJECTS
from psycopg import sql

VERSION = "podroute casts 1"
"""Comment of each function; another one has it made anew."""

# Each is one expression, parsed when it is made, so that no search_path matters; and it is not strict, so that the
# planner can put it in the place of the call.
_BIGINT = """
create or replace function {}(value jsonb) returns bigint immutable parallel safe
return case when jsonb_typeof(value) = 'number'
    then case when value::numeric between -9223372036854775808 and 9223372036854775807
        and value::numeric = trunc(value::numeric) then value::bigint end
end
"""
# Beyond float64 there is no value; between it and zero there is zero.
_DOUBLE_PRECISION = """
create or replace function {}(value jsonb) returns double precision immutable parallel safe
return case when jsonb_typeof(value) = 'number'
    then case
        when abs(value::numeric) > 1.7976931348623157e308 then null
        when abs(value::numeric) < 5e-324 then 0
        else value::double precision
    end
end
"""
_BOOLEAN = """
create or replace function {}(value jsonb) returns boolean immutable parallel safe
return case when jsonb_typeof(value) = 'boolean' then value::boolean end
"""
# PostgreSQL's own cast depends on settings of the session and fails on an odd text, so this one knows ISO 8601 only.
# Every part is checked before anything is made of it: trapping errors would cost a subtransaction each time.
_TIMESTAMPTZ = r"""
create or replace function {}(value jsonb) returns timestamptz language plpgsql immutable parallel safe
set search_path = pg_catalog as $$
declare
    parts text[];
    y int;
    m int;
    d int;
    days int;
    at_offset interval;
begin
    if jsonb_typeof(value) is distinct from 'string' then
        return null;
    end if;
    parts := regexp_match(
        value #>> '{{}}',
        '^([0-9]{{4}})-([0-9]{{2}})-([0-9]{{2}})'
        '(?:[Tt ]([0-9]{{2}}):([0-9]{{2}})(?::([0-9]{{2}}(?:\.[0-9]{{1,9}})?))?'
        '(?:([Zz])|([+-])([0-9]{{2}})(?::?([0-9]{{2}}))?)?)?$'
    );
    if parts is null then
        return null;
    end if;
    y := parts[1]; m := parts[2]; d := parts[3];
    days := case
        when m = 2 then case when y % 4 = 0 and (y % 100 <> 0 or y % 400 = 0) then 29 else 28 end
        when m in (4, 6, 9, 11) then 30
        else 31
    end;
    if y < 1 or m not between 1 and 12 or d not between 1 and days
        or coalesce(parts[4]::int, 0) > 23 or coalesce(parts[5]::int, 0) > 59 or coalesce(parts[6]::numeric, 0) >= 60
        or coalesce(parts[9]::int, 0) > 15 or coalesce(parts[10]::int, 0) > 59
    then
        return null;
    end if;
    at_offset := make_interval(hours => coalesce(parts[9]::int, 0), mins => coalesce(parts[10]::int, 0));
    return timezone('UTC', make_timestamp(
        y, m, d, coalesce(parts[4]::int, 0), coalesce(parts[5]::int, 0), coalesce(parts[6]::double precision, 0)
    ) - case when parts[8] = '-' then -at_offset else at_offset end);
end $$
"""

_FUNCTIONS = {
    ColumnType.BIGINT: ("as_bigint", _BIGINT),
    ColumnType.DOUBLE_PRECISION: ("as_double_precision", _DOUBLE_PRECISION),
    ColumnType.BOOLEAN: ("as_boolean", _BOOLEAN),
    ColumnType.TIMESTAMPTZ: ("as_timestamptz", _TIMESTAMPTZ),
}
_LOCK = "select pg_advisory_xact_lock(hashtextextended('podroute casts', 0))"
_STANDING = """
select p.proname from pg_proc p
where p.pronamespace = $1::regnamespace and p.proname = any($2) and obj_description(p.oid, 'pg_proc') = $3
"""


async def ensure(connection: Connection, types: Iterable[ColumnType]) -> None:
    """Makes the functions of these types that are missing, in a transaction of the owner's."""
    wanted = {_FUNCTIONS[each][0]: _FUNCTIONS[each][1] for each in types if each in _FUNCTIONS}
    if not await _missing(connection, wanted):
        return
    await connection.execute(_LOCK)
    for name in await _missing(connection, wanted):  # another call may have made them
        function = sql.Identifier(POD_OBJECTS, name)
        await connection.execute(sql.SQL(wanted[name]).format(function).as_string())
        comment = sql.SQL("comment on function {}(jsonb) is {}").format(function, sql.Literal(VERSION))
        await connection.execute(comment.as_string())


async def _missing(connection: Connection, names: Collection[str]) -> list[str]:
    rows = await (await connection.execute(_STANDING, (POD_OBJECTS, list(names), VERSION))).fetchall()
    return sorted(set(names) - {row[0] for row in rows})


def expression(column: ExposedColumn, *, code_point_order: bool) -> sql.Composed:
    """The column of a view over the collection's table, or of an index of it."""
    path = sql.Literal(list(column.path))
    if column.type is ColumnType.TEXT:
        text = sql.SQL("(metadata #>> {}::pg_catalog.text[])").format(path)
        return collated(text, code_point_order=code_point_order)
    value = sql.SQL("(metadata #> {}::pg_catalog.text[])").format(path)
    if column.type is ColumnType.JSONB:
        return value
    return sql.SQL("{}({})").format(sql.Identifier(POD_OBJECTS, _FUNCTIONS[column.type][0]), value)


def collated(text: sql.Composed, *, code_point_order: bool) -> sql.Composed:
    """The text, sorted by code point or as the database sorts."""
    return sql.SQL("({} collate pg_catalog.{})").format(text, sql.Identifier("C" if code_point_order else "default"))
