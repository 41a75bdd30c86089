"""The ratios of latest.json: what each is, which section measures it, and what it ought to be."""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum


class Bound(Enum):
    """On which side of the goal a result ought to be."""

    AT_MOST = "≤"
    AT_LEAST = "≥"
    ABOVE = ">"

    def holds(self, result: float, goal: float) -> bool:
        """Whether it is there."""
        compare: Mapping[Bound, Callable[[float, float], bool]] = {
            Bound.AT_MOST: operator.le,
            Bound.AT_LEAST: operator.ge,
            Bound.ABOVE: operator.gt,
        }
        return compare[self](result, goal)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ratio:
    """One of the figures that the benchmarks are for."""

    name: str
    section: str
    meaning: str
    bound: Bound | None = None
    goal: float | None = None

    @property
    def shown_goal(self) -> str:
        """Such as `≤ 2`; empty where there is none."""
        return "" if self.bound is None or self.goal is None else f"{self.bound.value} {self.goal:g}"

    def verdict(self, result: float | None, spread: float | None = None) -> str:
        """`met`, `missed`, or that there is nothing to say.

        Args:
            result: the median of the rounds.
            spread: of the rounds, as a share of it; a goal that lies within was met in some rounds only.
        """
        if self.bound is None or self.goal is None:
            return ""
        if result is None:
            return "not measured"
        verdict = "met" if self.bound.holds(result, self.goal) else "**missed**"
        return verdict + ", within the spread" * (abs(result - self.goal) < abs(result) * (spread or 0))


def _ratio(name: str, section: str, meaning: str, bound: Bound | None = None, goal: float | None = None) -> Ratio:
    return Ratio(name=name, section=section, meaning=meaning, bound=bound, goal=goal)


RATIOS = (
    _ratio(
        "router_cpu_over_floor",
        "query",
        "CPU time of the router a Query over DIRECT ÷ that of an empty grpc.aio handler, 8 callers",
        Bound.AT_MOST,
        1.5,
    ),
    _ratio("router_cpu_over_floor_1", "query", "the same with 1 caller"),
    _ratio("router_cpu_over_floor_light", "query", "the same with 8 callers of h2load, one fixed request"),
    _ratio(
        "router_cpu_over_floor_paced",
        "pace",
        "CPU time of the router a Query ÷ that of the empty handler, both called at 60 % of the router's peak",
    ),
    _ratio(
        "router_cpu_over_floor_beside_pod",
        "pace",
        "the same, with a pod beside the empty handler that searches as often as the router's does",
    ),
    _ratio(
        "p50_over_vecs", "query", "p50 of podroute's client over DIRECT ÷ p50 of vecs, 1 caller", Bound.AT_MOST, 0.6
    ),
    _ratio(
        "qps8_over_vecs",
        "query",
        "requests/s of podroute's client over DIRECT ÷ those of vecs, 8 processes each",
        Bound.AT_LEAST,
        2.5,
    ),
    _ratio(
        "qps8_over_vecs_raw",
        "query",
        "requests/s of podroute DIRECT, called with ready-made bytes, ÷ those of vecs, 8 processes each",
    ),
    _ratio(
        "added_p50_ms_over_psycopg",
        "query",
        "p50 of podroute's client over DIRECT less p50 of bare psycopg, in ms, 1 caller",
        Bound.AT_MOST,
        0.4,
    ),
    _ratio(
        "added_p50_ms_over_psycopg_raw",
        "query",
        "p50 of podroute DIRECT, called with ready-made bytes, less p50 of bare psycopg, in ms, 1 caller",
    ),
    _ratio("floor_p50_ms", "query", "p50 of the empty handler in ms, 1 caller: a gRPC call in Python"),
    _ratio(
        "added_p50_over_pgbouncer",
        "query",
        "what podroute's client over DIRECT adds to the p50 of bare psycopg ÷ what PgBouncer adds to it, 1 caller",
    ),
    _ratio("qps8_over_pgbench", "query", "requests/s of podroute DIRECT ÷ those of pgbench (the pod's own), 8 callers"),
    _ratio("fdw_p50_over_direct", "query", "p50 of podroute FDW ÷ p50 of podroute DIRECT, 1 caller", Bound.AT_MOST, 2),
    _ratio(
        "recipe_over_fdw",
        "query",
        "p50 of the common FDW recipe ÷ p50 of podroute FDW, 1 caller",
        Bound.ABOVE,
        1000,
    ),
    _ratio(
        "p99_over_p50_at_70_percent",
        "load",
        "p99 ÷ p50 of podroute DIRECT, open loop at 70 % of its closed-loop peak",
        Bound.AT_MOST,
        3,
    ),
    _ratio(
        "p99_over_p50_at_70_percent_bare",
        "load",
        "the same of bare psycopg at 70 % of its own peak: what the pod and this machine do to it",
    ),
    _ratio(
        "ingest_over_executemany",
        "ingest",
        "rows/s of upsert_many over DIRECT ÷ those of bare psycopg's pipelined executemany",
        Bound.AT_LEAST,
        0.7,
    ),
    _ratio("ingest_over_vecs", "ingest", "rows/s of upsert_many over DIRECT ÷ those of vecs", Bound.AT_LEAST, 15),
    _ratio(
        "fdw_ingest_over_direct",
        "ingest",
        "rows/s of upsert_many over FDW ÷ those over DIRECT",
        Bound.AT_LEAST,
        0.5,
    ),
    _ratio(
        "p50_10k_collections_over_10",
        "growth",
        "p50 of a Query with the most collections (10,000 in full) ÷ that with 10, 1 caller",
        Bound.AT_MOST,
        1.05,
    ),
    _ratio(
        "ingest_with_index_over_executemany",
        "ingest",
        "rows/s of upsert_many over DIRECT ÷ the best of executemany, HNSW index in place",
        Bound.AT_LEAST,
        0.95,
    ),
    _ratio(
        "rss_1m_over_100k",
        "ingest",
        "the router's memory late in a stream of 1M rows ÷ early in it",
        Bound.AT_MOST,
        1.1,
    ),
    _ratio(
        "p50_10k_collections_all_asked_over_10",
        "growth",
        "p50 of a Query where all of 10,000 collections are asked in turn ÷ that of 10 asked in turn",
    ),
    _ratio("workers_2_over_1", "workers", "requests/s of two workers ÷ those of one, the cheapest call"),
    _ratio("workers_2_over_1_limit", "workers", "the same if all cores were always busy: this machine's own limit"),
)
"""In the order of the tables. Sections may give further ones."""
