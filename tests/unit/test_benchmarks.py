"""The benchmarks' pure parts: what is made of measurements, and what becomes of results."""

from __future__ import annotations

import json
import math
import re
import sys
import time
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from benchmarks import __main__ as runner
from benchmarks import report, results, rounds, stage
from benchmarks.children import ROOT
from benchmarks.closed_loop import Window
from benchmarks.data import make_dataset, record_id
from benchmarks.goals import RATIOS
from benchmarks.measuring import ATTEMPTS, Figure, Sample, least_disturbed, percentiles_ms
from benchmarks.open_loop import Schedule, follow
from benchmarks.peers import cases
from benchmarks.section import Scale, Section, Table


def schedule(*, seconds: float = 1.0, rate_per_s: float = 200.0, seed: int = 1, start: float = 0.0) -> Schedule:
    return Schedule(start=start, begin=start, end=start + seconds, rate_per_s=rate_per_s, seed=seed)


def sample(case: str, round: int, p50_ms: float, cpu_us: float | None = 1.0) -> Sample:
    return Sample(
        case=case,
        callers=1,
        round=round,
        calls=10,
        requests_per_s=1000 / p50_ms,
        cpu_us=cpu_us,
        postgres_cpu_us=None,
        load_cpu_us=None,
        p50_ms=p50_ms,
        p90_ms=p50_ms,
        p99_ms=p50_ms,
        others_cpu=None,
    )


def section(name: str, found: dict[str, float | None], **more: Any) -> Section:
    table = Table(title="Figures", header=("case", "ms"), rows=[("one", "1.0")])
    return Section(name=name, title=name, parameters={}, rows=[{"a": 1}], tables=[table], ratios=found, **more)


# Open loop


def test_arrivals_come_at_the_rate_asked_for_and_are_the_same_for_the_same_seed() -> None:
    times = schedule(seconds=50).arrivals()
    assert times == sorted(times)
    assert times[0] >= 0
    assert times[-1] < 50
    assert len(times) == pytest.approx(50 * 200, rel=0.05)
    assert times == schedule(seconds=50).arrivals()
    assert times != schedule(seconds=50, seed=2).arrivals()


def test_the_callers_shares_are_all_of_the_schedule() -> None:
    whole = schedule()
    shares = [whole.share(number, 3) for number in range(3)]
    assert sorted(at for share in shares for at in share) == whole.arrivals()


def test_a_call_is_timed_from_when_it_was_due_not_from_when_it_could_start() -> None:
    start = time.monotonic()
    kept = follow(schedule(start=start), [start, start, start], lambda _: time.sleep(0.03))
    assert [seconds >= 0.03 * (number + 1) for number, seconds in enumerate(kept.seconds)] == [True, True, True]
    assert kept.missed == []


def test_an_overload_ends_by_itself_and_counts_the_calls_that_never_started() -> None:
    start = time.monotonic()
    kept = follow(schedule(start=start, seconds=0.1), [start] * 50, lambda _: time.sleep(0.03))
    assert time.monotonic() - start < 1, "50 calls of 30 ms would take longer"
    assert len(kept.seconds) + len(kept.missed) == 50
    assert kept.missed == pytest.approx([0.1] * len(kept.missed))
    assert len(kept.missed) >= 40


def test_calls_that_are_due_before_the_window_are_warm_up() -> None:
    start = time.monotonic()
    later = Schedule(start=start, begin=start + 0.02, end=start + 60, rate_per_s=1, seed=1)
    assert len(follow(later, [start, start + 0.03], lambda _: None).seconds) == 1


# Figures


def test_percentiles_are_in_milliseconds() -> None:
    assert percentiles_ms([i / 1000 for i in range(1, 102)]) == pytest.approx((51, 91, 100))


def test_a_programs_log_counts_what_ended_within_the_window() -> None:
    now = time.time()
    window = Window.after(0, 10)
    assert window.ended_within([(now - 1, 0.1), (now + 1, 0.2), (now + 9, 0.3), (now + 11, 0.4)]) == [0.2, 0.3]


def test_a_ratio_is_taken_within_a_round() -> None:
    samples = [sample("a", 0, 2), sample("b", 0, 1), sample("a", 1, 30), sample("b", 1, 10), sample("a", 2, 5)]
    assert rounds.paired(samples, rounds.p50, "a", "b", 1) == [(2, 1), (30, 10)]
    assert rounds.over(samples, rounds.p50, "a", "b", 1) == Figure.of([2.0, 3.0])
    assert rounds.added(samples, rounds.p50, "a", "b", 1) == Figure.of([1, 20])


def test_there_is_no_ratio_to_a_peer_that_was_not_measured() -> None:
    samples = [sample("a", 0, 2), sample("b", 0, 1, cpu_us=None)]
    assert rounds.over(samples, rounds.p50, "a", "gone", 1) is None
    assert rounds.over(samples, rounds.cpu, "a", "b", 1) is None


def test_a_disturbed_measurement_is_taken_again_and_the_least_disturbed_counts() -> None:
    def taken(*shares: float) -> tuple[float | None, int]:
        left = [replace(sample("a", 0, 1), others_cpu=share) for share in shares]
        return least_disturbed(lambda: left.pop(0)).others_cpu, len(shares) - len(left)

    assert taken(0.02, 0.9) == (0.02, 1)
    assert taken(0.5, 0.03, 0.9) == (0.03, 2)
    assert taken(0.5, 0.2, 0.4, 0.0) == (0.2, ATTEMPTS)


def test_cases_of_unequal_recall_have_no_ratio_to_each_other() -> None:
    query = import_module("benchmarks.sections.query")
    samples = [sample(case, 0, 2) for case in (stage.FLOOR, stage.CLIENT, stage.DIRECT, stage.BARE, cases.VECS)]
    recall = dict.fromkeys((stage.CLIENT, stage.DIRECT, stage.BARE, cases.VECS), 0.9)
    assert query._ratios(samples, recall)["p50_over_vecs"] == Figure.of([1.0])
    assert query._ratios(samples, recall | {cases.VECS: 0.8})["p50_over_vecs"] is None


def test_a_goal_within_the_spread_is_said_to_be() -> None:
    ratio = next(ratio for ratio in RATIOS if ratio.shown_goal == "≤ 2")
    assert [ratio.verdict(1.9, spread) for spread in (None, 0.01, 0.2)] == ["met", "met", "met, within the spread"]
    assert ratio.verdict(2.1, 0.2) == "**missed**, within the spread"


def test_true_neighbours_do_not_depend_on_the_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = make_dataset(records=700, dimension=16, queries=20, neighbours=5)
    records, queries = (part / np.linalg.norm(part, axis=1, keepdims=True) for part in (whole.records, whole.queries))
    nearest = np.argsort(-(queries @ records.T), axis=1)[:, :5]
    monkeypatch.setattr("benchmarks.data.CHUNK", 100)
    chunked = make_dataset(records=700, dimension=16, queries=20, neighbours=5)
    assert [sorted(row) for row in whole.neighbours] == [sorted(row) for row in nearest]
    likeness = [sorted(row) for row in chunked.neighbours]
    again = np.argsort(
        -(chunked.queries / np.linalg.norm(chunked.queries, axis=1, keepdims=True))
        @ (chunked.records / np.linalg.norm(chunked.records, axis=1, keepdims=True)).T,
        axis=1,
    )[:, :5]
    assert likeness == [sorted(row) for row in again]


def test_recall_is_the_share_of_true_neighbours_found() -> None:
    dataset = make_dataset(records=50, dimension=4, queries=2, neighbours=2)
    right = [[record_id(int(i)) for i in row] for row in dataset.neighbours]
    assert dataset.recall(right) == 1
    assert dataset.recall([right[0], []]) == 0.5
    assert dataset.recall([right[1]], first=1) == 1


# Results

ABOUT = {"measured_at": "now", "took_s": 1.0, "command": "x", "revision": "y"}
RUN = {
    "date": "now",
    "scale": "full",
    "command": "x",
    "revision": "y",
    "machine": {"processor": "p", "processors": 2, "memory_gib": 1, "system": "s"},
    "versions": {"Python": "3"},
}


def test_every_known_ratio_is_there_and_null_ones_have_a_reason() -> None:
    sections = {
        "query": results.section_entry(
            section("query", {"p50_over_vecs": 0.5, "qps8_over_vecs": math.nan, "own": 2.0}, notes=["no vecs"]), ABOUT
        ),
        "ingest": results.failed_entry("ingest", RuntimeError("broken"), ABOUT),
    }
    document = results.document(sections, RUN, runner.SECTIONS)
    assert document["ratios"]["p50_over_vecs"] == 0.5
    assert document["ratios"]["own"] == 2.0
    assert {ratio.name for ratio in RATIOS} <= set(document["ratios"])
    reasons = document["ratios_not_measured"]
    assert reasons["qps8_over_vecs"] == results.UNEXPLAINED
    assert "broken" in reasons["ingest_over_vecs"]
    assert reasons["p50_10k_collections_over_10"] == results.NOT_RUN
    assert set(reasons) == {name for name, value in document["ratios"].items() if value is None}
    json.dumps(document, allow_nan=False)


def test_goals_and_results_stand_side_by_side() -> None:
    sections = {
        "query": results.section_entry(section("query", {"p50_over_vecs": 0.5, "qps8_over_vecs": 1.0}), ABOUT),
        "ingest": results.failed_entry("ingest", RuntimeError("broken"), ABOUT),
    }
    text = report.report(results.document(sections, RUN, runner.SECTIONS))
    rows = {line.split("`")[1]: line for line in text.splitlines() if line.startswith("| `")}
    assert " met " in rows["p50_over_vecs"]
    assert "≤ 0.6" in rows["p50_over_vecs"]
    assert "**missed**" in rows["qps8_over_vecs"]
    assert "not measured" in rows["ingest_over_vecs"]
    assert "**Failed**: RuntimeError: broken" in text


@pytest.mark.parametrize("name", runner.SECTIONS)
def test_each_section_can_be_run(name: str) -> None:
    assert callable(import_module(f"benchmarks.sections.{name}").run)


def test_each_ratio_is_of_a_section() -> None:
    assert {ratio.section for ratio in RATIOS} <= set(runner.SECTIONS)


def test_each_child_is_a_module() -> None:
    source = "".join(file.read_text(encoding="utf-8") for file in (ROOT / "benchmarks").rglob("*.py"))
    names = re.findall(r"(?:Child\(|start_all\(stack, |module=)\"(\w+)\"", source)
    assert len(names) > 8
    assert [name for name in names if not (ROOT / "benchmarks" / "processes" / f"{name}.py").exists()] == []


def test_a_small_run_judges_no_goal() -> None:
    entry = results.section_entry(section("query", {"p50_over_vecs": 0.5}), ABOUT)
    text = report.report(results.document({"query": entry}, RUN | {"scale": "smoke"}, runner.SECTIONS))
    assert "0.50" in text
    assert " met " not in text


def test_the_report_says_how_busy_other_programs_were() -> None:
    entry = results.section_entry(section("query", {}), ABOUT)
    entry["rows"] = [{"others_cpu": share} for share in (0.1, 0.2, 0.7, None)]
    text = report.report(results.document({"query": entry}, RUN, runner.SECTIONS))
    assert "Other programs took 20% of the machine's CPU time (median of 3 measurements, at most 70%)." in text


def failing(_scale: Scale) -> Section:
    raise RuntimeError("no pod")


def with_sections(monkeypatch: pytest.MonkeyPatch, **runs: Any) -> None:
    for name, run in runs.items():
        monkeypatch.setitem(sys.modules, f"benchmarks.sections.{name}", SimpleNamespace(run=run))


def read(folder: Path) -> dict[str, Any]:
    document: dict[str, Any] = json.loads((folder / "latest.json").read_text(encoding="utf-8"))
    return document


def test_a_section_that_fails_leaves_the_others_standing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with_sections(monkeypatch, query=failing, recall=lambda _: section("recall", {"found": 1.0}))
    assert runner.main(["--only", "query,recall", "--out", str(tmp_path)]) == 1
    document = read(tmp_path)
    assert document["ratios"]["found"] == 1
    assert "no pod" in document["ratios_not_measured"]["p50_over_vecs"]
    assert (tmp_path / "latest.md").exists()


def test_a_run_of_some_sections_keeps_what_the_others_measured(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with_sections(
        monkeypatch,
        query=lambda _: section("query", {"p50_over_vecs": 0.5}),
        recall=lambda _: section("recall", {"found": 1.0}),
    )
    assert runner.main(["--only", "query", "--out", str(tmp_path)]) == 0
    measured_at = read(tmp_path)["sections"]["query"]["measured_at"]
    assert runner.main(["--only", "recall", "--out", str(tmp_path)]) == 0
    document = read(tmp_path)
    assert document["ratios"]["p50_over_vecs"] == 0.5
    assert document["ratios"]["found"] == 1
    assert document["sections"]["query"]["measured_at"] == measured_at
    assert runner.main(["--scale", "smoke", "--only", "recall", "--out", str(tmp_path)]) == 0
    assert list(read(tmp_path)["sections"]) == ["recall"], "a smoke run is not mixed with a full one"


def test_no_folder_of_the_machine_is_in_the_results(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with_sections(monkeypatch, query=lambda _: section("query", {}))
    monkeypatch.delenv("PODROUTE_BENCH_VECTORS", raising=False)
    monkeypatch.setenv("PODROUTE_BENCH_VECTORS", "set so that it is put back")
    vectors = tmp_path / "real.npz"
    assert runner.main(["--only", "query", f"--out={tmp_path}", "--vectors", str(vectors)]) == 0
    assert str(tmp_path) not in (tmp_path / "latest.json").read_text(encoding="utf-8")
    assert "real.npz" in read(tmp_path)["command"]


def test_a_section_that_does_not_exist_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SystemExit):
        runner.main(["--only", "nothing", "--out", str(tmp_path)])
