"""Notices that somebody changed what the primary's plans rest on, so that they are looked at again."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Mapping
from typing import Any, Final, NoReturn

from podroute_router.domain import Deadline
from podroute_router.postgres.access import TableAccess
from podroute_router.postgres.connection import Connection
from podroute_router.postgres.pool import Pool

from podroute_fdw.objects import server_name

INTERVAL_S: Final = 5.0
"""Between two looks: for so long calls may be served by a plan that was good before."""
LOOK_S: Final = 5.0
"""Bound on one look."""
FAILURES_TOLD: Final = 3
"""One alone says little: a router that starts needs the connection for longer than a look waits for it."""

_FACTS = """
select s.srvname, s.srvoptions, e.extversion, e.extnamespace
from pg_foreign_server s cross join pg_extension e
where s.srvname = any($1) and e.extname = 'vector'
"""

_log = logging.getLogger(__name__)

Facts = Mapping[str, tuple[Any, ...]]


async def watch_servers(pool: Pool, access: Mapping[str, TableAccess], known: Facts) -> NoReturn:
    """Has the access to a pod forget its plans when the pod's server, or pgvector on the primary, has changed.

    Args:
        pool: connections to the primary.
        access: to each pod.
        known: how things were when the plans began to be looked at.
    """
    failures = 0
    while True:
        await asyncio.sleep(INTERVAL_S)
        deadline = Deadline.after(LOOK_S)
        try:
            async with asyncio.timeout(LOOK_S), pool.connection(deadline) as connection:
                now = await server_facts(connection, access)
        except Exception as error:  # noqa: BLE001  (this task must outlive any fault)
            failures += 1
            if failures == FAILURES_TOLD:  # once an outage
                _log.warning("the foreign servers cannot be looked at, and are again every %s s: %r", INTERVAL_S, error)
        else:
            if failures >= FAILURES_TOLD:
                _log.info("the foreign servers are looked at again")
            failures = 0
            for pod, of_pod in access.items():
                if known.get(server_name(pod)) != now.get(server_name(pod)):
                    _log.info("server %s or pgvector has changed: plans are looked at anew", server_name(pod))
                    of_pod.forget_plans()
            known = now


async def server_facts(connection: Connection, pods: Iterable[str]) -> Facts:
    """What the plans of each pod's server rest on, by the server's name."""
    rows = await connection.execute(_FACTS, ([server_name(pod) for pod in pods],))
    return {name: tuple(facts) for name, *facts in await rows.fetchall()}
