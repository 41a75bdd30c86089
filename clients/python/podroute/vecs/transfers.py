"""Any number of records or ids, in as few calls as they fit in."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import chain, islice
from typing import Any

import podroute
from podroute.values import RecordLike

MAX_TRANSACTION_RECORDS = 5000
MAX_TRANSACTION_BYTES = 32 * 1024 * 1024
"""Vectors in one transaction of an upsert."""
MAX_FETCHED_IDS = 500
MAX_FETCHED_BYTES = 16 * 1024 * 1024
"""Vectors asked for in one call."""
MAX_DELETED_IDS = 10_000
"""The router's default bound on a call."""

_COMPONENT_BYTES = 4


def upsert(client: podroute.Client, collection: str, records: Iterable[RecordLike], dimension: int) -> None:
    """Writes records, in one transaction where they fit in one call."""
    rows = iter(records)
    most = min(MAX_TRANSACTION_RECORDS, MAX_TRANSACTION_BYTES // _vector_bytes(dimension))
    first = list(islice(rows, most))
    after = list(islice(rows, 1))
    if not first:
        return
    if not after:
        try:
            client.upsert(collection, first)
        except (podroute.ResourceExhausted, podroute.InvalidArgument) as error:
            if not _is_too_large(error):
                raise
        else:
            return
    client.upsert_many(collection, chain(first, after, rows))


def fetch(client: podroute.Client, collection: str, ids: Iterable[str], dimension: int) -> Iterator[podroute.Record]:
    """The records that exist, in the order of the ids, each once."""
    most = max(1, min(MAX_FETCHED_IDS, MAX_FETCHED_BYTES // _vector_bytes(dimension)))
    for part in _parts(ids, most):
        yield from _fetch(client, collection, part)


def delete_by_ids(client: podroute.Client, collection: str, ids: Iterable[str]) -> list[str]:
    """Deletes records; the ids of those that were there, in the order of the ids."""
    deleted: list[str] = []
    for part in _parts(ids, MAX_DELETED_IDS):
        gone = set(client.delete(collection, ids=part, include_ids=True).deleted_ids)
        deleted += [record_id for record_id in part if record_id in gone]
    return deleted


def _fetch(client: podroute.Client, collection: str, ids: list[str]) -> tuple[podroute.Record, ...]:
    try:
        return client.fetch(collection, ids).records
    except podroute.ResourceExhausted as error:
        if error.reason != "RESPONSE_TOO_LARGE" or len(ids) == 1:
            raise
    half = len(ids) // 2
    return _fetch(client, collection, ids[:half]) + _fetch(client, collection, ids[half:])


def _parts(ids: Iterable[Any], most: int) -> Iterator[list[Any]]:
    """The ids, each once, so many at a time."""
    distinct = iter(dict.fromkeys(ids))
    while part := list(islice(distinct, most)):
        yield part


def _vector_bytes(dimension: int) -> int:
    return max(1, dimension) * _COMPONENT_BYTES


def _is_too_large(error: podroute.Error) -> bool:
    """True where the call had too much in it, by gRPC's own bound or by one of the router's; nothing was written."""
    if isinstance(error, podroute.ResourceExhausted):
        return error.retry_after_s is None and error.reason in ("", "MESSAGE_TOO_LARGE")
    return error.reason == "RECORD_COUNT"
