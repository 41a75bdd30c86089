"""Several router processes that share a port: supervised, replaced where one dies, drained one by one."""

from typing import Final

WORKER: Final = f"{__name__}.worker"
"""The module that a worker runs."""

SERVING: Final = "serving"
"""What a worker tells its supervisor when it takes calls."""


class WorkerFailed(Exception):
    """A worker did not come to serve; the message says why."""
