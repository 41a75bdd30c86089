"""What a query costs through podroute, beside its peers on the same table and index."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from benchmarks import plots, rounds
from benchmarks.children import Child
from benchmarks.closed_loop import ANSWER_TIMEOUT_S
from benchmarks.data import make_dataset
from benchmarks.measuring import Case, Figure, Sample, measure, percentiles_ms
from benchmarks.output import shown, summarize
from benchmarks.peers.cases import LIGHT, PROXIED, VECS, open_cases, peer_versions
from benchmarks.peers.pgbench import PGBENCH
from benchmarks.peers.recipe import RECIPE, make_recipe
from benchmarks.progress import tell
from benchmarks.section import Scale, Section, Table
from benchmarks.stage import BARE, CLIENT, DIRECT, FDW, FLOOR, open_stage

LIMIT = 10
EF_SEARCH = 40
"""The pod's default; vecs sets it itself."""
CALLERS = (1, 8)
COLLECTION = "bench"
LEAST_ADDED_MS = 0.01
"""Of PgBouncer to a p50; less is noise, and no ratio to it means anything."""
EQUAL_RECALL = 0.01
"""Cases whose recall differs by more do not do the same work, and have no ratio to each other."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """How long is measured."""

    records: int
    dimension: int
    queries: int
    rounds: int
    warm_up_s: float
    seconds: float
    light: tuple[str, ...]
    """Cases that h2load calls as well."""


PLANS = {
    Scale.FULL: Plan(
        records=100_000,
        dimension=384,
        queries=400,
        rounds=5,
        warm_up_s=0.5,
        seconds=1.5,
        light=(FLOOR, DIRECT, FDW),
    ),
    Scale.SMOKE: Plan(
        records=20_000, dimension=384, queries=60, rounds=2, warm_up_s=0.2, seconds=0.35, light=(FLOOR, DIRECT)
    ),
}


def run(scale: Scale) -> Section:
    """Measures."""
    plan = PLANS[scale]
    dataset = make_dataset(records=plan.records, dimension=plan.dimension, queries=plan.queries, neighbours=LIMIT)
    notes: list[str] = []
    with open_stage(callers=max(CALLERS)) as stage:
        tell(f"filling {plan.records:,} x {plan.dimension} and building its index")
        filled = stage.fill(COLLECTION, dataset, limit=LIMIT)
        with open_cases(filled, callers=max(CALLERS), light=plan.light, notes=notes) as cases:
            tell(f"asking {', '.join(case.name for case in cases)}")
            recall = {
                case.name: dataset.recall(case.callers.answers()) for case in cases if not case.name.startswith(FLOOR)
            }
            recipe = filled.start_bare(1, **make_recipe(filled))
            samples, found_ids = [], []
            for number in range(plan.rounds):
                samples += _round(cases, number, plan, stage.postgres)
                sample, ids = _recipe_sample(recipe, number)
                samples.append(sample)
                found_ids.append(ids)
                tell(f"round {number + 1} of {plan.rounds}")
            recall[RECIPE] = dataset.recall(found_ids)
        versions = stage.versions()
    found_ratios = _ratios(samples, recall)
    if found_ratios["added_p50_over_pgbouncer"] is None and any(case.name == PROXIED for case in cases):
        notes.append("PgBouncer added nothing to p50 that could be measured in this run, so there is no ratio to it.")
    order = [*(case.name for case in cases), RECIPE]
    samples.sort(key=lambda sample: (sample.callers, order.index(sample.case)))
    return Section(
        name="query",
        title="A query beside its peers",
        parameters={
            **asdict(plan),
            **versions,
            **peer_versions(),
            "pgbouncer_pool_mode": "session",
            "metric": "cosine",
            "index": "HNSW, m 16, ef_construction 64",
            "ef_search": EF_SEARCH,
            "limit": LIMIT,
            "callers": list(CALLERS),
            "recall": recall,
        },
        rows=[asdict(sample) for sample in samples],
        tables=[_figures(samples, recall), _ratio_table(samples)],
        ratios=found_ratios,
        notes=notes,
    )


def _round(cases: Sequence[Case], number: int, plan: Plan, postgres: Sequence[int]) -> list[Sample]:
    """All cases in turn; each round begins with another case, as neighbours in time are alike."""
    turn = number * 3 % len(cases)
    return [
        measure(
            case,
            callers=callers,
            round=number,
            warm_up_s=plan.warm_up_s,
            seconds=plan.seconds,
            postgres=postgres,
        )
        for callers in CALLERS
        for case in (*cases[turn:], *cases[:turn])
    ]


def _recipe_sample(recipe: Child, number: int) -> tuple[Sample, list[str]]:
    """One call is enough: it takes hundreds of times as long as those it is compared with."""
    answer = recipe.ask({"settings": {}, "first": number, "calls": 1}, ANSWER_TIMEOUT_S)
    seconds = answer["seconds"][0]
    p50_ms, p90_ms, p99_ms = percentiles_ms([seconds, seconds])
    sample = Sample(
        case=RECIPE,
        callers=1,
        round=number,
        calls=1,
        requests_per_s=1 / seconds,
        cpu_us=None,
        postgres_cpu_us=None,
        load_cpu_us=None,
        p50_ms=p50_ms,
        p90_ms=p90_ms,
        p99_ms=p99_ms,
        others_cpu=None,
    )
    return sample, answer["ids"][0]


def _ratios(samples: Sequence[Sample], recall: Mapping[str, float]) -> dict[str, Figure | float | None]:
    def alike(case: str, peer: str) -> bool:
        """Whether both find the same; the empty handler finds nothing, and the common recipe searches exactly."""
        free = {FLOOR, LIGHT[FLOOR], RECIPE} & {case, peer}
        return bool(free) or abs(recall.get(case, 0) - recall.get(peer, 0)) <= EQUAL_RECALL

    def across(measured: rounds.Measure, case: str, peer: str, callers: int) -> Figure | None:
        return rounds.over(samples, measured, case, peer, callers) if alike(case, peer) else None

    def added(case: str, peer: str) -> Figure | None:
        return rounds.added(samples, rounds.p50, case, peer, 1) if alike(case, peer) else None

    by_podroute, by_pgbouncer = added(CLIENT, BARE), added(PROXIED, BARE)
    return {
        "router_cpu_over_floor": across(rounds.cpu, DIRECT, FLOOR, 8),
        "router_cpu_over_floor_1": across(rounds.cpu, DIRECT, FLOOR, 1),
        "router_cpu_over_floor_light": across(rounds.cpu, LIGHT[DIRECT], LIGHT[FLOOR], 8),
        "p50_over_vecs": across(rounds.p50, CLIENT, VECS, 1),
        "qps8_over_vecs": across(rounds.throughput, CLIENT, VECS, 8),
        "qps8_over_vecs_raw": across(rounds.throughput, DIRECT, VECS, 8),
        "added_p50_ms_over_psycopg": by_podroute,
        "added_p50_ms_over_psycopg_raw": added(DIRECT, BARE),
        "floor_p50_ms": _p50_ms(samples, FLOOR),
        # Of medians: what PgBouncer adds is little, and within one round may be nothing.
        "added_p50_over_pgbouncer": by_podroute.median / by_pgbouncer.median
        if by_podroute is not None and by_pgbouncer is not None and by_pgbouncer.median > LEAST_ADDED_MS
        else None,
        "qps8_over_pgbench": across(rounds.throughput, DIRECT, PGBENCH, 8),
        "fdw_p50_over_direct": across(rounds.p50, FDW, DIRECT, 1),
        "recipe_over_fdw": across(rounds.p50, RECIPE, FDW, 1),
    }


def _p50_ms(samples: Sequence[Sample], case: str) -> Figure:
    """With one caller."""
    return Figure.of([sample.p50_ms for sample in samples if (sample.case, sample.callers) == (case, 1)])


def _figures(samples: Sequence[Sample], recall: Mapping[str, float]) -> Table:
    def cell(figure: Figure | None, digits: int) -> str:
        return "-" if figure is None else shown(figure, digits)

    return Table(
        title="Figures",
        header=(
            *("case", "callers", "requests/s", "p50 ms", "p90 ms", "p99 ms"),
            *("CPU µs", "PostgreSQL CPU µs", "load CPU µs", f"recall@{LIMIT}"),
        ),
        rows=[
            (
                row.case,
                str(row.callers),
                cell(row.requests_per_s, 1 if row.requests_per_s.median < 100 else 0),
                *(cell(figure, 2) for figure in (row.p50_ms, row.p90_ms, row.p99_ms)),
                *(
                    cell(None if row.case.startswith(FLOOR) and i == 1 else figure, 0)
                    for i, figure in enumerate((row.cpu_us, row.postgres_cpu_us, row.load_cpu_us))
                ),
                f"{recall[row.case]:.3f}" if row.case in recall else "-",
            )
            for row in summarize(samples)
        ],
        note=(
            "Closed loop. CPU µs is the CPU time a call of the server under test (empty handler, router), of the "
            "callers themselves where nothing is between them and PostgreSQL (psycopg, vecs), and of callers and proxy "
            "for PgBouncer; load CPU is that of what puts the load on. gRPC callers are Python processes that send "
            "ready-made bytes, but for *client*, which is podroute's own; "
            "*h2load* is the same server under a generator in C that sends one fixed request: what the router can do "
            "where its callers are other machines. pgbench takes its vectors from a table on the pod: the pod's "
            "ceiling. The common FDW recipe is one call a round."
        ),
    )


def _ratio_table(samples: Sequence[Sample]) -> Table:
    rows = []
    for case, callers in dict.fromkeys((sample.case, sample.callers) for sample in samples):
        light = case in LIGHT.values()

        def cell(figure: Figure | None, sign: str = "") -> str:
            return "-" if figure is None else f"{figure.median:{sign},.2f}" + _spread(figure)

        rows.append(
            (
                case,
                str(callers),
                cell(
                    rounds.over(samples, rounds.cpu, case, LIGHT[FLOOR] if light else FLOOR, callers)
                    if case in (FLOOR, DIRECT, CLIENT, FDW) or light
                    else None
                ),
                cell(rounds.over(samples, rounds.throughput, case, BARE, callers)),
                cell(rounds.over(samples, rounds.p50, case, BARE, callers)),
                cell(rounds.added(samples, rounds.p50, case, BARE, callers), "+"),
                cell(rounds.over(samples, rounds.throughput, case, VECS, callers)),
            )
        )
    return Table(
        title="Ratios",
        header=(
            *("case", "callers", "CPU ÷ empty", "requests/s ÷ psycopg", "p50 ÷ psycopg", "p50 - psycopg, ms"),
            "requests/s ÷ vecs",
        ),
        rows=rows,
        note="Taken within a round; the median of the rounds, ± half the distance between the least and the greatest.",
    )


def _spread(figure: Figure) -> str:
    return "" if figure.spread is None else f" ±{figure.spread:.0%}"


def plot(section: Section, folder: Path) -> list[Path]:
    """Bars of requests/s and of p50, all peers."""
    medians: dict[tuple[str, int], list[tuple[float, float]]] = {}
    for row in section.rows:
        key = (str(row["case"]), int(str(row["callers"])))
        medians.setdefault(key, []).append((float(str(row["requests_per_s"])), float(str(row["p50_ms"]))))
    file = folder / "query.png"
    with plots.drawn(file, columns=2, width=11, height=4.6) as (throughput, latency):
        for axes, callers, column, label in (
            (throughput, 8, 0, "requests/s, 8 callers, closed loop"),
            (latency, 1, 1, "p50 in ms, 1 caller"),
        ):
            cases = [case for case, number in medians if number == callers and case != RECIPE]
            values = [statistics.median(pair[column] for pair in medians[case, callers]) for case in cases]
            bars = axes.barh(cases, values, color=[plots.colour(case) for case in cases], height=0.7)
            for case, bar in zip(cases, bars, strict=True):
                if case in LIGHT.values():
                    bar.set(alpha=0.55, hatch="//", edgecolor="white")
            axes.bar_label(bars, [f"{value:,.0f}" if column == 0 else f"{value:.2f}" for value in values], padding=3)
            axes.invert_yaxis()
            axes.grid(axis="y", visible=False)
            axes.set_xlabel(label)
            axes.margins(x=0.12)
        latency.set_yticklabels([])
        throughput.set_title(f"One query, {section.parameters['records']:,} x {section.parameters['dimension']}")
    return [file]
