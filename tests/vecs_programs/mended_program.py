"""What vecs does that nobody wants, and what podroute does instead."""

import sys

import vecs
from outcomes import step

vx = vecs.create_client(sys.argv[1])
docs = vx.get_or_create_collection("docs", dimension=2)
RECORDS = [(f"r{i}", [1, i], {"year": 2010 + i}) for i in range(5)]
docs.upsert(RECORDS)
docs.create_index()  # so that queries do not warn


def found(filters):
    return sorted(docs.query([1, 1], filters=filters))


step("a bare value finds", lambda: found({"year": 2012}))
step("a bare value deletes", lambda: docs.delete(filters={"year": 2012}))
step("a list for a value finds", lambda: found({"year": [2012]}))
step("no operator finds", lambda: found({"year": {}}))
step("$not finds", lambda: found({"$not": [{"year": {"$eq": 2012}}]}))
step("an empty filter within finds", lambda: found({"$or": [{}]}))
step("an id twice", lambda: docs.upsert([("twice", [1, 1], {"n": 1}), ("twice", [2, 2], {"n": 2})]))
step("an id twice, stored", lambda: [tuple(row) for row in docs.fetch(["twice"])])
step("an id twice, deleted", lambda: docs.delete(["twice"]))
step("fetch, in which order", lambda: [row[0] for row in docs.fetch(["r4", "r0", "r3"])])
step("fetch twice the same", lambda: len(docs.fetch(["r0", *(f"none{i}" for i in range(20)), "r0"])))
step("query for None", lambda: len(docs.query(None)))
step("write a vector beyond float32", lambda: docs.upsert([("r0", [1e39, 0], {})]))

docs.upsert([(repr(value), [1, 1], {"k": value}) for value in (1, "Beta", "beta", True, None, [1], [], {"a": 1})])
step("less than a number", lambda: found({"k": {"$lt": 2}}))
step("more than a number", lambda: found({"k": {"$gt": 0}}))
step("less than a text", lambda: found({"k": {"$lt": "alpha"}}))
step("more than a boolean", lambda: found({"k": {"$gt": False}}))
step("more than None", lambda: found({"k": {"$gt": None}}))
step("equal to a list", lambda: found({"k": {"$eq": [1]}}))
step("not equal to a list", lambda: found({"k": {"$ne": [1]}}))
step("equal to a dict", lambda: found({"k": {"$eq": {"a": 1}}}))
step("less than a dict", lambda: found({"k": {"$lt": {"a": 1}}}))

step("len", lambda: len(docs))
step("an empty $and finds", lambda: len(found({"$and": []})))
step("an empty $or finds", lambda: len(found({"$or": []})))
step("an empty $or deletes", lambda: len(docs.delete(filters={"$or": []})))
step("left by an empty $or", lambda: len(docs))
docs.upsert(RECORDS)
step("an empty $and deletes", lambda: len(docs.delete(filters={"$and": []})))
step("left by an empty $and", lambda: len(docs))

vx.delete_collection("docs")
vx.disconnect()
