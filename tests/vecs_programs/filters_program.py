"""Filters: what each finds, and which are refused. What has an order is of one type each."""

import sys

import vecs
from outcomes import step

vx = vecs.create_client(sys.argv[1])
docs = vx.get_or_create_collection("docs", dimension=2)
VALUES = {
    "one": 1,
    "two": 2,
    "half": 1.5,
    "zero": 0,
    "large": 2**53 + 1,
    "text1": "1",
    "text": "beta",
    "upper": "Beta",
    "empty text": "",
    "true": True,
    "false": False,
    "null": None,
    "list": [1, "beta", True, None, 2.0],
    "list of list": [[1]],
    "empty list": [],
    "dict": {"a": 1},
    "empty dict": {},
}
docs.upsert([*((name, [1, 1], {"k": value}) for name, value in VALUES.items()), ("missing", [1, 1], {"other": 1})])


def found(filters):
    return sorted(docs.query([1, 1], limit=100, filters=filters))


SCALARS = [0, 1, 1.0, 1.5, 2, 2**53 + 1, "1", "beta", "", True, False, None, 1.25, "alpha", -1, 1e300]
for operator in ("$eq", "$ne", "$contains"):
    for operand in SCALARS:
        step(f"{operator} {operand!r}", lambda o=operator, v=operand: found({"k": {o: v}}))
for operands in (
    [1],
    [1, "beta"],
    [True],
    [1, True],
    ["1"],
    [],
    [1.0, 1.5],
    [0, False],
    [None],
    [[1]],
    1,
    "beta",
    (1,),
):
    step(f"$in {operands!r}", lambda v=operands: found({"k": {"$in": v}}))
for operand in ([1], {"a": 1}, [], {}):
    step(f"$contains {operand!r}", lambda v=operand: found({"k": {"$contains": v}}))

ORDERED = {
    "number": [-1, 0, 1, 1.5, 2**53, 2**53 + 1, 1e300],
    "text": ["", "1", "alpha", "beta"],
    "flag": [False, True],
}
docs.upsert((f"{key} {value!r}", [1, 1], {key: value}) for key, values in ORDERED.items() for value in values)
for key, values in ORDERED.items():
    for operator in ("$lt", "$lte", "$gt", "$gte"):
        for operand in [*values, *([1.25] if key == "number" else [])]:
            step(f"{key} {operator} {operand!r}", lambda k=key, o=operator, v=operand: found({k: {o: v}}))
K, OTHER = {"k": {"$eq": 1}}, {"other": {"$eq": 1}}
COMBINED = [
    {"$and": [K]},
    {"$or": [K]},
    {"$or": [K, OTHER]},
    {"$and": [K, OTHER]},
    {"$and": [{"$or": [K, OTHER]}, {"k": {"$ne": 0}}]},
    {"$or": [{"$and": [K, {"k": {"$in": [1, 2]}}]}, {"k": {"$in": ["beta"]}}]},
    {"$or": [{"k": {"$in": []}}, K]},
    {"$and": [{"k": {"$in": []}}, K]},
    {"$or": [{"k": {"$ne": 1}}, K]},
    {"$and": K},
    {"$or": (K,)},
    {"$and": None},
    {"$and": [1]},
    {"$and": ["k"]},
    {"$and": [K, {"k": {"$foo": 1}}]},
    {"$and": [K], "$or": [K]},
    {"k": {"$eq": 1}, "other": {"$eq": 1}},
    {"k": {"$gte": 1, "$lte": 2}},
    {"k": {"$foo": 1}},
    {"k": {"eq": 1}},
    {"$not": K},
    {"k": {"$not": {"$eq": 1}}},
    {"k": {"$exists": True}},
    {"k": {"$nin": [1]}},
    {1: {"$eq": 1}},
    {("k",): {"$eq": 1}},
    {None: {"$eq": 1}},
    [K],
    "k",
    1,
    [],
    "",
    0,
    {"$k": {"$eq": 1}},
    {"none": {"$eq": 1}},
    {"none": {"$ne": 1}},
    {"k.a": {"$eq": 1}},
    {"é 😀 ' \" \\ % : ?": {"$eq": 1}},
    {"k": {"$eq": "' \" \\ % : ? 😀"}},
]
for filters in COMBINED:
    step(f"{filters!r}", lambda f=filters: found(f))
vx.delete_collection("docs")
vx.disconnect()
