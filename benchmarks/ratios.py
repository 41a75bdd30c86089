"""Cases against their peers. A ratio is taken within a round, so that what drifts from round to round cancels out."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from benchmarks.measuring import Figure, Sample
from benchmarks.stage import BARE, DIRECT, FDW, FLOOR

Measure = Callable[[Sample], float]


def cpu(sample: Sample) -> float:
    """CPU time of the case's process a call."""
    return sample.cpu_us


def throughput(sample: Sample) -> float:
    """Requests a second."""
    return sample.requests_per_s


def p50(sample: Sample) -> float:
    """Median time of a call."""
    return sample.p50_ms


def over(samples: Sequence[Sample], measured: Measure, case: str, peer: str, callers: int) -> Figure:
    """A case's figure divided by its peer's."""
    return Figure.of([value / of_peer for value, of_peer in _paired(samples, measured, case, peer, callers)])


def added(samples: Sequence[Sample], measured: Measure, case: str, peer: str, callers: int) -> Figure:
    """A case's figure less its peer's."""
    return Figure.of([value - of_peer for value, of_peer in _paired(samples, measured, case, peer, callers)])


def all_ratios(samples: Sequence[Sample]) -> dict[str, float]:
    """Every ratio by name, flat, for programs; the suffix is the number of callers."""
    ratios = {}
    for callers in sorted({sample.callers for sample in samples}):
        for name, figure in (
            ("router_cpu_over_floor", over(samples, cpu, DIRECT, FLOOR, callers)),
            ("router_cpu_over_floor_fdw", over(samples, cpu, FDW, FLOOR, callers)),
            ("qps_over_floor", over(samples, throughput, DIRECT, FLOOR, callers)),
            ("qps_over_psycopg", over(samples, throughput, DIRECT, BARE, callers)),
            ("p50_over_psycopg", over(samples, p50, DIRECT, BARE, callers)),
            ("added_p50_ms_over_psycopg", added(samples, p50, DIRECT, BARE, callers)),
            ("fdw_qps_over_direct", over(samples, throughput, FDW, DIRECT, callers)),
            ("fdw_p50_over_direct", over(samples, p50, FDW, DIRECT, callers)),
        ):
            ratios[f"{name}_{callers}"] = figure.median
    return ratios


def _paired(
    samples: Sequence[Sample], measured: Measure, case: str, peer: str, callers: int
) -> Iterator[tuple[float, float]]:
    """The figures of the case and of its peer, round by round."""
    of_case, of_peer = (
        {s.round: measured(s) for s in samples if s.case == name and s.callers == callers} for name in (case, peer)
    )
    for number, value in of_case.items():
        yield value, of_peer[number]
