"""Views as the backends make them: for whom, in which order of texts, and when the collection moves."""

from __future__ import annotations

import uuid
from collections.abc import Iterator

import psycopg
import pytest
from podroute_fdw.backend import FdwBackend
from podroute_pgvector.backend import PgvectorBackend
from podroute_router.config import Config, Exposures, make_config
from podroute_router.embedded import Cluster
from podroute_router.errors import AlreadyExists, FailedPrecondition
from podroute_router.postgres.prepare import prepare
from pydantic import SecretStr
from servers import kept_verifier, router_values

from integration.exposure_setup import Databases, relations

from .harness import deadline, exposed_of


async def test_dependents_survive_when_the_collection_moves(
    store: PgvectorBackend, fdw: FdwBackend, sql_side: Databases
) -> None:
    name = f"moved_{uuid.uuid4().hex[:8]}"
    of_alpha, of_beta = exposed_of(name), exposed_of(name, "beta")
    for exposed, pod in ((of_alpha, "alpha"), (of_beta, "beta")):
        await store.create_collection(exposed.collection, deadline())
        await store.make_exposure(exposed, [], deadline())
        sql_side.pods[pod].execute(
            f"insert into vecs.{name} values ('a', '[1,2]', jsonb_build_object('url', %s::text))".encode(), [pod]
        )
    await fdw.make_exposure(of_alpha, [], deadline())
    sql_side.primary.execute(f"create view public.{name}_links as select url from public.{name}".encode())
    links = f"select url from public.{name}_links".encode()
    assert sql_side.primary.execute(links).fetchall() == [("alpha",)]
    await fdw.make_exposure(of_beta, [], deadline())
    assert sql_side.primary.execute(links).fetchall() == [("beta",)]
    assert sum(kind == "f" for _, kind in relations(sql_side.primary, name)) == 1
    sql_side.primary.execute(f"drop view public.{name}_links".encode())
    await fdw.remove_exposure(of_beta, [], deadline())
    for exposed in (of_alpha, of_beta):
        await store.remove_exposure(exposed, [], deadline())
        await store.drop_collection(exposed.collection, deadline())


async def test_sql_users_may_come_by_a_login_of_their_own_that_can_do_nothing_else(
    cluster_config: Config, store: PgvectorBackend, sql_side: Databases
) -> None:
    password = "of sql users"
    login = f"sql_{uuid.uuid4().hex[:8]}"
    own = cluster_config.model_copy(update={"exposures": Exposures(user=login, password=SecretStr(password))})
    exposed = exposed_of(f"own_{uuid.uuid4().hex[:8]}")
    name = exposed.collection.name
    by_login = PgvectorBackend(own)
    with pytest.raises(FailedPrecondition, match="is a member of podroute_reader"):
        await by_login.look_for_exposure(exposed, deadline())
    sql_side.alpha.execute(f"create role {login} login password '{password}' in role podroute_reader".encode())
    await by_login.look_for_exposure(exposed, deadline())
    await by_login.close()
    assert own.primary is not None
    fdw = FdwBackend(own, own.primary)
    await store.create_collection(exposed.collection, deadline())
    await store.make_exposure(exposed, [], deadline())
    await fdw.make_exposure(exposed, [], deadline())
    connected = "select from pg_stat_activity where usename = %s"
    with psycopg.connect(sql_side.server.admin_conninfo(sql_side.server.database)) as session:
        session.execute(f"select from public.{name}".encode())
        assert sql_side.alpha.execute(connected, [login]).rowcount == 1
    await fdw.remove_exposure(exposed, [], deadline())
    await fdw.close()
    await store.remove_exposure(exposed, [], deadline())
    await store.drop_collection(exposed.collection, deadline())
    sql_side.alpha.execute(f"drop role {login}".encode())


@pytest.fixture
def in_code_points(cluster: Cluster) -> Iterator[tuple[Config, psycopg.Connection]]:
    """A pod whose database sorts texts by code point."""
    server = cluster.pods["beta"]
    name = f"code_points_{uuid.uuid4().hex[:8]}"
    with psycopg.connect(server.admin_conninfo(), autocommit=True) as admin:
        admin.execute(f"create database {name} template template0 locale 'C'".encode())
    secret = cluster.router_password_file.read_text(encoding="utf-8").strip()
    prepare(
        server.admin_conninfo(name),
        role=cluster.router_role,
        verifier=kept_verifier(cluster.router_role, secret),
        pod=True,
        primary=False,
        expose_in=["public"],
    )
    values = router_values(cluster)
    values["pods"]["alpha"]["dsn"] = server.conninfo(cluster.router_role, name)
    with psycopg.connect(server.admin_conninfo(name), autocommit=True) as session:
        yield make_config(values), session


async def test_a_pod_that_sorts_by_code_point_needs_no_further_index_of_ids(
    in_code_points: tuple[Config, psycopg.Connection],
) -> None:
    config, session = in_code_points
    store = PgvectorBackend(config)
    exposed = exposed_of(f"plain_{uuid.uuid4().hex[:8]}")
    await store.create_collection(exposed.collection, deadline())
    assert (await store.look_for_exposure(exposed, deadline())).text_order == "code point"
    await store.make_exposure(exposed, [], deadline())
    indexes = session.execute(
        "select indexdef from pg_indexes where tablename = %s and indexname like 'podroute_exposed_%%'",
        [exposed.collection.name],
    ).fetchall()
    assert len(indexes) == 1
    assert "{url}" in indexes[0][0]
    await store.close()


async def test_texts_have_one_order_where_pod_and_primary_sort_differently(
    store: PgvectorBackend, fdw: FdwBackend, sql_side: Databases
) -> None:
    exposed = exposed_of(f"sorted_{uuid.uuid4().hex[:8]}", code_point_order=True)
    name = exposed.collection.name
    await store.create_collection(exposed.collection, deadline())
    await store.make_exposure(exposed, [], deadline())
    await fdw.make_exposure(exposed, [], deadline())
    collations = (
        "select attname::text, collname::text from pg_attribute join pg_collation c on c.oid = attcollation "
        "where attrelid = %s::regclass order by attname"
    )
    for connection in (sql_side.primary, sql_side.alpha):
        found = connection.execute(collations, [f"public.{name}"]).fetchall()
        assert found == [("id", "C"), ("url", "C")]
    await fdw.remove_exposure(exposed, [], deadline())
    await store.remove_exposure(exposed, [], deadline())
    await store.drop_collection(exposed.collection, deadline())


async def test_a_server_of_someone_else_is_given_no_password(
    store: PgvectorBackend, fdw: FdwBackend, sql_side: Databases
) -> None:
    exposed = exposed_of(f"c_{uuid.uuid4().hex[:8]}", pod="beta")
    await store.create_collection(exposed.collection, deadline())
    await store.make_exposure(exposed, [], deadline())
    server = '"podroute_beta:exposed"'
    sql_side.primary.execute(f"create server {server} foreign data wrapper postgres_fdw".encode())
    sql_side.primary.execute(f"grant usage on foreign server {server} to public".encode())
    with pytest.raises(AlreadyExists) as refused:
        await fdw.make_exposure(exposed, [], deadline())
    assert refused.value.reason == "SERVER_TAKEN"
    mappings = "select usename from pg_user_mappings where srvname = 'podroute_beta:exposed'"
    assert sql_side.primary.execute(mappings).fetchall() == []
    drifts = await fdw.inspect_exposures([exposed], deadline())
    [found] = [drift for drift in drifts if drift.thing == "server podroute_beta:exposed"]
    assert found.problem == "belongs to someone else"
    assert found.command == f"as administrator: drop server {server} cascade"
    sql_side.primary.execute(f"drop server {server} cascade".encode())
    await fdw.make_exposure(exposed, [], deadline())
    await fdw.remove_exposure(exposed, [], deadline())
    await store.remove_exposure(exposed, [], deadline())
    await store.drop_collection(exposed.collection, deadline())
