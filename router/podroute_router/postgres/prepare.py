"""What an administrator does once for each pod and for the primary: roles, extensions, schemas, the control view.

Everything is idempotent and plain SQL, so that `--dry-run` can print it and a careful administrator can run it by hand.
Afterwards the router works as an ordinary role.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import psycopg
from psycopg import sql

OWNER = "podroute_owner"
"""Owns podroute's schemas and what is in them; nobody logs in as it. The router's role is a member."""
READER = "podroute_reader"
"""May read collections; for grants to people and services that use SQL."""

COLLECTIONS = "vecs"
"""Schema of the collections on a pod, as the vecs client has it."""
POD_OBJECTS = "podroute"
"""Schema of podroute's own objects on a pod."""
FDW_OBJECTS = "podroute_fdw"
"""Schema of the foreign tables on the primary."""
EXPOSED_OBJECTS = "podroute_exposed"
"""Schema of the foreign tables behind exposures on the primary. Earlier routers drop what they do not know in
`FDW_OBJECTS`."""
FOLLOWED = "followed:revision"
"""Table of one row in `FDW_OBJECTS`: the newest revision of the shard map by which a router has worked there."""
CATALOG = "podroute_catalog"
"""Schema of the shard map."""
CONTROL_VIEW = "control"
"""View in `POD_OBJECTS`: inserting (name, value) sets a setting on the pod until the transaction ends."""

CONTROL_FUNCTION = "apply_setting"
"""Function in `POD_OBJECTS`, and the view's trigger."""

SETTINGS = (
    "hnsw.ef_search",
    "hnsw.iterative_scan",
    "hnsw.max_scan_tuples",
    "ivfflat.iterative_scan",
    "ivfflat.max_probes",
    "ivfflat.probes",
    "statement_timeout",
)
"""What the control view may set."""

_VERIFIER_SHOWN = "SCRAM-SHA-256$..."


def preparation(
    *,
    role: str,
    verifier: str,
    pod: bool,
    primary: bool,
    adopt: bool = False,
    expose_in: Sequence[str] = (),
) -> Iterator[sql.Composed]:
    """The statements that prepare a database.

    Args:
        role: the router's login.
        verifier: its SCRAM verifier, see `scram.verifier`.
        pod: the database is to store collections.
        primary: the database is to be the primary, with the catalog and the FDW path.
        adopt: podroute may read and write the tables that the schema of collections has already.
        expose_in: schemas in which podroute may make views of collections.
    """
    yield from _roles(role, verifier)
    yield sql.Composed([sql.SQL("create extension if not exists vector")])
    if pod:
        yield from _pod()
    if adopt:
        yield sql.SQL("grant select, insert, update, delete on all tables in schema {} to {}").format(
            sql.Identifier(COLLECTIONS), sql.Identifier(OWNER)
        )
    if primary:
        yield from _primary()
    for name in expose_in:
        schema = sql.Identifier(name)
        yield sql.SQL("grant usage, create on schema {} to {}").format(schema, sql.Identifier(OWNER))
        yield sql.SQL("grant usage on schema {} to {}").format(schema, sql.Identifier(READER))


def prepare(
    admin_conninfo: str,
    *,
    role: str,
    verifier: str,
    pod: bool,
    primary: bool,
    adopt: bool = False,
    expose_in: Sequence[str] = (),
) -> None:
    """Prepares a database, all or nothing. Arguments as of `preparation`.

    Raises:
        psycopg.Error: the administrator may not, or the database cannot be reached.
    """
    with psycopg.connect(admin_conninfo) as connection:
        for statement in preparation(
            role=role, verifier=verifier, pod=pod, primary=primary, adopt=adopt, expose_in=expose_in
        ):
            connection.execute(statement)


def preparation_script(
    *, role: str, pod: bool, primary: bool, adopt: bool = False, expose_in: Sequence[str] = ()
) -> str:
    """The statements as a script for a person; the verifier is left out."""
    steps = preparation(role=role, verifier=_VERIFIER_SHOWN, pod=pod, primary=primary, adopt=adopt, expose_in=expose_in)
    return "\n".join(f"{step.as_string()};" for step in steps)


def _roles(role: str, verifier: str) -> Iterator[sql.Composed]:
    for name, login in ((OWNER, False), (READER, False), (role, True)):
        create = sql.SQL("create role {} {}").format(sql.Identifier(name), sql.SQL("login" if login else "nologin"))
        missing = sql.SQL("select where not exists (select from pg_roles where rolname = {})")
        yield _if(missing.format(sql.Literal(name)), create)
    yield sql.SQL("alter role {} password {}").format(sql.Identifier(role), sql.Literal(verifier))
    for group in (OWNER, READER):  # as the reader it serves SQL users who come from the primary
        yield sql.SQL("grant {} to {}").format(sql.Identifier(group), sql.Identifier(role))


def _pod() -> Iterator[sql.Composed]:
    yield from _schema(COLLECTIONS)
    yield from _own_schema(POD_OBJECTS)
    owner, reader, collections = sql.Identifier(OWNER), sql.Identifier(READER), sql.Identifier(COLLECTIONS)
    # The schema of collections may be another's already: a vecs client made it.
    yield sql.SQL("grant usage, create on schema {} to {}").format(collections, owner)
    yield sql.SQL("grant usage on schema {} to {}").format(collections, reader)
    yield sql.SQL("alter default privileges for role {} in schema {} grant select on tables to {}").format(
        owner, collections, reader
    )
    yield from control_objects()


def control_body() -> str:
    """The text of the function behind the control view."""
    return (
        sql.SQL("""
begin
    if new.name = any (array[{}]) then
        perform set_config(new.name, new.value, true);
        return new;
    end if;
    raise exception 'podroute does not set %', new.name using errcode = 'insufficient_privilege';
end """)
        .format(sql.SQL(", ").join(map(sql.Literal, SETTINGS)))
        .as_string()
    )


def control_objects() -> Iterator[sql.Composed]:
    """The control view with its trigger and function; podroute's owner can make them too."""
    owner = sql.Identifier(OWNER)
    control, function = sql.Identifier(POD_OBJECTS, CONTROL_VIEW), sql.Identifier(POD_OBJECTS, CONTROL_FUNCTION)
    yield sql.SQL(
        "create or replace function {}() returns trigger language plpgsql set search_path = pg_catalog as {}"
    ).format(function, sql.Literal(control_body()))
    yield sql.SQL("alter function {}() owner to {}").format(function, owner)
    yield sql.SQL("create or replace view {} as select ''::text as name, ''::text as value").format(control)
    yield sql.SQL("alter view {} owner to {}").format(control, owner)
    yield sql.SQL("create or replace trigger {} instead of insert on {} for each row execute function {}()").format(
        sql.Identifier(CONTROL_FUNCTION), control, function
    )


def _primary() -> Iterator[sql.Composed]:
    yield sql.Composed([sql.SQL("create extension if not exists postgres_fdw")])
    yield sql.SQL("grant usage on foreign data wrapper postgres_fdw to {}").format(sql.Identifier(OWNER))
    yield from _own_schema(CATALOG)
    yield from _own_schema(FDW_OBJECTS)
    yield from _own_schema(EXPOSED_OBJECTS)
    followed = sql.Identifier(FDW_OBJECTS, FOLLOWED)
    yield sql.SQL("create table if not exists {} (revision bigint not null)").format(followed)
    yield sql.SQL("alter table {} owner to {}").format(followed, sql.Identifier(OWNER))
    yield sql.SQL("insert into {0} select 0 where not exists (select from {0})").format(followed)


def _schema(name: str) -> Iterator[sql.Composed]:
    yield sql.SQL("create schema if not exists {} authorization {}").format(sql.Identifier(name), sql.Identifier(OWNER))


def _own_schema(name: str) -> Iterator[sql.Composed]:
    """A schema that is podroute's alone: whoever owned it could have code of his run as the router."""
    yield from _schema(name)
    foreign = sql.SQL("select from pg_namespace where nspname = {} and nspowner <> {}::regrole").format(
        sql.Literal(name), sql.Literal(OWNER)
    )
    complaint = sql.SQL("raise exception 'schema {} belongs to another role; drop it, or rename it'").format(
        sql.Identifier(name)
    )
    yield _if(foreign, complaint)


def _if(exists: sql.Composed, statement: sql.Composed) -> sql.Composed:
    body = sql.SQL("begin if exists ({}) then {}; end if; end").format(exists, statement)
    return sql.SQL("do {}").format(sql.Literal(body.as_string()))
