"""What many collections cost: a query, a change of the shard map, a creation, a start, at 10, 1,000 and 10,000."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path

import podroute
from podroute_router.catalog import saved_map
from podroute_router.embedded.ports import free_port
from podroute_router.postgres.prepared import PREPARED_MAX
from podroute_router.server import SAVED_MAP

from benchmarks import plots
from benchmarks.children import START_TIMEOUT_S, Child
from benchmarks.growth import figures
from benchmarks.growth.figures import Change, Creation, InTurn, Queries, Readied, Running, Start
from benchmarks.growth.stage import DIMENSION, PODS, RECORDS, SERVERS, GrowthStage, collection_name, open_growth_stage
from benchmarks.growth.tables import FEW, ratio, tables_of
from benchmarks.progress import tell
from benchmarks.section import Scale, Section

MANY = 10_000
FIRST_CHANGE = 50_000
"""Number of the first collection that is added during the measurements."""
READIED_TIMEOUT_S = 600.0
CREATE_TIMEOUT_S = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What is measured at a scale."""

    servers: Sequence[str]
    sizes: Sequence[int]
    restarted: Sequence[int]
    """Those of which routers are started to see a start, and a change."""
    fdw: bool
    """With an FDW path, and so two foreign tables for each collection."""
    sweep: bool
    """Every collection has a table, and all of them are asked too."""
    rounds: int
    seconds: float
    changes: int
    creations: int
    starts: int


PLANS = {
    Scale.FULL: Plan(
        servers=SERVERS,
        sizes=(FEW, 1000, MANY),
        restarted=(FEW, MANY),
        fdw=True,
        sweep=True,
        rounds=12,
        seconds=0.6,
        changes=10,
        creations=10,
        starts=5,
    ),
    Scale.SMOKE: Plan(
        servers=(),
        sizes=(FEW, MANY),
        restarted=(MANY,),
        fdw=False,
        sweep=False,
        rounds=5,
        seconds=0.2,
        changes=2,
        creations=0,
        starts=0,
    ),
}


def run(scale: Scale) -> Section:
    """Measures."""
    plan = PLANS[scale]
    with ExitStack() as stack:
        tell("starting servers, making tables and catalogs …")
        stage = stack.enter_context(open_growth_stage(plan.servers))
        stage.make_tables(range(max(plan.sizes) if plan.sweep else FEW))
        for size in plan.sizes:
            stage.make_catalog(size)
        routers, readied = _start_routers(stage, plan)
        tell("queries …")
        queries, in_turn = _queries(stack, stage, routers, plan)
        tell("creations …")
        creations = _creations(routers, plan)
        tell("changes …")
        changes = _changes(stage, plan)
        tell("starts …")
        starts = _starts(stage, plan)
    samples: Sequence[Queries | InTurn | Change | Creation | Start | Readied] = (
        *queries,
        *in_turn,
        *changes,
        *creations,
        *starts,
        *readied,
    )
    return Section(
        name="growth",
        title="Many collections",
        parameters={
            "pods": len(PODS),
            "servers_of_pods": len(plan.servers) or "the primary's",
            "collections": list(plan.sizes),
            "records_a_collection": RECORDS,
            "dimension": DIMENSION,
            "index": "none",
            "path": "DIRECT",
            "callers": 1,
            "fdw": plan.fdw,
            **{name: getattr(plan, name) for name in ("rounds", "seconds", "changes", "creations", "starts")},
        },
        rows=[{"measured": type(sample).__name__, **asdict(sample)} for sample in samples],
        tables=tables_of(
            queries=queries, in_turn=in_turn, changes=changes, creations=creations, starts=starts, readied=readied
        ),
        ratios={
            "p50_10k_collections_over_10": ratio(in_turn, (MANY, FEW)),
            "p50_10k_collections_all_asked_over_10": ratio(in_turn, (MANY, MANY)) if plan.sweep else None,
        },
        notes=_notes(plan),
    )


def _start_routers(stage: GrowthStage, plan: Plan) -> tuple[dict[int, Running], list[Readied]]:
    """A router of each catalog that saves its map, once the FDW path is ready: their addresses."""
    routers, seconds = {}, {}
    for size in plan.sizes:
        folder = stage.folder(f"state_{size}")
        child, address = stage.start_router(stage.config(f"catalog_{size}", fdw=plan.fdw, state_dir=folder))
        routers[size] = Running(address, child.pid)
        if plan.fdw:
            seconds[size] = figures.wait_until_readied(stage, f"catalog_{size}", size, timeout_s=READIED_TIMEOUT_S)
            tell(f"the FDW path of {size:,} collections was ready after {seconds[size]:.1f} s")
        figures.wait_for_file(folder / SAVED_MAP, timeout_s=START_TIMEOUT_S)
    if not plan.fdw:
        return routers, []
    used = {size: stage.count(f"catalog_{size}") for size in plan.sizes}
    least = min(plan.sizes)
    return routers, [
        Readied(
            collections=size,
            seconds=seconds[size],
            foreign_tables=used[size][0],
            bytes_a_collection=(used[size][1] - used[least][1]) / (size - least) if size > least else 0.0,
        )
        for size in plan.sizes
    ]


def _queries(
    stack: ExitStack, stage: GrowthStage, routers: dict[int, Running], plan: Plan
) -> tuple[list[Queries], list[InTurn]]:
    caller = stack.enter_context(Child("collections_caller"))
    caller.hear(START_TIMEOUT_S)
    cases = [
        (size, [collection_name(number) for number in range(asked)])
        for size in plan.sizes
        for asked in (sorted({1, FEW, size}) if plan.sweep else (FEW,))
    ]
    for size, asked in cases:
        figures.sweep(caller, routers[size].address, asked)
    samples = []
    for number in range(plan.rounds):
        turn = number % len(cases)  # each round begins with another case, as neighbours in time are alike
        samples += [
            figures.measure_queries(
                stage, caller, routers[size], asked, collections=size, round=number, seconds=plan.seconds
            )
            for size, asked in cases[turn:] + cases[:turn]
        ]
    together = {(size, len(asked)): (routers[size], asked) for size, asked in cases}
    return samples, [
        sample
        for number in range(plan.rounds)
        for sample in figures.measure_in_turn(caller, together, round=number, seconds=len(cases) * plan.seconds)
    ]


def _creations(routers: dict[int, Running], plan: Plan) -> list[Creation]:
    with ExitStack() as stack:
        clients = {
            size: stack.enter_context(podroute.Client(router.address, timeout_s=CREATE_TIMEOUT_S))
            for size, router in routers.items()
        }
        return [
            figures.measure_creation(client, collections=size, round=number)
            for number in range(plan.creations)
            for size, client in clients.items()
        ]


def _changes(stage: GrowthStage, plan: Plan) -> list[Change]:
    samples = []
    for size in plan.restarted:
        values = stage.config(f"catalog_{size}", fdw=plan.fdw, state_dir=stage.folder(f"watched_{size}"))
        routers = figures.Watched(stage, values, collections=size)
        try:
            samples += [routers.change(number, FIRST_CHANGE + number) for number in range(plan.changes)]
        finally:
            routers.close()
    return samples


def _starts(stage: GrowthStage, plan: Plan) -> list[Start]:
    nobody = free_port()
    samples = []
    for number in range(plan.starts):
        for size in plan.restarted:
            catalog, folder = f"catalog_{size}", stage.folder(f"starts_{size}")
            saved = saved_map.load(stage.folder(f"state_{size}") / SAVED_MAP)
            assert saved is not None
            for source, port in (("catalog", None), ("saved map", nobody)):
                # Each time without the mark of its catalog, which a router adds, so that it goes with one that is away.
                saved_map.save(saved, folder / SAVED_MAP)
                values = stage.config(catalog, fdw=plan.fdw, state_dir=folder, catalog_port=port)
                samples.append(figures.measure_start(stage, values, collections=size, source=source, round=number))
    return samples


def _notes(plan: Plan) -> list[str]:
    notes = [
        "Tables and catalog rows were made in bulk by SQL, the same that CreateCollection makes one by one.",
        "p50_10k_collections_over_10 asks the same 10 collections of both catalogs, call by call in turn: what the "
        "others cost them.",
    ]
    if plan.sweep:
        notes.append(
            "p50_10k_collections_all_asked_over_10 asks all 10,000 in turn, 1,250 on each pod: more than the "
            f"{PREPARED_MAX} statements that a connection keeps prepared, so that PostgreSQL plans each query anew."
        )
    else:
        notes.append(
            f"Of {MANY:,} collections in the shard map the {FEW} that are asked have tables; there is no FDW path."
        )
    return notes


def plot(section: Section, folder: Path) -> list[Path]:
    """p50 against the number of collections."""
    rows = [row for row in section.rows if row["measured"] == "InTurn"]
    sizes = sorted({int(str(row["collections"])) for row in rows})
    asked: dict[str, Callable[[int], int]] = {
        "one asked": lambda _: 1,
        f"{FEW} asked in turn": lambda _: FEW,
        "all asked in turn": lambda size: size,
    }
    file = folder / "growth.png"
    with plots.drawn(file) as (axes,):
        for label, count in asked.items():
            points = []
            for size in sizes:
                found = [
                    float(str(row["p50_ms"]))
                    for row in rows
                    if (row["collections"], row["asked"]) == (size, count(size))
                ]
                if found:
                    points.append((size, statistics.median(found)))
            if len(points) > 1:
                axes.plot(*zip(*points, strict=True), marker="o", label=label)
        axes.set_xscale("log")
        axes.set_ylim(bottom=0)
        axes.set_xlabel("collections in the catalog")
        axes.set_ylabel("p50 of a query, ms")
        axes.set_title("A query through DIRECT, one caller, 8 pods")
        axes.legend()
    return [file]
