"""What collections, pods and records may be called."""

from __future__ import annotations

import pytest
from podroute_router.errors import InvalidArgument
from podroute_router.names import MAX_ID_BYTES, check_collection_name, check_pod_name, check_record_id


@pytest.mark.parametrize("name", ["a", "docs", "a1_b", "x" * 48])
def test_a_collection_may_be_called(name: str) -> None:
    assert check_collection_name(name, "name") == name


@pytest.mark.parametrize("name", ["", "1a", "_a", "A", "a-b", "a.b", "é", "a b", "x" * 49, 'a"; drop', "a\n"])
def test_a_collection_may_not_be_called(name: str) -> None:
    with pytest.raises(InvalidArgument) as refused:
        check_collection_name(name, "name")
    assert (refused.value.reason, refused.value.field) == ("COLLECTION_NAME", "name")


@pytest.mark.parametrize("name", ["", "A", "a-b", "x" * 33, "a\n"])
def test_a_pod_may_not_be_called(name: str) -> None:
    with pytest.raises(InvalidArgument) as refused:
        check_pod_name(name, "pod")
    assert refused.value.reason == "POD_NAME"


@pytest.mark.parametrize("record_id", ["a", " ", "'; --", "😀", "é" * (MAX_ID_BYTES // 2), "\n"])
def test_a_record_may_have_the_id(record_id: str) -> None:
    assert check_record_id(record_id, "id") == record_id


@pytest.mark.parametrize("record_id", ["", "a\0", "x" * (MAX_ID_BYTES + 1), "é" * (MAX_ID_BYTES // 2 + 1)])
def test_a_record_may_not_have_the_id(record_id: str) -> None:
    with pytest.raises(InvalidArgument) as refused:
        check_record_id(record_id, "records[0].id")
    assert (refused.value.reason, refused.value.field) == ("RECORD_ID", "records[0].id")
