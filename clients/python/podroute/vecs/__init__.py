"""A drop-in for vecs 0.4.5 that goes through podroute: change the import and the address, and leave the program.

    from podroute import vecs

    vx = vecs.create_client("127.0.0.1:50051")
    docs = vx.get_or_create_collection(name="docs", dimension=3)
    docs.upsert(records=[("a", [0.1, 0.2, 0.3], {"year": 2012})])
    docs.create_index()
    docs.query(data=[0.4, 0.5, 0.6], limit=1, filters={"year": {"$eq": 2012}}, include_value=True)

docs/vecs-client.md says what is the same and what differs on purpose.
"""

from podroute.vecs import adapter as adapter
from podroute.vecs import exc
from podroute.vecs.client import Client
from podroute.vecs.client import create_client as create_client
from podroute.vecs.collection import Collection
from podroute.vecs.indexes import IndexArgsHNSW, IndexArgsIVFFlat, IndexMeasure, IndexMethod

__project__ = "vecs"
__version__ = "0.4.5"
"""The version of vecs whose programs run."""

__all__ = [  # noqa: RUF022 (as vecs has it)
    "IndexArgsIVFFlat",
    "IndexArgsHNSW",
    "IndexMethod",
    "IndexMeasure",
    "Collection",
    "Client",
    "exc",
]
