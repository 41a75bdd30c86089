"""The names that callers choose, and the bounds on them."""

from __future__ import annotations

import re
from collections.abc import Iterable

from podroute_router.errors import InvalidArgument, ResourceExhausted

MAX_ID_BYTES = 1024
_ID_OVERHEAD = 3
"""Bytes that the wire adds to an id."""

_COLLECTION = re.compile(r"[a-z][a-z0-9_]{0,47}")
_POD = re.compile(r"[a-z][a-z0-9_]{0,31}")


def check_collection_name(name: str, field: str) -> str:
    """Returns the name, or raises InvalidArgument where no collection can be called so."""
    if not _COLLECTION.fullmatch(name):
        raise InvalidArgument(
            "COLLECTION_NAME",
            field,
            "must be 1 to 48 of [a-z0-9_], starting with a letter",
            limit=48,
        )
    return name


def check_pod_name(name: str, field: str) -> str:
    """Returns the name, or raises InvalidArgument where no pod can be called so."""
    if not _POD.fullmatch(name):
        raise InvalidArgument("POD_NAME", field, "must be 1 to 32 of [a-z0-9_], starting with a letter", limit=32)
    return name


def check_record_id(record_id: str, field: str) -> str:
    """Returns the id, or raises InvalidArgument where no record can have it."""
    if not record_id:
        raise InvalidArgument("RECORD_ID", field, "must not be empty")
    if "\0" in record_id:
        raise InvalidArgument("RECORD_ID", field, "must not hold U+0000")
    if len(record_id) > MAX_ID_BYTES or len(record_id.encode()) > MAX_ID_BYTES:
        raise InvalidArgument("RECORD_ID", field, f"is longer than {MAX_ID_BYTES} bytes", limit=MAX_ID_BYTES)
    return record_id


def check_id_bytes(ids: Iterable[str], most_bytes: int) -> None:
    """Raises ResourceExhausted where the ids of deleted records are more than an answer holds."""
    sizes = [len(record_id.encode()) for record_id in ids]
    check_id_sizes(len(sizes), sum(sizes), most_bytes)


def check_id_sizes(count: int, id_bytes: int, most_bytes: int) -> None:
    """The same for so many ids, which have so many bytes together."""
    size = id_bytes + _ID_OVERHEAD * count
    if size > most_bytes:
        raise ResourceExhausted(
            "RESPONSE_TOO_LARGE",
            f"the ids of the records to delete have {size} bytes, at most {most_bytes} are returned; nothing was "
            "deleted: leave out `include_ids`, or delete fewer at a time",
            facts={"size": size, "limit_bytes": most_bytes},
        )
