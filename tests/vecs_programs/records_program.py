"""Writes, reads and deletes records."""

import sys
from array import array

import numpy as np
import vecs
from outcomes import step

vx = vecs.create_client(sys.argv[1])
docs = vx.get_or_create_collection("docs", dimension=3)

RECORDS = [
    ("a", [1, 0, 0], {"year": 2012, "tags": ["new"]}),
    ("b", [0.5, 0.25, 0], {"year": 2020.5, "nested": {"deep": [1, None, True]}}),
    ("c", (0.0, 1.0, 0.0), {}),
    ("d", np.array([0, 0, 1], dtype=np.float64), None),
]


def fetched(*ids):
    return sorted((tuple(row) for row in docs.fetch(ids)), key=lambda row: row[0])


step("upsert", lambda: docs.upsert(records=RECORDS))
step("len", lambda: len(docs))
step("truth", lambda: bool(docs))
step("fetch", lambda: fetched("a", "b", "c", "d"))
step("fetch some", lambda: fetched("a", "none"))
step("fetch none", lambda: docs.fetch(["none"]))
step("fetch nothing", lambda: docs.fetch([]))
step("fetch by keyword", lambda: len(docs.fetch(ids=["a", "b"])))
step("fetch a generator", lambda: len(docs.fetch(each for each in "abc")))
step("fetch a set", lambda: len(docs.fetch({"a", "b"})))
step("fetch a string", lambda: docs.fetch("abc"))
step("fetch a number", lambda: docs.fetch(1))
step("fetch numbers", lambda: docs.fetch([1]))
step("fetch twice the same", lambda: fetched("a", "a"))
step("item", lambda: docs["a"])
step("item's parts", lambda: [docs["a"].id, docs["a"].vec, docs["a"].metadata])
step("item's places", lambda: [docs["a"][0], docs["a"][1], docs["a"][2], len(docs["a"])])
step("item unpacked", lambda: [*docs["a"]])
step("item shown", lambda: repr(docs["a"]))
step("item missing", lambda: docs["none"])
step("item by number", lambda: docs[0])
step("item by slice", lambda: docs["a":"b"])
step("iteration", lambda: list(docs))
step("contains", lambda: "a" in docs)

step("replace", lambda: docs.upsert([("a", [0, 0, 9], {"year": 1})]))
step("replaced", lambda: fetched("a"))
step("upsert nothing", lambda: docs.upsert([]))
step("upsert a generator", lambda: docs.upsert((f"g{i}", [i, 0, 1], {"i": i}) for i in range(1201)))
step("len of more than a chunk", lambda: len(docs))
step("fetch more than a chunk", lambda: len(docs.fetch(f"g{i}" for i in range(1201))))
step("upsert lists", lambda: docs.upsert([["l", [1, 1, 1], {"a": 1}]]))
step("upsert float32", lambda: docs.upsert([("f", np.array([1, 2, 3], dtype=np.float32), {})]))
step("upsert integers", lambda: docs.upsert([("i", np.array([1, 2, 3]), {})]))
step("upsert an array", lambda: docs.upsert([("r", array("f", [1, 2, 3]), {})]))
step("upsert a range", lambda: docs.upsert([("n", range(3), {})]))
step("stored", lambda: fetched("l", "f", "i", "r", "n"))
step("skip the adapter", lambda: docs.upsert([("s", [1, 2, 3], {"k": 1})], skip_adapter=True))
step("skipped", lambda: fetched("s"))
step("upsert two parts", lambda: docs.upsert([("t", [1, 2, 3])]))
step("upsert four parts", lambda: docs.upsert([("t", [1, 2, 3], {}, 4)]))
step("upsert None", lambda: docs.upsert(None))
step("upsert too short", lambda: docs.upsert([("t", [1, 2], {})]))
step("upsert too long", lambda: docs.upsert([("t", [1, 2, 3, 4], {})]))
step("upsert a matrix", lambda: docs.upsert([("t", [[1, 2, 3]], {})]))
step("upsert no vector", lambda: docs.upsert([("t", None, {})]))
step("upsert words", lambda: docs.upsert([("t", ["x", "y", "z"], {})]))
step("upsert NaN", lambda: docs.upsert([("t", [float("nan"), 0, 0], {})]))
step("upsert infinity", lambda: docs.upsert([("t", [float("inf"), 0, 0], {})]))
step("upsert number for id", lambda: docs.upsert([(1, [1, 2, 3], {})]))
step("upsert no JSON", lambda: docs.upsert([("t", [1, 2, 3], {"x": object()})]))
step("upsert NaN in metadata", lambda: docs.upsert([("t", [1, 2, 3], {"x": float("nan")})]))
step("upsert U+0000", lambda: docs.upsert([("t", [1, 2, 3], {"x": "\0"})]))
step("bad among good", lambda: docs.upsert([("good", [1, 2, 3], {}), ("bad", [1, 2], {})]))
step("bad after a chunk", lambda: docs.upsert([*((f"h{i}", [1, 2, 3], {}) for i in range(600)), ("bad", [1, 2], {})]))
step("none of them is there", lambda: docs.fetch(["t", "good", "bad", "h0"]))
step("zeros", lambda: docs.upsert([("z", [0, 0, 0], {})]))
step("odd ids", lambda: docs.upsert([("é 😀 ' \" \\ %", [1, 2, 3], {"é 😀": "\n\t\\"})]))
step("odd ids fetched", lambda: docs["é 😀 ' \" \\ %"])

step("delete", lambda: docs.delete(["a"]))
step("delete again", lambda: docs.delete(["a"]))
step("delete some", lambda: sorted(docs.delete(ids=["b", "none", "c"])))
step("delete the same twice", lambda: docs.delete(["d", "d"]))
step("delete a generator", lambda: sorted(docs.delete(f"g{i}" for i in range(1000, 1100))))
step("delete by filter", lambda: sorted(docs.delete(filters={"i": {"$lt": 3}})))
step("delete by filter again", lambda: docs.delete(filters={"i": {"$lt": 3}}))
step("delete many", lambda: len(docs.delete(filters={"i": {"$gte": 500}})))
step("delete nothing", docs.delete)
step("delete both", lambda: docs.delete(ids=["a"], filters={"year": {"$eq": 1}}))
step("delete no ids", lambda: docs.delete(ids=[]))
step("delete empty filter", lambda: docs.delete(filters={}))
step("delete no ids, empty filter", lambda: docs.delete(ids=[], filters={}))
step("delete a string", lambda: docs.delete("abc"))
step("delete a number", lambda: docs.delete([1]))
step("delete by list", lambda: docs.delete(filters=[{"year": {"$eq": 1}}]))
step("left", lambda: len(docs))
vx.delete_collection("docs")
vx.disconnect()
