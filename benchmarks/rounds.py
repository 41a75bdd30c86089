"""Cases against their peers. A ratio is taken within a round, so that what drifts from round to round cancels out."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from benchmarks.measuring import Figure, Sample

Measure = Callable[[Sample], float | None]


def cpu(sample: Sample) -> float | None:
    """CPU time of the case's processes a call."""
    return sample.cpu_us


def throughput(sample: Sample) -> float:
    """Requests a second."""
    return sample.requests_per_s


def p50(sample: Sample) -> float:
    """Median time of a call."""
    return sample.p50_ms


def over(samples: Sequence[Sample], measured: Measure, case: str, peer: str, callers: int) -> Figure | None:
    """A case's figure divided by its peer's; None where one of them was not measured, or the peer's is nothing."""
    pairs = paired(samples, measured, case, peer, callers)
    return _figure([value / of_peer for value, of_peer in pairs if of_peer])


def added(samples: Sequence[Sample], measured: Measure, case: str, peer: str, callers: int) -> Figure | None:
    """A case's figure less its peer's; None where one of them was not measured."""
    return _figure([value - of_peer for value, of_peer in paired(samples, measured, case, peer, callers)])


def paired(
    samples: Sequence[Sample], measured: Measure, case: str, peer: str, callers: int
) -> list[tuple[float, float]]:
    """The figures of the case and of its peer, round by round."""
    of_case, of_peer = (
        {s.round: measured(s) for s in samples if s.case == name and s.callers == callers} for name in (case, peer)
    )
    pairs = [(value, of_peer.get(number)) for number, value in of_case.items()]
    return [(value, peers) for value, peers in pairs if value is not None and peers is not None]


def _figure(values: Sequence[float]) -> Figure | None:
    return Figure.of(values) if values else None
