"""Real PostgreSQL servers, run as children of this process: what `podroute up`, the demo and the tests stand on."""

from podroute_router.embedded.binaries import Installation, find_installation
from podroute_router.embedded.cluster import Cluster, default_state_folder
from podroute_router.embedded.errors import BinariesMissing, EmbeddedError, ServerFailed, StateFolderInUse
from podroute_router.embedded.server import Server

__all__ = [
    "BinariesMissing",
    "Cluster",
    "EmbeddedError",
    "Installation",
    "Server",
    "ServerFailed",
    "StateFolderInUse",
    "default_state_folder",
    "find_installation",
]
