"""The last word on a run: what the pods' tables hold, read past podroute, and what every router says on each path."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence

import podroute
import psycopg
from podroute import Error
from psycopg import sql

from .callers import PATHS, fetched
from .ledger import Fault, Key, Ledger, State

PATIENCE_S = 20.0
"""How long after the last kill every router has to answer on each path."""


def stored(conninfo: str, collection: str, ledger: Ledger) -> dict[Key, State]:
    """What a pod's table holds; a record that nobody ever wrote is a fault."""
    with psycopg.connect(conninfo) as connection:
        statement = sql.SQL("select id, vec::real[], metadata from {}").format(sql.Identifier("vecs", collection))
        rows = connection.execute(statement).fetchall()
    known = set(ledger.keys(collection))
    states: dict[Key, State] = {}
    for record_id, vector, metadata in rows:
        key = (collection, record_id)
        states[key] = ledger.read(key, vector, metadata, "table")
        if key not in known:
            ledger.find(Fault.PHANTOM, key, str(metadata), "table")
    return states


def check_tables(pods: Mapping[str, str], ledger: Ledger) -> dict[Key, State]:
    """Compares the tables with the ledger; `pods` has a conninfo for each collection."""
    found: dict[Key, State] = {}
    for collection, conninfo in pods.items():
        states = stored(conninfo, collection, ledger)
        for key in ledger.keys(collection):
            found[key] = states.get(key)
            ledger.judge(key, found[key], "table")
    return found


async def check_routers(clients: Sequence[podroute.AsyncClient], found: Mapping[Key, State], ledger: Ledger) -> None:
    """Every router has to say on each path what the tables hold."""
    for collection in {name for name, _ in found}:
        ids = [record_id for name, record_id in found if name == collection]
        for client in clients:
            for path in PATHS:
                result = await _patiently(client, collection, ids, path)
                for key, state in fetched(result, collection, ledger, f"fetch over {path} at the end").items():
                    if state != found[key]:
                        ledger.find(Fault.LOST, key, f"{state}, but {found[key]} in the table", f"fetch over {path}")


async def _patiently(
    client: podroute.AsyncClient, collection: str, ids: Sequence[str], path: podroute.Path
) -> podroute.FetchResult:
    async with asyncio.timeout(PATIENCE_S):
        while True:
            try:
                return await client.fetch(collection, ids, path=path, timeout=PATIENCE_S)
            except Error:
                await asyncio.sleep(0.1)
