"""docs/reliability.md is what the last published chaos run found, and each of its promises has a subject."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from chaos import report, subjects

CHAOS = Path(report.__file__).parent
MODULES = sorted(path.stem for path in CHAOS.glob("test_*.py") if "Result(" in path.read_text(encoding="utf-8"))


def test_the_page_is_what_the_results_say() -> None:
    page = report.PAGE.read_text(encoding="utf-8")
    assert report.page_of(page) == page


def test_each_result_says_what_was_promised_and_whether_it_held() -> None:
    results = json.loads(report.RESULTS.read_text(encoding="utf-8"))
    assert isinstance(results, list)
    assert len(results) > 40
    for result in results:
        assert all(isinstance(result[key], str) and result[key] for key in ("promise", "figure", "bound"))
        assert isinstance(result["held"], bool)


def test_no_result_is_lost_on_the_page() -> None:
    names = {subject.name for subject in subjects.SUBJECTS}
    results = json.loads(report.RESULTS.read_text(encoding="utf-8"))
    assert {result["subject"] for result in results} <= names


def test_a_run_of_some_modules_leaves_the_results_of_others() -> None:
    before = [{"module": "b", "figure": "1"}, {"module": "a", "figure": "1"}, {"module": "a", "figure": "2"}]
    assert report.merged(before, [{"module": "a", "figure": "3"}]) == [{"module": "a", "figure": "3"}, before[0]]


@pytest.mark.parametrize("module", MODULES)
def test_every_test_that_tells_of_a_promise_has_a_subject(module: str) -> None:
    assert subjects.subject_of(module)


def test_every_subject_has_tests() -> None:
    named = [module for subject in subjects.SUBJECTS for module in subject.modules]
    assert len(set(named)) == len(named)
    assert [module for module in named if not (CHAOS / f"{module}.py").exists()] == []
