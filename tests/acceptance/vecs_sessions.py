"""Has vecs, which lives in an environment of its own, do something as its users do."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
from psycopg.conninfo import conninfo_to_dict

VECS_PYTHON = Path(__file__).resolve().parents[2] / ".venv-vecs" / "bin" / "python"
"""The interpreter that has vecs, made by `make test`."""
PROGRAM = Path(__file__).with_name("vecs_session.py")


def need_vecs() -> None:
    """Fails where there is no vecs."""
    if not VECS_PYTHON.exists():
        pytest.fail("there is no .venv-vecs: `make test` makes it")


def step(collection: str, call: str, **arguments: object) -> dict[str, Any]:
    """A call of a method of vecs; see the program."""
    return {"collection": collection, "call": call, **arguments}


def vecs_as(url: str, *steps: dict[str, Any]) -> list[Any]:
    """What came of each step."""
    done = subprocess.run(
        [VECS_PYTHON, PROGRAM],
        input=json.dumps({"url": url, "steps": steps}),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    results: list[Any] = json.loads(done.stdout)
    return results


def url_of(conninfo: str, **changed: str) -> str:
    """A connection string as vecs takes it."""
    login = conninfo_to_dict(conninfo) | changed
    return "postgresql://{user}:{password}@{host}:{port}/{dbname}".format(**login)
