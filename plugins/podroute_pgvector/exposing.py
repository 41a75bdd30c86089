"""Exposures on a pod: the view over a collection's table, the casts that it needs, and indexes of its columns."""

from __future__ import annotations

from collections.abc import Sequence

from podroute_router.domain import Collection
from podroute_router.errors import FailedPrecondition
from podroute_router.exposures import ColumnType, Exposed, ExposingFacts, column_values, digest
from podroute_router.postgres import exposed_view
from podroute_router.postgres.connection import Connection
from podroute_router.postgres.exposed_view import Kind, View
from podroute_router.postgres.prepare import READER
from podroute_router.sql.statements import Relation
from psycopg import sql

from podroute_pgvector import casts, index_facts, indexes
from podroute_pgvector.tables import begin, needing_its_owner, table

INDEX_PREFIX = "podroute_exposed_"
"""Begins the names of indexes that exposures asked for. vecs does not take them for its own."""

_MAY_READ = """
select coalesce(bool_or(pg_has_role(oid, $1, 'member')), false) from pg_roles
where rolname = coalesce($2::text, session_user)
"""
_ID_COLLATION = """
select case a.attcollation when 'pg_catalog."C"'::regcollation then 'C' when 'pg_catalog."default"'::regcollation
    then 'default' else '' end
from pg_attribute a where a.attrelid = $1::regclass and a.attname = 'id'
"""


async def look(connection: Connection, exposed: Exposed, login: str | None) -> ExposingFacts:
    """What the pod says before the exposure is made; raises as `exposed_view.look` does.

    Args:
        connection: to the pod.
        exposed: the exposure.
        login: that the primary comes by; None: the router's.

    Raises:
        FailedPrecondition: the primary could not read the view, as the pod was prepared by an earlier version.
    """
    pod = exposed.collection.placement.pod
    facts = await exposed_view.look(
        connection, exposed.exposure, Kind.POD, f"pod {pod}", needs_reader=exposed.is_foreign
    )
    row = await (await connection.execute(_MAY_READ, (READER, login))).fetchone()
    if exposed.is_foreign and (row is None or not row[0]):
        raise FailedPrecondition(
            "NOT_PREPARED",
            f"the pod has no role {login!r} that is a member of {READER}"
            if login is not None
            else f"the router's role is no member of {READER}; run `podroute pods prepare`",
            facts={"pod": pod},
        )
    return facts


async def make(connection: Connection, exposed: Exposed, others: Sequence[Exposed]) -> None:
    """Makes what the exposure needs: casts, indexes while reads and writes go on, the view. It can be repeated.

    Args:
        connection: without a statement timeout.
        exposed: the exposure.
        others: the collection's other exposures, whose indexes stay.
    """
    columns = exposed.exposure.columns
    async with connection.transaction():
        await begin(connection)
        await casts.ensure(connection, {column.type for column in columns})
    await _bring_indexes(connection, exposed.collection, await wanted_indexes(connection, [exposed, *others]))
    async with connection.transaction():
        await begin(connection)
        await exposed_view.put(connection, await wanted_view(connection, exposed))


async def remove(connection: Connection, exposed: Exposed, others: Sequence[Exposed]) -> None:
    """Drops the view, and the indexes that no other exposure of the collection wants."""
    async with connection.transaction():
        await begin(connection)
        await exposed_view.drop(connection, exposed.exposure, Kind.POD)
    await _bring_indexes(connection, exposed.collection, await wanted_indexes(connection, others))


async def wanted_view(connection: Connection, exposed: Exposed) -> View:
    """The view of the exposure on this pod."""
    record_id, collates_id = await _id(connection, exposed)
    readers = await exposed_view.existing(connection, [*exposed.exposure.roles, READER])
    exposure, base = exposed.exposure, table(exposed.collection)
    in_code_points = exposure.code_point_order
    columns = [
        sql.SQL(", {} as {}").format(
            casts.expression(column, code_point_order=in_code_points), sql.Identifier(column.name)
        )
        for column in exposure.columns
    ]
    select = sql.SQL("select {} as id, vec as embedding, metadata{} from {}").format(
        record_id, sql.Composed(columns), base.identifier
    )
    made_of = (
        casts.VERSION,
        [base.schema, base.name],
        exposed.collection.dimension,
        [column_values(column) for column in exposure.columns],
        in_code_points,
        collates_id,
        readers,
    )
    return View(exposure=exposure, kind=Kind.POD, select=select, digest=digest(*made_of), readers=readers)


async def _id(connection: Connection, exposed: Exposed) -> tuple[sql.Composable, bool]:
    """The id as the view has it, and whether that is in another order than the table's, which its key cannot find.

    Where the primary reads the view, ids sort as texts do there, so that joins on them are shipped.
    """
    plain = sql.SQL("id::pg_catalog.text")
    row = await (
        await connection.execute(_ID_COLLATION, (table(exposed.collection).identifier.as_string(),))
    ).fetchone()
    standing = "" if row is None else row[0]
    wanted = "C" if exposed.exposure.code_point_order else "default"
    if not exposed.is_foreign or standing == wanted:
        return plain, False
    if {standing, wanted} == {"C", "default"} and await exposed_view.text_order(connection) == "code point":
        return plain, False
    return casts.collated(sql.Composed([plain]), code_point_order=wanted == "C"), True


async def wanted_indexes(connection: Connection, exposures: Sequence[Exposed]) -> dict[str, sql.Composed]:
    """The indexes that the exposures of one collection ask for: name and what follows `on`."""
    found: dict[str, sql.Composed] = {}
    for exposed in exposures:
        base = table(exposed.collection)
        in_code_points = exposed.exposure.code_point_order
        # A hash has room for every text; a B-tree refuses long ones, and with them the upsert.
        wanted: list[tuple[str, sql.Composable]] = [
            (
                "hash" if column.type is ColumnType.TEXT else "btree",
                casts.expression(column, code_point_order=in_code_points),
            )
            for column in exposed.exposure.columns
            if column.indexed
        ]
        record_id, collates_id = await _id(connection, exposed)
        if collates_id:
            wanted.append(("hash", record_id))
        for method, expression in wanted:
            of = sql.SQL("{} using {} (({}))").format(base.identifier, sql.SQL(method), expression)
            found[INDEX_PREFIX + digest(casts.VERSION, of.as_string())] = of
    return found


async def _bring_indexes(connection: Connection, collection: Collection, wanted: dict[str, sql.Composed]) -> None:
    """Builds those that are missing or were cut off, drops those of ours that nobody wants."""
    if await standing_indexes(connection, collection) == dict.fromkeys(wanted, True):
        return
    async with indexes.alone(connection, collection):
        with needing_its_owner(collection):
            await _build_and_drop(connection, collection, wanted)


async def _build_and_drop(connection: Connection, collection: Collection, wanted: dict[str, sql.Composed]) -> None:
    place = collection.placement
    standing = await standing_indexes(connection, collection)
    for name in standing:
        if name not in wanted or not standing[name]:
            identifier = Relation(place.schema, name).identifier
            await connection.execute(sql.SQL("drop index concurrently if exists {}").format(identifier).as_string())
    missing = [name for name in wanted if not standing.get(name)]
    for name in missing:
        await connection.execute(create_index(name, wanted[name]))
    if missing:  # without statistics of the expressions the primary takes them for anything
        await connection.execute(sql.SQL("analyze {}").format(table(collection).identifier).as_string())


def create_index(name: str, of: sql.Composed) -> str:
    """Builds an index while reads and writes go on."""
    return sql.SQL("create index concurrently {} on {}").format(sql.Identifier(name), of).as_string()


async def standing_indexes(connection: Connection, collection: Collection) -> dict[str, bool]:
    """The indexes that exposures asked for, and whether each is valid."""
    place = collection.placement
    return {
        each.index.name: each.index.valid
        for each in await index_facts.read(connection, place.schema, [place.table])
        if each.index.name.startswith(INDEX_PREFIX)
    }
