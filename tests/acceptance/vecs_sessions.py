"""Has vecs, which lives in an environment of its own, do something as its users do."""

from __future__ import annotations

import atexit
import json
import subprocess
from functools import cache
from pathlib import Path
from subprocess import PIPE
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
    process = _process()
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        process.stdin.write(json.dumps({"url": url, "steps": steps}) + "\n")
        process.stdin.flush()
        answer = json.loads(process.stdout.readline())
    except BaseException:  # such as a test's time limit: what it answers yet is no answer to the next
        process.kill()
        _process.cache_clear()
        raise
    assert "results" in answer, answer["error"]
    results: list[Any] = answer["results"]
    return results


@cache
def _process() -> subprocess.Popen[str]:
    """One for all tests, as vecs takes longer to load than most of them; it ends with what it reads from."""
    process = subprocess.Popen([VECS_PYTHON, PROGRAM], stdin=PIPE, stdout=PIPE, text=True)
    atexit.register(process.communicate)
    return process


def url_of(conninfo: str, **changed: str) -> str:
    """A connection string as vecs takes it."""
    login = conninfo_to_dict(conninfo) | changed
    return "postgresql://{user}:{password}@{host}:{port}/{dbname}".format(**login)
