"""What a case costs: calls, the CPU time of processes as Linux counts it, and the time a call takes."""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, TypeVar

from benchmarks.closed_loop import Callers, Window

FEWEST_CALLS = 2
LONGEST_S = 10.0
DISTURBED = 0.1
"""Share of the machine that others took; a measurement with more is taken again."""
ATTEMPTS = 3

_PROC = Path("/proc")
_TICKS_PER_S = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One way to have a query answered."""

    name: str
    callers: Callers
    pids: Collection[int] = ()
    """The processes whose CPU time is the case's own; empty where the case is a program that comes and goes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One measurement of a case. CPU times are in µs a call."""

    case: str
    callers: int
    round: int
    calls: int
    requests_per_s: float
    cpu_us: float | None
    """Of the case's own processes."""
    postgres_cpu_us: float | None
    """Of all PostgreSQL servers' processes."""
    load_cpu_us: float | None
    """Of what puts the load on, where that is not the case itself."""
    p50_ms: float
    p90_ms: float
    p99_ms: float
    others_cpu: float | None
    """Share of the machine's CPU time that went to processes which are not of this benchmark."""


@dataclass(frozen=True, slots=True)
class _Process:
    parent: int
    cpu_s: float
    """In user and system mode."""
    reaped_s: float
    """The same of children that have ended."""


@dataclass(frozen=True, slots=True)
class Usage:
    """CPU time used up to a moment."""

    at: float
    busy_s: float
    """Of the whole machine."""
    processes: Mapping[int, _Process]

    @classmethod
    def now(cls) -> Usage:
        """Reads /proc."""
        processes = {}
        for folder in _PROC.iterdir():
            if not folder.name.isdecimal():
                continue
            try:
                # pid (name, which may hold anything) state parent … utime stime cutime cstime: fields 14 to 17
                fields = (folder / "stat").read_bytes().rpartition(b")")[2].split()
            except (FileNotFoundError, ProcessLookupError):
                continue
            user, system, user_reaped, system_reaped = (int(ticks) / _TICKS_PER_S for ticks in fields[11:15])
            processes[int(folder.name)] = _Process(int(fields[1]), user + system, user_reaped + system_reaped)
        # cpu user nice system idle iowait irq softirq steal
        ticks = [int(field) for field in (_PROC / "stat").read_bytes().split(maxsplit=9)[1:9]]
        return cls(time.monotonic(), (sum(ticks) - ticks[3] - ticks[4]) / _TICKS_PER_S, processes)

    def of(self, pid: int) -> float:
        """Seconds of one process."""
        return self.processes[pid].cpu_s

    def others_since(self, before: Usage) -> float:
        """Share of the machine's CPU time that went to processes which are not of this benchmark."""
        ours_s = self.below([os.getpid()]) - before.below([os.getpid()])
        cores_s = (self.at - before.at) * (os.cpu_count() or 1)
        return max(0.0, self.busy_s - before.busy_s - ours_s) / cores_s

    def below(self, roots: Collection[int]) -> float:
        """Seconds of processes with all their descendants, those that have ended included."""
        found = set(roots)
        while more := {pid for pid, process in self.processes.items() if process.parent in found} - found:
            found |= more
        return sum(process.cpu_s + process.reaped_s for pid, process in self.processes.items() if pid in found)


def measure(
    case: Case, *, callers: int, round: int, warm_up_s: float, seconds: float, postgres: Collection[int]
) -> Sample:
    """Puts load on a case and measures it; again where other programs disturbed it, and the least disturbed counts.

    Args:
        case: what to measure.
        callers: how many call at a time.
        round: goes into the sample.
        warm_up_s: load before the measurement.
        seconds: length of the measurement; it is made longer where hardly a call ends in that time.
        postgres: ids of the PostgreSQL servers' first processes.
    """
    return least_disturbed(
        lambda: _measure_once(
            case, callers=callers, round=round, warm_up_s=warm_up_s, seconds=seconds, postgres=postgres
        )
    )


class Disturbed(Protocol):
    """A measurement that knows what others took meanwhile."""

    @property
    def others_cpu(self) -> float | None:
        """Share of the machine's CPU time that went to processes which are not of this benchmark."""
        ...


Measurement = TypeVar("Measurement", bound=Disturbed)


def least_disturbed(take: Callable[[], Measurement]) -> Measurement:
    """Takes a measurement, again where other programs disturbed it, and returns the least disturbed one."""
    taken = [take()]
    while len(taken) < ATTEMPTS and (taken[-1].others_cpu or 0) > DISTURBED:
        taken.append(take())
    return min(taken, key=lambda measurement: measurement.others_cpu or 0)


def _measure_once(
    case: Case, *, callers: int, round: int, warm_up_s: float, seconds: float, postgres: Collection[int]
) -> Sample:
    before, after, taken = _loaded(case, callers, Window.after(warm_up_s, seconds))
    while len(taken) < FEWEST_CALLS and seconds < LONGEST_S:
        seconds *= 4
        before, after, taken = _loaded(case, callers, Window.after(warm_up_s, seconds))
    if len(taken) < FEWEST_CALLS:
        raise RuntimeError(f"{case.name}: only {len(taken)} calls ended within {seconds:g} s")
    elapsed_s = after.at - before.at
    us_a_call = 1e6 / elapsed_s * seconds / len(taken)  # the two looks at /proc are not exactly `seconds` apart
    ours_s, postgres_s, case_s = (
        after.below(pids) - before.below(pids) for pids in ([os.getpid()], postgres, case.pids)
    )
    p50_ms, p90_ms, p99_ms = percentiles_ms(taken)
    return Sample(
        case=case.name,
        callers=callers,
        round=round,
        calls=len(taken),
        requests_per_s=len(taken) / seconds,
        cpu_us=case_s * us_a_call if case.pids else None,
        postgres_cpu_us=postgres_s * us_a_call,
        load_cpu_us=max(0.0, ours_s - postgres_s - case_s) * us_a_call,
        p50_ms=p50_ms,
        p90_ms=p90_ms,
        p99_ms=p99_ms,
        others_cpu=after.others_since(before),
    )


def _loaded(case: Case, callers: int, window: Window) -> tuple[Usage, Usage, list[float]]:
    """CPU times at both ends of the window, and the seconds of the calls that ended within it."""
    outcome = case.callers.offer(callers, window)
    time.sleep(max(0.0, window.begin - time.monotonic()))
    before = Usage.now()
    time.sleep(max(0.0, window.end - time.monotonic()))
    return before, Usage.now(), outcome()


def percentiles_ms(seconds: Sequence[float]) -> tuple[float, float, float]:
    """The 50th, 90th and 99th percentile of two times or more, in ms."""
    cuts = statistics.quantiles(seconds, n=100, method="inclusive")
    return cuts[49] * 1e3, cuts[89] * 1e3, cuts[98] * 1e3


@dataclass(frozen=True, slots=True)
class Figure:
    """Several measurements of one thing."""

    median: float
    spread: float | None
    """Half of the distance between the least and the greatest, as a share of the median; None of a single value."""

    @classmethod
    def of(cls, values: Sequence[float]) -> Figure:
        """The median and the spread of some values."""
        median = statistics.median(values)
        several = len(values) > 1 and median != 0
        return cls(median, (max(values) - min(values)) / 2 / abs(median) if several else None)
