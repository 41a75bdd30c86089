"""What an adapter is: steps, each of which turns records into records."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Generator, Iterable
from enum import Enum
from typing import Any

from podroute.vecs.exc import ArgError

Incoming = Iterable[tuple[str, Any, dict[str, Any] | None]]
"""Records as a step gets them: id, whatever it is made of, and metadata, which may be None."""
Outgoing = Generator[tuple[str, Any, dict[str, Any]], None, None]
"""Records as a step gives them."""


class AdapterContext(str, Enum):  # noqa: UP042 (str() of a StrEnum differs)
    """What a step works for."""

    upsert = "upsert"
    query = "query"


class AdapterStep(ABC):
    """One step. It may give more records than it gets, or fewer."""

    @property
    def exported_dimension(self) -> int | None:
        """Components of the vectors that it gives; None where it gives none."""
        return None

    @abstractmethod
    def __call__(self, records: Incoming, adapter_context: AdapterContext) -> Outgoing:
        """The records that become of these."""


class Adapter:
    """Steps, one after the other.

    Args:
        steps: at least one; else ArgError is raised.
    """

    def __init__(self, steps: list[AdapterStep]) -> None:
        self.steps = steps
        if len(steps) < 1:
            raise ArgError("Adapter must contain at least 1 step")

    @property
    def exported_dimension(self) -> int | None:
        """Components of the vectors that come out, as the last step that knows it says."""
        return next(
            (step.exported_dimension for step in reversed(self.steps) if step.exported_dimension is not None), None
        )

    def __call__(self, records: Incoming, adapter_context: AdapterContext) -> Outgoing:
        """The records that all steps make of these."""
        for step in self.steps:
            records = step(records, adapter_context)
        yield from records  # type: ignore[misc]  # the last step's, which have metadata
