"""Searches, with every combination of what may be included."""

import sys

import numpy as np
import vecs
from outcomes import step
from vecs import IndexMeasure

vx = vecs.create_client(sys.argv[1])
docs = vx.get_or_create_collection("docs", dimension=3)

step("empty", lambda: docs.query([1, 0, 0]))
step("empty with value", lambda: docs.query([1, 0, 0], include_value=True))
docs.upsert(
    [
        ("a", [1, 0, 0], {"year": 2012}),
        ("b", [0.5, 0.25, 0], {"year": 2016}),
        ("c", [0, 2, 0], {"year": 2020}),
        ("d", [0, 0, 3], {}),
    ]
)
step("ids", lambda: docs.query([1, 0, 0]))
step("by keyword", lambda: docs.query(data=[1, 0, 0], limit=2))
step("by position", lambda: docs.query([1, 0, 0], 2, {"year": {"$gt": 2012}}, "l2_distance", True, True))
for value in (False, True):
    for metadata in (False, True):
        step(
            f"value {value}, metadata {metadata}",
            lambda v=value, m=metadata: docs.query([0.9, 0.2, 0.1], limit=3, include_value=v, include_metadata=m),
        )
step("shown", lambda: repr(docs.query([1, 0, 0], limit=1, include_value=True, include_metadata=True)))
step("type", lambda: type(docs.query([1, 0, 0], limit=1, include_value=True)).__name__)
step("types", lambda: [type(each).__name__ for each in docs.query([1, 0, 0], include_value=True)[0]])
step("unpacked", lambda: [id_ for id_, distance in docs.query([1, 0, 0], include_value=True)])
step("parts", lambda: [row.id for row in docs.query([1, 0, 0], include_metadata=True)])
step("metadata's part", lambda: docs.query([1, 0, 0], limit=1, include_metadata=True)[0].metadata)
for measure in [*IndexMeasure, "cosine_distance", "l2_distance", "max_inner_product", "l1_distance"]:
    step(f"{measure}", lambda m=measure: docs.query([0.9, 0.2, 0.1], measure=m, include_value=True))
step("no measure", lambda: docs.query([1, 0, 0], measure="hamming"))
step("measure None", lambda: docs.query([1, 0, 0], measure=None))
step("limit 0", lambda: docs.query([1, 0, 0], limit=0))
step("limit 1000", lambda: len(docs.query([1, 0, 0], limit=1000)))
step("limit 1001", lambda: docs.query([1, 0, 0], limit=1001))
step("limit -1", lambda: docs.query([1, 0, 0], limit=-1))
step("limit None", lambda: docs.query([1, 0, 0], limit=None))
step("limit 1.5", lambda: docs.query([1, 0, 0], limit=1.5))
step("limit as text", lambda: docs.query([1, 0, 0], limit="2"))
step("probes", lambda: docs.query([1, 0, 0], probes=3))
step("probes 0", lambda: docs.query([1, 0, 0], probes=0))
step("probes as text", lambda: docs.query([1, 0, 0], probes="3"))
step("probes 1.5", lambda: docs.query([1, 0, 0], probes=1.5))
step("probes beyond", lambda: docs.query([1, 0, 0], probes=40_000))
step("ef_search", lambda: docs.query([1, 0, 0], ef_search=10))
step("ef_search 0", lambda: docs.query([1, 0, 0], ef_search=0))
step("ef_search beyond", lambda: docs.query([1, 0, 0], ef_search=1001))
step("options by position", lambda: docs.query([1, 0, 0], 1, None, "cosine_distance", False, False, 3))
step("too short", lambda: docs.query([1, 0]))
step("too long", lambda: docs.query([1, 0, 0, 0]))
step("words", lambda: docs.query(["x", "y", "z"]))
step("a text", lambda: docs.query("abc"))
step("NaN", lambda: docs.query([float("nan"), 0, 0]))
step("a tuple", lambda: docs.query((1, 0, 0)))
step("an array", lambda: docs.query(np.array([1, 0, 0])))
step("a float32 array", lambda: docs.query(np.array([1, 0, 0], dtype=np.float32)))
step("a matrix", lambda: docs.query([[1, 0, 0]]))
step("skip the adapter", lambda: docs.query([1, 0, 0], skip_adapter=True))
step("no filter", lambda: docs.query([1, 0, 0], filters=None))
step("empty filter", lambda: docs.query([1, 0, 0], filters={}))
step("filter", lambda: docs.query([1, 0, 0], filters={"year": {"$gte": 2016}}))
docs.upsert([("z", [0, 0, 0], {})])
step("zeros stored", lambda: docs.query([1, 0, 0], include_value=True)[:4])
step("zeros stored, last", lambda: docs.query([1, 0, 0], include_value=True)[4][0])
step("zeros asked", lambda: sorted(docs.query([0, 0, 0])))
step("zeros asked, by l2", lambda: docs.query([0, 0, 0], measure="l2_distance"))
vx.delete_collection("docs")
vx.disconnect()
