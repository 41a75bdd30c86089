"""Makes, finds, lists and deletes collections."""

import sys

import vecs
from outcomes import step
from vecs.adapter import Adapter, NoOp, ParagraphChunker

vx = vecs.create_client(sys.argv[1])

step("none", vx.list_collections)
step("none with len", lambda: [len(each) for each in vx.list_collections()])
step("get or create", lambda: repr(vx.get_or_create_collection(name="docs", dimension=3)))
step("get or create again", lambda: repr(vx.get_or_create_collection(name="docs", dimension=3)))
step("by position", lambda: repr(vx.get_or_create_collection("docs", dimension=3)))
step("dimension by position", lambda: vx.get_or_create_collection("docs", 3))
step("other dimension", lambda: vx.get_or_create_collection(name="docs", dimension=4))
step("no dimension", lambda: vx.get_or_create_collection(name="docs"))
step("no dimension, new", lambda: vx.get_or_create_collection(name="other"))
step("dimension 0", lambda: vx.get_or_create_collection(name="zero", dimension=0))
step("dimension -1", lambda: vx.get_or_create_collection(name="negative", dimension=-1))
step("dimension 16001", lambda: vx.get_or_create_collection(name="large", dimension=16001))
step("adapter's dimension", lambda: repr(vx.get_or_create_collection("adapted", adapter=Adapter([NoOp(dimension=2)]))))
step("adapter agrees", lambda: repr(vx.get_or_create_collection("adapted", dimension=2, adapter=Adapter([NoOp(2)]))))
step("adapter disagrees", lambda: vx.get_or_create_collection("adapted", dimension=3, adapter=Adapter([NoOp(2)])))
step("adapter disagrees with table", lambda: vx.get_or_create_collection("adapted", adapter=Adapter([NoOp(5)])))
step(
    "adapter without dimension",
    lambda: vx.get_or_create_collection("adapted", adapter=Adapter([ParagraphChunker(skip_during_query=True)])),
)
step("empty adapter", lambda: Adapter([]))
step("create", lambda: repr(vx.create_collection(name="more", dimension=5)))
step("create again", lambda: vx.create_collection(name="more", dimension=5))
step("create again, other dimension", lambda: vx.create_collection(name="more", dimension=6))
step("create without dimension", lambda: vx.create_collection(name="dimensionless"))
step("get", lambda: repr(vx.get_collection(name="more")))
step("get none", lambda: vx.get_collection(name="none"))
step("list", lambda: sorted(each.name for each in vx.list_collections()))
step("dimensions", lambda: sorted((each.name, each.dimension) for each in vx.list_collections()))
step("len", lambda: len(vx.get_or_create_collection("docs", dimension=3)))
step("truth of an empty one", lambda: bool(vx.get_or_create_collection("docs", dimension=3)))
step("delete", lambda: vx.delete_collection("more"))
step("delete again", lambda: vx.delete_collection("more"))
step("list less", lambda: sorted(each.name for each in vx.list_collections()))
step("types", lambda: [issubclass(vecs.exc.MismatchedDimension, vecs.exc.ArgError), vecs.exc.__all__])
step("exported", lambda: [vecs.__all__, vecs.__project__, vecs.__version__])
step("methods", lambda: [list(vecs.IndexMethod), list(vecs.IndexMeasure), f"{vecs.IndexMeasure.l2_distance}"])
step("arguments", lambda: [repr(vecs.IndexArgsHNSW()), repr(vecs.IndexArgsHNSW(m=8)), repr(vecs.IndexArgsIVFFlat(4))])
step("arguments missing", vecs.IndexArgsIVFFlat)
step("arguments equal", lambda: vecs.IndexArgsHNSW(m=8) == vecs.IndexArgsHNSW(8, 64))
step("by class", lambda: repr(vecs.Collection("docs", 3, vx)))
step("by class, without dimension", lambda: vecs.Collection("docs", None, vx))
step("by class, disagreeing", lambda: vecs.Collection("docs", 3, vx, adapter=Adapter([NoOp(2)])))
step("client's", lambda: [vx.get_or_create_collection("docs", dimension=3).client is vx, isinstance(vx, vecs.Client)])


def held() -> object:
    collection = vx.get_or_create_collection("held", dimension=2)
    vx.delete_collection("held")
    return collection.upsert([("a", [1, 2], {})])


step("deleted while held", held)

with vecs.create_client(sys.argv[1]) as again:
    step("in a context", lambda: sorted(each.name for each in again.list_collections()))
step("after the context", lambda: sorted(each.name for each in again.list_collections()))
step("disconnect", vx.disconnect)
step("disconnect twice", vx.disconnect)
step("used after that", lambda: [vx.delete_collection(name) for name in ("docs", "adapted")])
