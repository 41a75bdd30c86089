"""The step that takes Markdown apart at its headings."""

from __future__ import annotations

import re
from collections.abc import Generator

from podroute.vecs.adapter.base import AdapterContext, AdapterStep, Incoming, Outgoing

_HEADING = re.compile(r"^#{1,6}\s+.+$", re.MULTILINE)
_BLANK = ("", "\n")


class MarkdownChunker(AdapterStep):
    """Makes a record of each section, called `<id>_head_<number>`. A line `# …` in code counts as a heading.

    Args:
        skip_during_query: leave the text of a query whole.
    """

    def __init__(self, *, skip_during_query: bool) -> None:
        self.skip_during_query = skip_during_query

    @staticmethod
    def split_by_heading(md: str, max_tokens: int) -> Generator[str, None, None]:
        """The sections, each cut into pieces of at most so many words; what is empty is left out.

        Args:
            md: the text.
            max_tokens: words, as spaces part them.
        """
        starts = [heading.start() for heading in _HEADING.finditer(md)]
        if not starts or starts[0] > 0:
            starts.insert(0, 0)
        for start, end in zip(starts, [*starts[1:], len(md)], strict=True):
            words = md[start:end].split(" ")
            for first in range(0, len(words), max_tokens):
                piece = " ".join(words[first : first + max_tokens])
                if piece not in _BLANK:
                    yield piece

    def __call__(self, records: Incoming, adapter_context: AdapterContext, max_tokens: int = 99999999) -> Outgoing:
        """The sections as records, with the metadata of their text."""
        if max_tokens < 1:
            raise ValueError("max_tokens must be a nonzero positive integer")
        whole = adapter_context == AdapterContext.query and self.skip_during_query
        for record_id, markdown, metadata in records:
            if whole:
                yield record_id, markdown, metadata or {}
                continue
            for number, section in enumerate(self.split_by_heading(markdown, max_tokens)):
                yield f"{record_id}_head_{number:03}", section, metadata or {}
