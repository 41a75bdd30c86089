"""Programs written for vecs run on podroute.vecs, unchanged but for the import and the address.

Each program of `tests/vecs_programs` runs twice: with the vecs package on a database, and with `podroute.vecs` on a
router. Both print what became of every step, and the lines are the same, but for those that `deliberate` lists.
"""

from __future__ import annotations

import asyncio
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
NAMES = sorted(path.stem for path in PROGRAMS.glob("*_program.py"))
TIMEOUT_S = 60.0


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


async def lines(python: Path | str, program: Path, address: str) -> list[str]:
    """What a program prints."""
    process = await asyncio.create_subprocess_exec(
        python, program, address, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    try:
        out, err = await asyncio.wait_for(process.communicate(), TIMEOUT_S)
    except TimeoutError:
        process.kill()
        await process.wait()
        raise
    assert process.returncode == 0, err.decode()
    return out.decode().splitlines()


def by_step(printed: list[str]) -> dict[str, list[str]]:
    """The lines of each step, whose label is unique in its program."""
    steps: dict[str, list[str]] = {}
    for line in printed:
        label, _, outcome = line.partition(" | ")
        steps.setdefault(label, []).append(outcome)
    return steps


@pytest.mark.parametrize("name", NAMES)
async def test_a_program_does_the_same_on_podroute(
    name: str, database_url: str, router_address: str, rewritten: Path
) -> None:
    program = f"{name}.py"
    of_vecs, of_podroute = map(
        by_step,
        await asyncio.gather(
            lines(VECS_PYTHON, PROGRAMS / program, database_url),
            lines(sys.executable, rewritten / program, router_address),
        ),
    )
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
