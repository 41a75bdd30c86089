"""How the programs tell what became of each step: in lines that are the same for vecs and for podroute.vecs."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import vecs


def plain(value: object) -> object:
    """The value as Python's own types; a vector as its components and what holds them."""
    if isinstance(value, dict):
        return {key: plain(each) for key, each in sorted(value.items())}
    if hasattr(value, "dtype"):
        return f"{type(value).__name__} of {value.dtype}: {value.tolist()}"
    if isinstance(value, float):
        return round(value, 6)
    if isinstance(value, (str, int, type(None))):
        return value
    if isinstance(value, list):
        return [plain(each) for each in value]
    return tuple(plain(each) for each in value)  # rows


def step(label: str, act: Callable[[], Any]) -> None:
    """Does something and tells its warnings and its result, or what it raised.

    An exception of vecs' or of Python's is told in its words. Those that vecs lets out of SQLAlchemy and psycopg2 are
    podroute's own here, and told in the same words.
    """
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            outcome = repr(plain(act()))
        except vecs.exc.VecsException as error:
            bases = [kind.__name__ for kind in type(error).__mro__[1:-1]]
            outcome = f"raised {type(error).__name__} {bases}: {error}"
        except Exception as error:  # noqa: BLE001
            own = type(error).__module__ == "builtins"
            outcome = f"raised {type(error).__name__}: {error}" if own else "raised an error of the database"
    told = [f"warned {each.category.__name__}: {each.message} at {Path(each.filename).name}" for each in caught]
    for line in [*told, outcome]:
        sys.stdout.write(f"{label} | {line}\n")
