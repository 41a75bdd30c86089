"""The documentation says what is so: links lead somewhere, examples work, the configuration's table is complete."""

from __future__ import annotations

import ast
import re
import tomllib
from pathlib import Path

import podroute
import pytest
from podroute.service_config import SERVICE_CONFIG
from podroute_router.config import Limits, Router, Timeouts, load_config
from pydantic import BaseModel

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted(str(path.relative_to(ROOT)) for path in (*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")))

_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"\]\(([^)\s]+)\)")
_PATH = re.compile(r"`((?:router|plugins|clients|proto|tests|docs|docker|benchmarks|scripts|requirements)/[\w./-]*)`")
_HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)


def text_of(page: str) -> str:
    return (ROOT / page).read_text(encoding="utf-8")


def examples(page: str, language: str) -> list[str]:
    return [body for found, body in _FENCE.findall(text_of(page)) if found == language]


def anchors(page: Path) -> set[str]:
    """The names that GitHub gives a page's headings."""
    headings = _HEADING.findall(_FENCE.sub("", page.read_text(encoding="utf-8")))
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES)
def test_every_link_leads_somewhere(page: str) -> None:
    for link in _LINK.findall(_FENCE.sub("", text_of(page))):
        if re.match(r"https?://", link):
            continue
        name, _, anchor = link.partition("#")
        target = (ROOT / page).parent / name if name else ROOT / page
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link


@pytest.mark.parametrize("page", PAGES)
def test_every_file_that_is_named_exists(page: str) -> None:
    missing = [path for path in _PATH.findall(text_of(page)) if not (ROOT / path).exists()]
    assert missing == []


@pytest.mark.parametrize("page", PAGES)
def test_no_page_names_a_place_outside_the_project(page: str) -> None:
    assert not re.search(r"\bshared/|DESIGN\.md", text_of(page))


def test_the_readmes_python_example_compiles_and_uses_what_the_client_has() -> None:
    (example,) = examples("README.md", "python")
    compile(example, "README.md", "exec")
    for name in re.findall(r"\bclient\.(\w+)", example):
        assert hasattr(podroute.Client, name)


@pytest.mark.parametrize("page", ["README.md", "docs/configuration.md"])
def test_every_configuration_shown_is_one_that_a_router_takes(page: str, tmp_path: Path) -> None:
    shown = [body for body in examples(page, "toml") if "dsn" in body]
    assert shown
    for body in shown:
        path = tmp_path / "podroute.toml"
        path.write_text(body, encoding="utf-8")
        assert load_config(path).pods


def test_the_configuration_of_docker_compose_is_one_that_a_router_takes() -> None:
    assert sorted(load_config(ROOT / "docker" / "podroute.toml").pods) == ["docs", "images"]


@pytest.mark.parametrize("section", [Router, Limits, Timeouts])
def test_every_configuration_key_is_documented_with_its_default(section: type[BaseModel]) -> None:
    page = text_of("docs/configuration.md")
    _, heading, table = page.partition(f"\n## `[{section.__name__.lower()}]`\n")
    assert heading
    table, _, _ = table.partition("\n## ")
    documented = dict(re.findall(r"^\| `(\w+)` \| (?:`(.+?)`|none) \|", table, re.MULTILINE))
    assert documented.keys() == section.model_fields.keys()
    for key, field in section.model_fields.items():
        shown = documented[key]
        assert (tomllib.loads(f"value = {shown}")["value"] if shown else None) == field.default, key


def test_every_reason_that_operations_names_is_one_of_the_errors() -> None:
    reasons = set(re.findall(r"^\| `([A-Z_]+)` \|", text_of("docs/errors.md"), re.MULTILINE))
    named = set(re.findall(r"`([A-Z]+(?:_[A-Z]+)+)`", text_of("docs/operations.md")))
    assert named
    assert named <= reasons


def test_every_log_line_that_operations_quotes_is_one_of_the_code() -> None:
    said = [
        node.value
        for folder in ("router", "plugins")
        for path in (ROOT / folder).rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    ]
    prose = _FENCE.sub("", text_of("docs/operations.md"))
    quoted = [" ".join(text.split()) for text in re.findall(r"`([^`]+)`", prose)]
    lines = [text for text in quoted if re.match(r"(?:the|a|pod|pgvector|following|readying|registering) ", text)]
    assert len(lines) > 10
    for line in lines:
        for part in re.split(r"…|\bfailed\b|\bdocs\b|\b\d+\b", line):
            assert any(part.strip() in text for text in said), line


def test_errors_says_how_often_and_after_what_clients_try_again() -> None:
    policy = SERVICE_CONFIG["methodConfig"][0]["retryPolicy"]
    _, _, section = text_of("docs/errors.md").partition("\n## What clients try again\n")
    section = " ".join(section.split())
    assert f"at most {policy['maxAttempts']} times in all" in section
    assert f"has clients try {' and '.join(policy['retryableStatusCodes'])} again" in section


def test_contributing_has_what_ci_runs_and_every_command_exists() -> None:
    page = text_of("CONTRIBUTING.md")
    (run,) = re.findall(r"^exec make --jobs=1 (.+)$", text_of(".ci/run"), re.MULTILINE)
    assert f"`make {run}`" in page
    targets = set(re.findall(r"^([\w-]+):", text_of("Makefile"), re.MULTILINE))
    named = set(re.findall(r"^\| `make ([\w-]+)`", page, re.MULTILINE))
    assert named
    assert named <= targets


def test_the_image_is_built_with_what_the_lock_file_has() -> None:
    def pins(name: str) -> dict[str, str]:
        return dict(re.findall(r"^([\w.-]+)==(\S+)", text_of(f"requirements/{name}.txt"), re.MULTILINE))

    build, development = pins("build"), pins("dev")
    assert {name: development[name] for name in build} == build
    (backend,) = tomllib.loads(text_of("pyproject.toml"))["build-system"]["requires"]
    assert backend == f"hatchling=={build['hatchling']}"
