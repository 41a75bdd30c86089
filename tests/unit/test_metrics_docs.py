"""docs/metrics.md lists the metrics that there are; dashboard and alerts ask for no others, nor for other labels."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from podroute_router.metrics.definitions import Metrics
from podroute_router.metrics.shared import SharedMetrics
from prometheus_client import CollectorRegistry
from prometheus_client.metrics import MetricWrapperBase

ROOT = Path(__file__).resolve().parents[2]
OBSERVE = ROOT / "docker" / "observe"
DASHBOARD = OBSERVE / "grafana" / "dashboards" / "podroute.json"

_NAME = re.compile(r"\b(?:podroute|process)_\w+")
_LABELS = re.compile(r"\b(?:podroute|process)_\w+\{([^}]*)\}|\bby \(([^)]*)\)|label_values\(\w+, (\w+)\)")
_OF_PROMETHEUS = {"instance", "job", "le"}
_SUFFIXES = {"histogram": ("_bucket", "_sum", "_count")}


@pytest.fixture(scope="module")
def kinds(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, str]:
    """Every metric that a router or a supervisor has, and its type."""
    shared = SharedMetrics(str(tmp_path_factory.mktemp("shared")), dict).registry
    found = {}
    for family in (*Metrics().registry.collect(), *shared.collect()):
        found[f"{family.name}_total" if family.type == "counter" else family.name] = family.type
    return found


def labels(registry: CollectorRegistry) -> set[str]:
    """All labels of a registry's own metrics."""
    return {
        label
        for collector in registry._collector_to_names
        if isinstance(collector, MetricWrapperBase)
        for label in collector._labelnames
    }


def series(kinds: Mapping[str, str]) -> set[str]:
    """The names that an expression may have."""
    return {name + suffix for name, kind in kinds.items() for suffix in _SUFFIXES.get(kind, ("",))}


def expressions_of_the_dashboard() -> list[str]:
    board = json.loads(DASHBOARD.read_text(encoding="utf-8"))
    variables = [each["query"]["query"] for each in board["templating"]["list"] if each["type"] == "query"]
    return [target["expr"] for panel in board["panels"] for target in panel.get("targets", ())] + variables


def expressions_of_the_alerts() -> list[str]:
    text = (OBSERVE / "alerts.yml").read_text(encoding="utf-8")
    return re.findall(r"expr: (?:\|\n)?(.+?)\n +(?:for|labels):", text, re.DOTALL)


def expressions_of_the_page() -> list[str]:
    page = (ROOT / "docs" / "metrics.md").read_text(encoding="utf-8")
    return [line for block in re.findall(r"```promql\n(.*?)```", page, re.DOTALL) for line in block.splitlines()]


ASKED = {
    "the dashboard": expressions_of_the_dashboard,
    "the alerts": expressions_of_the_alerts,
    "the page": expressions_of_the_page,
}


def rows() -> Iterator[tuple[str, str, set[str]]]:
    """Name, type and labels of each row of the page's table."""
    page = (ROOT / "docs" / "metrics.md").read_text(encoding="utf-8")
    for name, kind, named in re.findall(r"^\| `(\w+)` \| (\w+) \|([^|]*)\|", page, re.MULTILINE):
        yield name, kind, set(re.findall(r"`(\w+)`", named))


def test_every_metric_is_in_the_table_and_no_other_is(kinds: Mapping[str, str]) -> None:
    assert {name: kind for name, kind, _ in rows()} == kinds


def test_the_table_has_the_labels_of_each_metric() -> None:
    documented = {name: named for name, _, named in rows()}
    for collector in Metrics().registry._collector_to_names:
        assert isinstance(collector, MetricWrapperBase)
        (family,) = collector.collect()
        name = f"{family.name}_total" if family.type == "counter" else family.name
        assert documented[name] == set(collector._labelnames), name


@pytest.mark.parametrize("asked", ASKED)
def test_every_expression_names_metrics_and_labels_that_exist(asked: str, kinds: Mapping[str, str]) -> None:
    known = labels(Metrics().registry) | _OF_PROMETHEUS | {"worker"}
    expressions = ASKED[asked]()
    assert len(expressions) >= 6
    for expression in expressions:
        names = set(_NAME.findall(re.sub(r'"[^"]*"|\b(?:by|on) \([^)]*\)', "", expression)))
        assert names or expression.startswith("up{"), expression
        assert names <= series(kinds), expression
        for matchers, by, variable in _LABELS.findall(expression):
            asked_for = set(re.findall(r"(\w+)\s*[=!]", matchers)) | set(re.findall(r"\w+", by)) | {variable} - {""}
            assert asked_for <= known, expression


def test_every_metric_of_podroutes_own_is_on_the_dashboard(kinds: Mapping[str, str]) -> None:
    shown = " ".join(expressions_of_the_dashboard())
    missing = [name for name in kinds if name.startswith("podroute_") and name not in shown]
    assert missing == []


def test_the_dashboard_has_a_row_for_each_subject_and_panels_of_their_own() -> None:
    board: dict[str, Any] = json.loads(DASHBOARD.read_text(encoding="utf-8"))
    titles = [panel["title"] for panel in board["panels"] if panel["type"] == "row"]
    assert titles == ["Traffic", "Latency", "Pods", "Breaker and failover", "Pools", "Workers and memory"]
    ids = [panel["id"] for panel in board["panels"]]
    places = [tuple(panel["gridPos"].values()) for panel in board["panels"]]
    assert len(set(ids)) == len(set(places)) == len(board["panels"])


def test_compose_mounts_what_is_there() -> None:
    compose = (ROOT / "docker-compose.yml").read_text(encoding="utf-8")
    mounted = re.findall(r"- \./(docker/observe\S*?):", compose)
    assert len(mounted) == 3
    assert all((ROOT / path).exists() for path in mounted)
    images = re.findall(r"image: (?:prom|grafana)/\S+:v?\d+\.\d+\.\d+$", compose, re.MULTILINE)
    assert len(images) == 2
