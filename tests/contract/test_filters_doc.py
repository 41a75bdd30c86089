"""The examples of docs/filters.md are what the client sends, and what the router takes."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest
from google.protobuf import json_format
from podroute.filters import to_filter
from podroute.v1 import filter_pb2

DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "filters.md"
EXAMPLES = re.findall(r"```python\n(.*?)```\n```json\n(.*?)```", DOCUMENT.read_text(encoding="utf-8"), re.DOTALL)


def test_there_are_examples() -> None:
    assert len(EXAMPLES) >= 3


@pytest.mark.parametrize(("spelling", "message"), EXAMPLES)
def test_a_dict_and_its_message_are_the_same_filter(spelling: str, message: str) -> None:
    assert to_filter(ast.literal_eval(spelling.strip())) == json_format.Parse(message, filter_pb2.Filter())
