"""The step that leaves records as they are."""

from __future__ import annotations

from podroute.vecs.adapter.base import AdapterContext, AdapterStep, Incoming, Outgoing


class NoOp(AdapterStep):
    """Leaves vectors as they are.

    Args:
        dimension: their components.
    """

    def __init__(self, dimension: int) -> None:
        self._dimension = dimension

    @property
    def exported_dimension(self) -> int | None:
        """Components of the vectors."""
        return self._dimension

    def __call__(self, records: Incoming, adapter_context: AdapterContext) -> Outgoing:  # noqa: ARG002
        """The records, with a dict for metadata that is None."""
        for record_id, media, metadata in records:
            yield record_id, media, metadata or {}
