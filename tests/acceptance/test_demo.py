"""`podroute demo`, and how it judges."""

from __future__ import annotations

import re
import sys

import podroute
import podroute_command
import pytest
from click.testing import CliRunner
from podroute_router.cli.demo import check_agreement
from podroute_router.cli.digits import PLANS, Judgement, agree, right_share
from podroute_router.cli.failures import CallFailed
from podroute_router.cli.root import root
from podroute_router.embedded import processes

ROUTE = podroute.Route(path="direct", pods=("alpha",), map_revision=1, on_primary=False)


def result(**distances: float) -> podroute.QueryResult:
    matches = tuple(podroute.Match(id=key, distance=distance) for key, distance in distances.items())
    return podroute.QueryResult(matches=matches, route=ROUTE, complete=True)


def test_the_demo_shows_both_paths_agreeing_and_leaves_nothing() -> None:
    with (
        podroute_command.open_folder() as folder,
        podroute_command.started("demo", TMPDIR=str(folder), PODROUTE_LIMITS__MAX_LIMIT="1") as demo,
    ):
        demo.wait_for("(started)")
        family = demo.family()
        assert demo.process.wait(podroute_command.TIMEOUT_S) == 0, demo.err
        assert processes.wait_gone(family, 0) == []
        assert list(folder.iterdir()) == []
        printed = demo.out
        assert demo.err == ""
    assert "DIRECT and FDW agree on all of 800 queries" in printed
    assert "1,797 records into digits (cosine) on alpha, path DIRECT" in printed
    assert "1,797 records into digits_l2 (l2) on beta, path FDW" in printed
    assert re.findall(r"^(digits\w*) .* (DIRECT|FDW) +(alpha|beta) ", printed, re.MULTILINE) == [
        (collection, path, pod)
        for collection, pod in (("digits", "alpha"), ("digits_l2", "beta"))
        for _ in range(2)
        for path in ("DIRECT", "FDW")
    ]
    shares = re.findall(r"([\d.]+)% by (?:DIRECT|FDW)", printed)
    assert len(shares) == 4
    assert all(97 < float(share) < 100 for share in shares)
    lines = printed.splitlines()
    assert len(lines) <= 45
    assert max(map(len, lines)) <= 110
    assert "\x1b" not in printed


def judgement(differing: int) -> Judgement:
    return Judgement(plan=PLANS[0], right={"direct": 1.0, "fdw": 1.0}, compared=400, differing=differing)


def test_paths_that_differ_end_the_demo_with_code_1() -> None:
    check_agreement([judgement(0), judgement(0)])
    with pytest.raises(CallFailed) as failed:
        check_agreement([judgement(0), judgement(3)])
    assert failed.value.exit_code == 1
    assert failed.value.message == "DIRECT and FDW differ on 3 of 800 queries"


def test_without_scikit_learn_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    outcome = CliRunner().invoke(root, ["demo"])
    assert outcome.exit_code == 2
    assert outcome.stderr == "podroute: the demo's digits are scikit-learn's: pip install scikit-learn\n"


@pytest.mark.parametrize(
    ("other", "same"),
    [
        ({"a": 1.0, "b": 2.0, "c": 3.0}, True),
        ({"a": 1.0 + 1e-9, "b": 2.0, "c": 3.0}, True),
        ({"a": 1.0, "b": 2.0, "another": 3.0}, True),
        ({"a": 1.0, "b": 2.0, "c": 3.001}, False),
        ({"a": 1.0, "another": 2.0, "c": 3.0}, False),
        ({"b": 1.0, "a": 2.0, "c": 3.0}, False),
        ({"a": 1.0, "b": 2.0}, False),
        ({}, False),
    ],
)
def test_answers_agree_up_to_rounding_and_ties_with_the_last(other: dict[str, float], same: bool) -> None:
    assert agree(result(a=1.0, b=2.0, c=3.0), result(**other)) is same
    assert agree(result(**other), result(a=1.0, b=2.0, c=3.0)) is same


def test_two_answers_without_neighbours_agree() -> None:
    assert agree(result(), result())


def test_the_share_counts_neighbours_of_the_same_label() -> None:
    labels = {"a": 1, "b": 1, "c": 2}
    assert right_share([1, 2], [result(a=1, b=2), result(a=1, c=2)], labels) == 0.75
    assert right_share([1], [result()], labels) == 0
