"""After the preparation the router is an ordinary role, and preparing again changes nothing."""

from __future__ import annotations

import psycopg
import pytest
from podroute_router.embedded import Cluster
from podroute_router.postgres.prepare import preparation_script, prepare
from podroute_router.postgres.scram import verifier
from servers import kept_verifier, new_database

ROUTER = "podroute"


@pytest.fixture
def database(cluster: Cluster) -> str:
    """A new database on a server whose roles are prepared already."""
    server = cluster.pods["beta"]
    return server.admin_conninfo(new_database(server))


def password(cluster: Cluster) -> str:
    return cluster.router_password_file.read_text(encoding="utf-8").strip()


def owners(conninfo: str) -> list[tuple[object, ...]]:
    with psycopg.connect(conninfo) as admin:
        return admin.execute(
            "select nspname, nspowner::regrole::text, nspacl::text from pg_namespace where nspname !~ '^pg_' order by 1"
        ).fetchall()


def test_preparing_twice_changes_nothing(cluster: Cluster, database: str) -> None:
    secret = kept_verifier(ROUTER, password(cluster))
    prepare(database, role=ROUTER, verifier=secret, pod=True, primary=True)
    once = owners(database)
    prepare(database, role=ROUTER, verifier=secret, pod=True, primary=True)
    assert owners(database) == once
    assert {(row[0], row[1]) for row in once} >= {
        (name, "podroute_owner") for name in ("vecs", "podroute", "podroute_catalog", "podroute_fdw")
    }


def test_a_pod_alone_gets_no_catalog_and_no_foreign_data_wrapper(cluster: Cluster, database: str) -> None:
    prepare(database, role=ROUTER, verifier=kept_verifier(ROUTER, password(cluster)), pod=True, primary=False)
    names = {row[0] for row in owners(database)}
    assert {"vecs", "podroute"} <= names
    assert not {"podroute_catalog", "podroute_fdw"} & names


def test_a_schema_of_a_vecs_client_stays_its_own(cluster: Cluster, database: str) -> None:
    with psycopg.connect(database, autocommit=True) as admin:
        admin.execute("create schema vecs")
    prepare(database, role=ROUTER, verifier=kept_verifier(ROUTER, password(cluster)), pod=True, primary=False)
    assert {row[0]: row[1] for row in owners(database)}["vecs"] == "postgres"
    router = psycopg.connect(database, user=ROUTER, password=password(cluster))
    with router:
        router.execute("create table vecs.mine (id text)")


@pytest.mark.parametrize("schema", ["podroute", "podroute_catalog", "podroute_fdw"])
def test_a_schema_of_podroutes_that_another_made_is_refused_whole(cluster: Cluster, database: str, schema: str) -> None:
    """What is in it could run as the router, which is a member of the owner."""
    with psycopg.connect(database, autocommit=True) as admin:
        admin.execute(f"create schema {schema} authorization podroute_reader".encode())
    before = owners(database)
    secret = kept_verifier(ROUTER, password(cluster))
    with pytest.raises(psycopg.errors.RaiseException, match=f'schema "?{schema}"? belongs to another role'):
        prepare(database, role=ROUTER, verifier=secret, pod=True, primary=True)
    assert owners(database) == before


@pytest.mark.parametrize("name", ["primary", "alpha", "beta"])
def test_the_routers_role_is_an_ordinary_one(cluster: Cluster, name: str) -> None:
    with psycopg.connect(cluster.servers[name].admin_conninfo()) as admin:
        roles = admin.execute(
            "select rolname, rolsuper or rolcreaterole or rolcreatedb or rolbypassrls or rolreplication, rolcanlogin "
            "from pg_roles where rolname like 'podroute%' order by 1"
        ).fetchall()
        [(stored,)] = admin.execute(
            "select rolpassword from pg_authid where rolname = %s", (cluster.router_role,)
        ).fetchall()
    assert roles == [("podroute", False, True), ("podroute_owner", False, False), ("podroute_reader", False, False)]
    assert stored.startswith("SCRAM-SHA-256$")


def test_no_password_is_stored_in_a_user_mapping_of_the_router(cluster: Cluster, router: object) -> None:
    with psycopg.connect(cluster.primary.admin_conninfo(cluster.primary.database)) as admin:
        options = admin.execute(
            "select srvname, umoptions from pg_user_mappings where usename = 'podroute' order by 1"
        ).fetchall()
    assert {name for name, _ in options} <= {"podroute_alpha", "podroute_beta"}
    assert all(mapping == ["user=podroute"] for _, mapping in options)


def test_the_control_view_sets_only_what_it_should(cluster: Cluster) -> None:
    with psycopg.connect(
        cluster.pods["alpha"].conninfo(cluster.router_role), password=password(cluster), autocommit=True
    ) as router:
        with router.transaction():
            router.execute("insert into podroute.control values ('hnsw.ef_search', '77')")
            [(inside,)] = router.execute("select current_setting('hnsw.ef_search')").fetchall()
        [(after,)] = router.execute("select current_setting('hnsw.ef_search', true)").fetchall()
        assert (inside, after) != ("77", "77")
        assert inside == "77"
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            router.execute("insert into podroute.control values ('role', 'postgres')")


def test_the_script_for_a_person_holds_no_secret(cluster: Cluster) -> None:
    script = preparation_script(role=ROUTER, pod=True, primary=True)
    assert "create extension if not exists vector;" in script
    assert password(cluster) not in script
    assert kept_verifier(ROUTER, password(cluster)).split("$", 2)[2] not in script


def test_the_verifier_depends_on_role_and_password_alone() -> None:
    once = verifier("a", "secret")
    assert verifier("a", "secret") == once
    assert verifier("b", "secret") != once
    assert verifier("a", "other") != once


@pytest.mark.parametrize("bad", ["", "pass\nword", "pässword"])
def test_a_password_that_saslprep_would_change_is_refused(bad: str) -> None:
    with pytest.raises(ValueError, match="printable ASCII"):
        verifier("a", bad)
