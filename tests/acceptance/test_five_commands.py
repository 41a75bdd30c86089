"""docs/adopting-vecs.md does what it says, on a database that only vecs has used."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import podroute
import psycopg
from podroute_command import run, started
from podroute_router.embedded import Cluster
from servers import new_database
from vecs_sessions import need_vecs, step, url_of, vecs_as

ROOT = Path(__file__).resolve().parents[2]
PAGES = {"docs/adopting-vecs.md": "## Five commands", "README.md": "### From databases that vecs filled"}
OF_ANOTHER_POD = (
    b"create server podroute_other foreign data wrapper postgres_fdw",
    b"alter server podroute_other owner to podroute_owner",
    b"create user mapping for podroute_owner server podroute_other",
    b"create foreign table podroute_fdw.other (id text) server podroute_other",
    b"alter table podroute_fdw.other owner to podroute_owner",
)
"""What a primary has beside it where there are more pods."""


def block(page: str, heading: str, language: str) -> str:
    """The first example of a language below a heading."""
    below = (ROOT / page).read_text(encoding="utf-8").partition(f"{heading}\n")[2]
    found = re.search(rf"^```{language}\n(.*?)^```$", below, re.DOTALL | re.MULTILINE)
    assert found is not None
    return found[1]


def commands_of(page: str) -> list[list[str]]:
    """The words of each line of the page that runs podroute, without its comment."""
    lines = [line for line in block(page, PAGES[page], "sh").splitlines() if line.startswith("podroute ")]
    return [shlex.split(line, comments=True)[1:] for line in lines]


def test_both_pages_have_the_same_commands() -> None:
    first, *others = (commands_of(page) for page in PAGES)
    assert len(first) == 5
    assert all(other == first for other in others)


def test_a_database_of_vecs_is_adopted_by_five_commands(cluster: Cluster, tmp_path: Path) -> None:
    need_vecs()
    page = "docs/adopting-vecs.md"
    database = new_database(cluster.primary)
    admin = cluster.primary.admin_conninfo(database)
    records = [(str(i), [float(i), 1.0, 0.0], {"n": i}) for i in range(30)]
    vecs_as(
        url_of(admin),
        step("docs", "upsert", records=records, dimension=3),
        step("docs", "create_index", method="hnsw", measure="l2_distance", dimension=3),
        step("notes", "upsert", records=records[:5], dimension=3),
    )
    (tmp_path / "router_password").write_text(cluster.router_password_file.read_text(encoding="utf-8"))
    configuration = block(page, PAGES[page], "toml").replace(
        "host=db1.internal dbname=app user=podroute", cluster.primary.conninfo(cluster.router_role, database)
    )
    (tmp_path / "podroute.toml").write_text(configuration, encoding="utf-8")
    prepare, serve, *adopt = (
        [str(tmp_path / word) if (tmp_path / word).is_file() else word for word in command]
        for command in commands_of(page)
    )
    prepared = run(*prepare, PODROUTE_ADMIN_DSN=admin)
    assert prepared.returncode == 0, prepared.stderr
    assert serve.pop() == "&"
    with started(*serve, PODROUTE_ROUTER__LISTEN="127.0.0.1:0") as router:
        address = router.wait_for(r"serving on (127\.0\.0\.1:\d+)", on_stderr=True)
        listed, dry, done = (run(*command, PODROUTE_ADDRESS=address) for command in adopt)
        assert [each.returncode for each in (listed, dry, done)] == [0, 0, 0], (listed, dry, done)
        assert "docs" in listed.stdout
        assert "would adopt vecs.docs on pod main as docs (3 components, l2, about 30 records)" in dry.stdout
        assert "adopted vecs.notes on pod main as notes (3 components, cosine, about 5 records)" in done.stdout
        with podroute.Client(address) as client:
            assert [each.name for each in client.list_collections()] == ["docs", "notes"]
            for path in ("direct", "fdw"):
                found = client.query("docs", [7.0, 1.0, 0.0], limit=1, include_metadata=True, path=path)
                assert [(match.id, match.metadata) for match in found.matches] == [("7", {"n": 7})]
            client.upsert("notes", [("new", [5.0, 5.0, 5.0], {})])
            client.create_collection("made", dimension=3)
            client.upsert("made", [("here", [1.0, 2.0, 3.0], {})])
    [fetched] = vecs_as(url_of(admin), step("notes", "fetch", ids=["new"], dimension=3))
    assert fetched == [["new", [5.0, 5.0, 5.0], {}]]
    leave(admin)
    listed, fetched = vecs_as(
        url_of(admin), {"call": "list_collections"}, step("made", "fetch", ids=["here"], dimension=3)
    )
    assert (listed, fetched) == (["docs", "made", "notes"], [["here", [1.0, 2.0, 3.0], {}]])


def leave(admin: str) -> None:
    """Takes podroute out of the database, as the page says."""
    statements = block("docs/adopting-vecs.md", "## Leaving", "sql").replace(" to app;", " to postgres;")
    with psycopg.connect(admin, autocommit=True) as session:
        for statement in OF_ANOTHER_POD:
            session.execute(statement)
        for statement in statements.strip().split(";\n"):
            session.execute(statement.encode())
        left = session.execute(
            "select nspname::text from pg_namespace where nspname ~ '^podroute' union all "
            "select srvname from pg_foreign_server union all "
            "select relname from pg_class where relowner::regrole::text ~ '^podroute'"
        ).fetchall()
        assert left == []
