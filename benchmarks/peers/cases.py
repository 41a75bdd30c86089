"""All ways to have a query answered, started on one table and index: podroute's and its peers'."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace

from podroute_router.embedded.errors import EmbeddedError
from psycopg.conninfo import conninfo_to_dict

from benchmarks.children import START_TIMEOUT_S, VECS_PYTHON, Child, ChildFailed, start_all
from benchmarks.closed_loop import ProcessCallers
from benchmarks.measuring import Case
from benchmarks.peers.h2load import H2LOAD, H2loadCallers
from benchmarks.peers.h2load import MISSING as NO_H2LOAD
from benchmarks.peers.pgbench import PGBENCH, open_pgbench
from benchmarks.peers.pgbouncer import PGBOUNCER, UNPACKED, open_pgbouncer
from benchmarks.peers.program import Program, found, version
from benchmarks.stage import CLIENT, DIRECT, FDW, FLOOR, PATHS, Filled

VECS, PROXIED = "vecs", "psycopg, PgBouncer"
LIGHT = {case: f"{case}, {H2LOAD}" for case in (FLOOR, DIRECT, FDW)}
"""What a case is called where h2load calls it."""


@contextmanager
def open_cases(filled: Filled, *, callers: int, light: Sequence[str], notes: list[str]) -> Iterator[list[Case]]:
    """Starts all that can be measured on this machine.

    Args:
        filled: what is asked.
        callers: most at a time.
        light: cases that h2load calls as well.
        notes: what can not be measured is added here.
    """
    stage = filled.stage
    with ExitStack() as stack:
        floor = stack.enter_context(Child("floor", str(filled.database["limit"])))
        floor_address = floor.hear(START_TIMEOUT_S)["address"]
        cases = [
            Case(name=FLOOR, callers=filled.grpc_callers(floor_address, PATHS[DIRECT]), pids=[floor.pid]),
            filled.podroute(DIRECT),
            filled.podroute(CLIENT, client=True),
            filled.podroute(FDW),
            filled.bare(filled.start_bare(callers)),
        ]

        def try_add(name: str, start: Callable[[], Case]) -> None:
            try:
                cases.append(start())
            except (ChildFailed, EmbeddedError, OSError) as error:
                notes.append(f"{name} was not measured: {error}")

        try_add(VECS, lambda: _vecs(filled, stack, callers))
        try_add(PROXIED, lambda: _proxied(filled, stack, callers))
        try_add(PGBENCH, lambda: stack.enter_context(open_pgbench(filled)))
        h2load = found(H2LOAD)
        if h2load is None:
            notes.append(NO_H2LOAD)
        else:
            program = stack.enter_context(Program(H2LOAD))
            for case in light:
                address = floor_address if case == FLOOR else stage.address
                target = filled.target(address, PATHS.get(case, PATHS[DIRECT]))
                server = floor if case == FLOOR else stage.router
                cases.append(
                    Case(
                        name=LIGHT[case],
                        callers=H2loadCallers(program, h2load, filled, target),
                        pids=[server.pid],
                    )
                )
        yield cases


def peer_versions() -> dict[str, str]:
    """Of the peers that are programs of their own, those that there are."""
    vecs = "import importlib.metadata as m; print(*(f'{n} {m.version(n)}' for n in ('vecs', 'psycopg2-binary')))"
    said = {
        "vecs_version": version([VECS_PYTHON, "-c", vecs]),
        "h2load_version": version([found(H2LOAD) or H2LOAD, "--version"]),
        "pgbouncer_version": version([found(PGBOUNCER, UNPACKED / "usr" / "sbin") or PGBOUNCER, "--version"]),
    }
    return {name: text for name, text in said.items() if text}


def _vecs(filled: Filled, stack: ExitStack, callers: int) -> Case:
    if not VECS_PYTHON.exists():
        raise ChildFailed("vecs is not installed: `make bench` and `make bench-smoke` do that")
    cluster = filled.stage.cluster
    address = conninfo_to_dict(filled.database["dsn"])
    # As an administrator: vecs makes schema and extension where they are missing, and asks for the right to do so.
    database = {key: filled.database[key] for key in ("table", "limit")} | {
        **{key: address[key] for key in ("host", "port", "dbname")},
        "user": "postgres",
        "password_file": str(cluster.admin_password_file),
    }
    file = filled.stage.folder / "vecs.json"
    file.write_text(json.dumps(database), encoding="utf-8")
    processes = start_all(stack, "vecs_caller", str(filled.queries), str(file), count=callers, python=VECS_PYTHON)
    return Case(
        name=VECS,
        callers=ProcessCallers(processes, {}, queries=len(filled.dataset.queries)),
        pids=[process.pid for process in processes],
    )


def _proxied(filled: Filled, stack: ExitStack, callers: int) -> Case:
    conninfo, pid = stack.enter_context(open_pgbouncer(filled))
    child = filled.start_bare(callers, dsn=conninfo)
    return replace(filled.bare(child, name=PROXIED), pids=[child.pid, pid])
