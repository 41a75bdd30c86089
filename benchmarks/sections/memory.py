"""The memory of a router: with 1, 100 and 10,000 collections, and with 1, 100 and 1,000 open streams of upserts."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path

import podroute

from benchmarks.children import START_TIMEOUT_S, Child
from benchmarks.closed_loop import Window, heard
from benchmarks.growth import figures
from benchmarks.growth.stage import DIMENSION, PODS, GrowthStage, collection_name, open_growth_stage
from benchmarks.measuring import Figure
from benchmarks.output import shown
from benchmarks.processes.streams import RECORDS_A_BATCH, STREAMS_A_CONNECTION
from benchmarks.progress import tell
from benchmarks.section import Scale, Section, Table

FEW = len(PODS)
"""Collections that are written to, one on each pod."""
READIED_TIMEOUT_S = 600.0
LOOK_S = 0.05
"""Between two looks at a router that works."""
STREAMS_TIMEOUT_S = 120.0
MIB = 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What is measured at a scale."""

    collections: Sequence[int]
    streams: Sequence[int]
    fdw: bool
    rounds: int
    settle_s: float
    sending_s: float


PLANS = {
    Scale.FULL: Plan(
        collections=(1, 100, 10_000), streams=(1, 100, 1000), fdw=True, rounds=3, settle_s=2.0, sending_s=5.0
    ),
    Scale.SMOKE: Plan(collections=(1, 10_000), streams=(1, 50), fdw=False, rounds=1, settle_s=0.5, sending_s=1.0),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """A router that has answered a query and rests."""

    collections: int
    round: int
    rss_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Streaming:
    """A router with open streams."""

    streams: int
    round: int
    before_bytes: int
    """Without any."""
    idle_bytes: int
    """All open, nothing sent since the first batch of each."""
    sending_bytes: int
    """All sending, each a batch as soon as the one before is acknowledged; the most that was seen."""
    after_bytes: int
    """All closed."""
    batches_per_s: float


def run(scale: Scale) -> Section:
    """Measures."""
    plan = PLANS[scale]
    with ExitStack() as stack:
        stage = stack.enter_context(open_growth_stage(()))
        stage.make_tables(range(FEW))
        for size in {*plan.collections, FEW}:
            catalog = stage.make_catalog(size)
            if plan.fdw:
                router, _ = stage.start_router(stage.config(catalog))
                figures.wait_until_readied(stage, catalog, size, timeout_s=READIED_TIMEOUT_S)
                router.close()
        standing = []
        for number in range(plan.rounds):
            for size in plan.collections:
                tell(f"{size:,} collections …")
                standing.append(_standing(stage, plan, size, number))
        sender = stack.enter_context(Child("streams"))
        sender.hear(START_TIMEOUT_S)
        streaming = []
        for number in range(plan.rounds):
            for count in plan.streams:
                tell(f"{count:,} streams …")
                streaming.append(_streaming(stage, sender, plan, count, number))
    samples: Sequence[Standing | Streaming] = (*standing, *streaming)
    return Section(
        name="memory",
        title="Memory of a router",
        parameters={
            "pods": len(PODS),
            "dimension": DIMENSION,
            "records_a_batch": RECORDS_A_BATCH,
            "streams_a_connection": STREAMS_A_CONNECTION,
            "collections_written_to": FEW,
            **asdict(plan),
        },
        rows=[{"measured": type(sample).__name__, **asdict(sample)} for sample in samples],
        tables=[_standing_table(plan, standing), _streaming_table(plan, streaming)],
        notes=[
            "RSS from /proc, of one process with one worker; each measurement has a process of its own.",
            "Catalog rows were made in bulk by SQL, the same that CreateCollection writes; only the collections that "
            "are asked and written to have tables.",
        ],
    )


def _standing(stage: GrowthStage, plan: Plan, collections: int, round: int) -> Standing:
    values = stage.config(f"catalog_{collections}", fdw=plan.fdw, state_dir=stage.folder(f"memory_{collections}"))
    router, address = stage.start_router(values)
    with podroute.Client(address) as client:
        client.query(collection_name(0), [1.0] * DIMENSION)
        time.sleep(plan.settle_s)
        rss_bytes = _rss_bytes(router.pid)
    router.close()
    return Standing(collections=collections, round=round, rss_bytes=rss_bytes)


def _streaming(stage: GrowthStage, sender: Child, plan: Plan, streams: int, round: int) -> Streaming:
    router, address = stage.start_router(stage.config(f"catalog_{FEW}", fdw=plan.fdw))
    with podroute.Client(address) as client:
        client.query(collection_name(0), [1.0] * DIMENSION)
        time.sleep(plan.settle_s)
        before_bytes = _rss_bytes(router.pid)
    sender.ask(
        {"address": address, "streams": streams, "collections": [collection_name(n) for n in range(FEW)]},
        STREAMS_TIMEOUT_S,
    )
    time.sleep(plan.settle_s)
    idle_bytes = _rss_bytes(router.pid)
    window = Window.after(0.0, plan.sending_s)
    sender.tell({"window": [window.begin, window.end]})
    sending_bytes = 0
    while time.monotonic() < window.end:
        sending_bytes = max(sending_bytes, _rss_bytes(router.pid))
        time.sleep(LOOK_S)
    batches = heard(sender, window.end)["batches"]
    sender.ask({"close": True}, STREAMS_TIMEOUT_S)
    time.sleep(plan.settle_s)
    after_bytes = _rss_bytes(router.pid)
    router.close()
    return Streaming(
        streams=streams,
        round=round,
        before_bytes=before_bytes,
        idle_bytes=idle_bytes,
        sending_bytes=sending_bytes,
        after_bytes=after_bytes,
        batches_per_s=batches / plan.sending_s,
    )


def _standing_table(plan: Plan, samples: Sequence[Standing]) -> Table:
    rows = []
    for size in plan.collections:
        group = [sample.rss_bytes for sample in samples if sample.collections == size]
        rows.append((f"{size:,}", shown(Figure.of([rss / MIB for rss in group]), 1)))
    return Table(
        title="Collections",
        header=("collections", "RSS MiB"),
        rows=rows,
        note="After one query, at rest."
        + (" The foreign tables of the FDW path stood already." if plan.fdw else " Without an FDW path."),
    )


def _streaming_table(plan: Plan, samples: Sequence[Streaming]) -> Table:
    columns: dict[str, Callable[[Streaming], float]] = {
        "before, MiB": lambda one: one.before_bytes / MIB,
        "open and idle": lambda one: one.idle_bytes / MIB,
        "sending, at most": lambda one: one.sending_bytes / MIB,
        "closed again": lambda one: one.after_bytes / MIB,
        "KiB an idle stream": lambda one: (one.idle_bytes - one.before_bytes) / 1024 / one.streams,
        "batches/s": lambda one: one.batches_per_s,
    }
    rows = []
    for count in plan.streams:
        group = [sample for sample in samples if sample.streams == count]
        rows.append((f"{count:,}", *(shown(Figure.of([value(one) for one in group]), 0) for value in columns.values())))
    return Table(
        title="Open streams of upserts",
        header=("streams", *columns),
        rows=rows,
        note=f"Each stream sends {RECORDS_A_BATCH} records of dimension {DIMENSION} at a time, and waits for the "
        "acknowledgement.",
    )


def _rss_bytes(pid: int) -> int:
    for line in Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024
    raise ProcessLookupError(f"process {pid} has ended")
