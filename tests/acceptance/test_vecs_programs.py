"""Programs written for vecs run on podroute.vecs, unchanged but for the import and the address.

Each program of `tests/vecs_programs` runs twice: with the vecs package on a database, and with `podroute.vecs` on a
router. Both print what became of every step, and the lines are the same, but for those that `deliberate` lists.
"""

from __future__ import annotations

import asyncio
import json
import re
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from podroute_router.config import make_config
from podroute_router.embedded import Cluster
from podroute_router.server import Router
from psycopg.conninfo import conninfo_to_dict
from servers import POD_ON_PRIMARY, new_database, router_values, separate_primary
from vecs_programs.deliberate import DIFFERENCES

ROOT = Path(__file__).resolve().parents[2]
VECS_PYTHON = ROOT / ".venv-vecs" / "bin" / "python"
"""The interpreter that has vecs, made by `make test`."""
PROGRAMS = ROOT / "tests" / "vecs_programs"
LAUNCHER = PROGRAMS / "launcher.py"
NAMES = sorted(path.stem for path in PROGRAMS.glob("*_program.py"))
TIMEOUT_S = 100.0
"""For all of them."""


@pytest.fixture(scope="module")
def database_url(cluster: Cluster) -> str:
    """A database of a pod's server, as its superuser reaches it: vecs makes its schema and the extension itself."""
    if not VECS_PYTHON.exists():
        pytest.fail("there is no .venv-vecs: `make test` makes it")
    server = cluster.servers["alpha"]
    login = conninfo_to_dict(server.admin_conninfo(new_database(server)))
    return "postgresql://{user}:{password}@{host}:{port}/{dbname}".format(**login)


@pytest_asyncio.fixture(scope="module")
async def router_address(cluster: Cluster) -> AsyncIterator[str]:
    """A router of one database, which holds no collection of others."""
    values = router_values(cluster, primary=separate_primary(cluster))
    values["pods"] = {POD_ON_PRIMARY: values["pods"][POD_ON_PRIMARY]}
    router = await Router.start(make_config(values))
    yield router.address
    await router.stop()


@pytest.fixture(scope="module")
def rewritten(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The programs with another import."""
    folder = tmp_path_factory.mktemp("programs")
    for path in PROGRAMS.glob("*.py"):
        text = path.read_text(encoding="utf-8")
        text = re.sub(r"^import vecs$", "from podroute import vecs", text, flags=re.MULTILINE)
        text = re.sub(r"^from vecs\b", "from podroute.vecs", text, flags=re.MULTILINE)
        (folder / path.name).write_text(text, encoding="utf-8")
    return folder


async def printed_by(python: Path | str, package: str, folder: Path, address: str) -> dict[str, list[str]]:
    """The lines that each program of a folder prints."""
    programs = [folder / f"{name}.py" for name in NAMES]
    process = await asyncio.create_subprocess_exec(
        *(python, LAUNCHER, package, address, *programs), stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    try:
        out, err = await asyncio.wait_for(process.communicate(), TIMEOUT_S)
    except TimeoutError:
        process.kill()
        await process.wait()
        raise
    assert process.returncode == 0, err.decode()
    return {name: printed.splitlines() for name, printed in json.loads(out).items()}


@pytest_asyncio.fixture(scope="module")
async def printed(database_url: str, router_address: str, rewritten: Path) -> list[dict[str, list[str]]]:
    """What the programs print with vecs, and on podroute."""
    return await asyncio.gather(
        printed_by(VECS_PYTHON, "vecs", PROGRAMS, database_url),
        printed_by(sys.executable, "podroute.vecs", rewritten, router_address),
    )


def by_step(printed: list[str]) -> dict[str, list[str]]:
    """The lines of each step, whose label is unique in its program."""
    steps: dict[str, list[str]] = {}
    for line in printed:
        label, _, outcome = line.partition(" | ")
        steps.setdefault(label, []).append(outcome)
    return steps


@pytest.mark.parametrize("name", NAMES)
def test_a_program_does_the_same_on_podroute(name: str, printed: list[dict[str, list[str]]]) -> None:
    of_vecs, of_podroute = (by_step(lines[name]) for lines in printed)
    assert list(of_podroute) == list(of_vecs)
    expected = DIFFERENCES.get(name, {})
    different = {
        step: ("\n".join(outcome), "\n".join(of_podroute[step]))
        for step, outcome in of_vecs.items()
        if of_podroute[step] != outcome
    }
    assert different == expected


def test_every_difference_is_of_a_program() -> None:
    assert set(DIFFERENCES) <= set(NAMES)
