"""Makes indexes and asks for them."""

import re
import sys

import vecs
from outcomes import step
from vecs import IndexArgsHNSW, IndexArgsIVFFlat, IndexMeasure, IndexMethod

vx = vecs.create_client(sys.argv[1])
docs = vx.get_or_create_collection("docs", dimension=3)
docs.upsert((f"r{i}", [i % 7, i % 11, i % 13 + 1], {"i": i}) for i in range(200))


def name() -> object:
    """The index's name, but for the characters that make it unique."""
    return docs.index and re.sub(r"[0-9a-z_]{7}$", "*", docs.index)


def indexed() -> list[str]:
    return [measure.value for measure in IndexMeasure if docs.is_indexed_for_measure(measure)]


def query(**arguments: object) -> int:
    return len(docs.query([1, 2, 3], limit=5, **arguments))


def state(label: str) -> None:
    step(f"{label}: name", name)
    step(f"{label}: indexed", indexed)
    step(f"{label}: query", query)
    step(f"{label}: query by l2", lambda: query(measure="l2_distance"))


state("no index")
step("create", docs.create_index)
state("default")
step("create again", docs.create_index)
state("again")
step("create, not replacing", lambda: docs.create_index(replace=False))
step("create another, not replacing", lambda: docs.create_index(IndexMeasure.l2_distance, replace=False))
step("l2", lambda: docs.create_index(measure=IndexMeasure.l2_distance))
state("l2")
step("by word", lambda: docs.create_index(measure="l1_distance", method="hnsw"))
state("l1")
step("inner product", lambda: docs.create_index(IndexMeasure.max_inner_product, IndexMethod.hnsw))
state("inner product")
step("hnsw with arguments", lambda: docs.create_index(method=IndexMethod.hnsw, index_arguments=IndexArgsHNSW(m=8)))
state("m 8")
step(
    "hnsw with both",
    lambda: docs.create_index(method=IndexMethod.hnsw, index_arguments=IndexArgsHNSW(m=8, ef_construction=32)),
)
state("m 8, ef 32")
step("ivfflat with arguments", lambda: docs.create_index("cosine_distance", "ivfflat", IndexArgsIVFFlat(n_lists=7)))
state("7 lists")
step("ivfflat query", lambda: query(probes=7))
step(
    "another client", lambda: vx.get_or_create_collection("docs", dimension=3).is_indexed_for_measure("cosine_distance")
)
step("auto with arguments", lambda: docs.create_index(index_arguments=IndexArgsHNSW()))
step("auto with lists", lambda: docs.create_index(method=IndexMethod.auto, index_arguments=IndexArgsIVFFlat(5)))
step("hnsw with lists", lambda: docs.create_index(method=IndexMethod.hnsw, index_arguments=IndexArgsIVFFlat(5)))
step("ivfflat with m", lambda: docs.create_index(method=IndexMethod.ivfflat, index_arguments=IndexArgsHNSW()))
step("ivfflat with m, by word", lambda: docs.create_index(method="ivfflat", index_arguments=IndexArgsHNSW()))
step("unknown method", lambda: docs.create_index(method="flat"))
step("unknown measure", lambda: docs.create_index(measure="hamming"))
step("no method", lambda: docs.create_index(method=None))
step("indexed for none", lambda: docs.is_indexed_for_measure("hamming"))
step("indexed for None", lambda: docs.is_indexed_for_measure(None))
step("m out of range", lambda: docs.create_index(method="hnsw", index_arguments=IndexArgsHNSW(m=1)))
step("lists out of range", lambda: docs.create_index(method="ivfflat", index_arguments=IndexArgsIVFFlat(0)))
state("after refusals")
vx.delete_collection("docs")
vx.disconnect()
