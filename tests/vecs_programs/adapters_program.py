"""Adapters: chunks of texts, and steps of one's own."""

import sys

import vecs
from outcomes import step
from vecs.adapter import (
    Adapter,
    AdapterContext,
    AdapterStep,
    MarkdownChunker,
    NoOp,
    ParagraphChunker,
    TextEmbedding,
    TextEmbeddingModel,
)

UPSERT, QUERY = AdapterContext("upsert"), AdapterContext("query")
TEXT = "one\n\ntwo\nlines\n\n\n\nthree\n\n"
MARKDOWN = """before

# First

some text   with spaces
## Second ##
#no heading
text
####### seven
```
# in code
```
### Third"""


class Lengths(AdapterStep):
    """A vector of two numbers for a text."""

    @property
    def exported_dimension(self):
        return 2

    def __call__(self, records, adapter_context):
        for id_, text, metadata in records:
            yield id_, [len(text), text.count("e") + 1], {**(metadata or {}), "context": adapter_context.value}


step("contexts", lambda: [list(AdapterContext), AdapterContext.upsert == "upsert"])
step("no context", lambda: AdapterContext("delete"))
step("NoOp", lambda: list(NoOp(dimension=3)([("a", [1, 2, 3], None), ("b", "x", {"k": 1})], UPSERT)))
step("NoOp's dimension", lambda: NoOp(dimension=3).exported_dimension)
step("an abstract step", AdapterStep)
for skip in (True, False):
    for context in (UPSERT, QUERY):
        label = f"skip {skip}, {context.value}"
        step(
            f"paragraphs, {label}",
            lambda s=skip, c=context: list(
                ParagraphChunker(skip_during_query=s)([("a", TEXT, {"k": 1}), ("b", "", None)], c)
            ),
        )
        step(
            f"markdown, {label}",
            lambda s=skip, c=context: list(
                MarkdownChunker(skip_during_query=s)(
                    [("a", MARKDOWN, {"k": 1}), ("b", "", None), ("c", "# only", None)], c
                )
            ),
        )
for most in (1, 2, 3, 5):
    step(
        f"markdown of {most}",
        lambda m=most: list(MarkdownChunker(skip_during_query=True)([("a", MARKDOWN, None)], UPSERT, max_tokens=m)),
    )
step(
    "markdown of -1",
    lambda: list(MarkdownChunker(skip_during_query=True)([("a", MARKDOWN, None)], UPSERT, max_tokens=-1)),
)
step("by heading", lambda: list(MarkdownChunker.split_by_heading("# a\n# b", 10)))
step(
    "dimension of chunkers",
    lambda: [
        ParagraphChunker(skip_during_query=True).exported_dimension,
        MarkdownChunker(skip_during_query=True).exported_dimension,
    ],
)
step("skip by position", lambda: ParagraphChunker(True))
step("text embedding", lambda: TextEmbedding(model="all-MiniLM-L6-v2"))
step("models", lambda: TextEmbeddingModel.__args__)
adapter = Adapter([ParagraphChunker(skip_during_query=True), Lengths()])
step(
    "dimension of a pipeline",
    lambda: [
        adapter.exported_dimension,
        Adapter([Lengths(), ParagraphChunker(skip_during_query=True)]).exported_dimension,
        len(adapter.steps),
    ],
)
step("a pipeline", lambda: list(adapter([("a", TEXT, {"k": 1})], UPSERT)))

vx = vecs.create_client(sys.argv[1])
docs = vx.get_or_create_collection("docs", adapter=adapter)
step("collection", lambda: [repr(docs), docs.adapter is adapter])
step("upsert", lambda: docs.upsert([("a", TEXT, {"k": 1}), ("b", "four", None)]))
step("stored", lambda: sorted(tuple(row) for row in docs.fetch([*(f"a_para_{i:03}" for i in range(6)), "b_para_000"])))
step("query", lambda: docs.query("two\nlines", limit=2, include_value=True, include_metadata=True))
step("query a vector", lambda: docs.query([1, 2], limit=1, skip_adapter=True))
step("upsert a vector", lambda: docs.upsert([("v", [5, 5], {})], skip_adapter=True))
step("fetched", lambda: docs["v"])
chunking = vx.get_or_create_collection("docs", adapter=Adapter([ParagraphChunker(skip_during_query=False), Lengths()]))
step("several query vectors", lambda: chunking.query("one\n\ntwo"))
step("one query vector", lambda: chunking.query("one", limit=1))
vx.delete_collection("docs")
vx.disconnect()
