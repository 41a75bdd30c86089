"""Names of collections: those that podroute takes as well, and others."""

import sys

import vecs
from outcomes import step

vx = vecs.create_client(sys.argv[1])
for name in ("docs", "a", "with_under_9", "a" * 48):
    step(f"make {name}", lambda n=name: repr(vx.get_or_create_collection(n, dimension=2)))
    step(f"write {name}", lambda n=name: vx.get_or_create_collection(n, dimension=2).upsert([("a", [1, 2], {})]))
    step(f"list {name}", lambda: [each.name for each in vx.list_collections()])
    step(f"delete {name}", lambda n=name: vx.delete_collection(n))
for name in ("a" * 49, "My-Docs", "9lives", "été", "two words", ""):
    step(f"make {name!r}", lambda n=name: repr(vx.get_or_create_collection(n, dimension=2)))
    step(f"delete {name!r}", lambda n=name: vx.delete_collection(n))
vx.disconnect()
