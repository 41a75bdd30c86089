"""A backend with one concern added. Each wrapper is a backend itself, so they stack."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Any, TypeVar

from podroute_router.backend import Backend, PreparedQuery, QueryPreparer
from podroute_router.domain import (
    Collection,
    Deadline,
    Explainable,
    Explanation,
    Match,
    MetadataUpdate,
    PlainQuery,
    Query,
    QueryResult,
    Record,
    ScannedRecord,
    ScanPage,
    Selection,
    UpsertMode,
)
from podroute_router.errors import ResourceExhausted, deadline_passed
from podroute_router.filters import Filter

T = TypeVar("T")
Call = Callable[[], Coroutine[Any, Any, T]]

_abandoned: set[asyncio.Task[Any]] = set()


async def within(deadline: Deadline, call: Coroutine[Any, Any, T], **facts: object) -> T:
    """The call's result, or DeadlineExceeded at the deadline, whether or not the call lets itself be cancelled.

    Args:
        deadline: when to stop waiting.
        call: what to wait for.
        facts: what the call is about, for the error.
    """
    task = asyncio.create_task(call)
    try:
        done, _ = await asyncio.wait({task}, timeout=deadline.remaining_s())
    except asyncio.CancelledError:
        _abandon(task)
        raise
    if not done:
        _abandon(task)
        raise deadline_passed(facts)
    return task.result()


async def _cancelled_at(deadline: Deadline, call: Coroutine[Any, Any, T], **facts: object) -> T:
    """The same as `within` for a call that ends as soon as it is cancelled; a task saved is a good part of a query."""
    try:
        async with asyncio.timeout(deadline.remaining_s()):
            return await call
    except TimeoutError as error:
        raise deadline_passed(facts) from error


def _abandon(task: asyncio.Task[Any]) -> None:
    """Cancels a task that nobody waits for; what it ends with is of no interest."""
    task.cancel()
    _abandoned.add(task)
    task.add_done_callback(_forget)


def _forget(task: asyncio.Task[Any]) -> None:
    _abandoned.discard(task)
    if not task.cancelled():
        task.exception()  # marks it as seen


class Wrapper:
    """A backend that calls another one through `_around`."""

    def __init__(self, inner: Backend) -> None:
        self._inner = inner

    @property
    def leaves_at_once(self) -> bool:
        """See `backend.Backend`."""
        return self._inner.leaves_at_once

    async def upsert(
        self,
        collection: Collection,
        records: Sequence[Record],
        deadline: Deadline,
        mode: UpsertMode = UpsertMode.REPLACE,
    ) -> int:
        """See `backend.Backend`."""
        return await self._around(collection, deadline, lambda: self._inner.upsert(collection, records, deadline, mode))

    async def query(self, collection: Collection, query: Query, deadline: Deadline) -> QueryResult:
        """See `backend.Backend`."""
        return await self._around(collection, deadline, lambda: self._inner.query(collection, query, deadline))

    async def fetch(self, collection: Collection, ids: Sequence[str], deadline: Deadline) -> list[Record]:
        """See `backend.Backend`."""
        return await self._around(collection, deadline, lambda: self._inner.fetch(collection, ids, deadline))

    async def delete(self, collection: Collection, selection: Selection, deadline: Deadline) -> int:
        """See `backend.Backend`."""
        return await self._around(collection, deadline, lambda: self._inner.delete(collection, selection, deadline))

    async def delete_returning(
        self, collection: Collection, selection: Selection, most_bytes: int, deadline: Deadline
    ) -> list[str]:
        """See `backend.Backend`."""
        return await self._around(
            collection, deadline, lambda: self._inner.delete_returning(collection, selection, most_bytes, deadline)
        )

    async def count(self, collection: Collection, filter: Filter | None, deadline: Deadline) -> int:
        """See `backend.Backend`."""
        return await self._around(collection, deadline, lambda: self._inner.count(collection, filter, deadline))

    async def update_metadata(self, collection: Collection, update: MetadataUpdate, deadline: Deadline) -> int:
        """See `backend.Backend`."""
        return await self._around(
            collection, deadline, lambda: self._inner.update_metadata(collection, update, deadline)
        )

    async def scan(self, collection: Collection, page: ScanPage, deadline: Deadline) -> list[ScannedRecord]:
        """See `backend.Backend`."""
        return await self._around(collection, deadline, lambda: self._inner.scan(collection, page, deadline))

    async def explain(
        self, collection: Collection, asked: Explainable, deadline: Deadline, *, analyze: bool = False
    ) -> Explanation:
        """See `backend.Backend`."""
        return await self._around(
            collection, deadline, lambda: self._inner.explain(collection, asked, deadline, analyze=analyze)
        )

    def prepare_query(self, collection: Collection, query: PlainQuery) -> PreparedQuery | None:
        """See `backend.QueryPreparer`."""
        return self._inner.prepare_query(collection, query) if isinstance(self._inner, QueryPreparer) else None

    async def close(self) -> None:
        """See `backend.Backend`."""
        await self._inner.close()

    def _around(self, collection: Collection, deadline: Deadline, call: Call[T]) -> Awaitable[T]:
        raise NotImplementedError


class DeadlineKept(Wrapper):
    """Answers by the deadline even where the backend does not."""

    def _around(self, collection: Collection, deadline: Deadline, call: Call[T]) -> Awaitable[T]:
        wait = _cancelled_at if self.leaves_at_once else within
        return wait(deadline, call(), collection=collection.name, pod=collection.placement.pod)


class CallsBounded(Wrapper):
    """Refuses calls beyond a number in flight per pod, so that a slow pod takes a bounded part of the router.

    Args:
        inner: the backend.
        limit: most calls in flight for one pod.
        in_flight: how many there are, by pod; shared by the paths that the limit is for.
    """

    def __init__(self, inner: Backend, *, limit: int, in_flight: Counter[str] | None = None) -> None:
        super().__init__(inner)
        self._limit = limit
        self._in_flight = Counter[str]() if in_flight is None else in_flight

    def prepare_query(self, collection: Collection, query: PlainQuery) -> PreparedQuery | None:
        """See `backend.QueryPreparer`."""
        prepared = super().prepare_query(collection, query)
        return None if prepared is None else _BoundedQuery(prepared, self, collection.placement.pod)

    def enter(self, pod: str) -> None:
        """A call of a pod begins; raises ResourceExhausted where there are too many."""
        if self._in_flight[pod] >= self._limit:
            raise ResourceExhausted(
                "POD_BUSY",
                f"pod {pod!r} has {self._limit} calls in flight",
                facts={"pod": pod, "limit": self._limit},
                retry_after_s=0.1,
            )
        self._in_flight[pod] += 1

    def leave(self, pod: str) -> None:
        """A call of a pod ended."""
        self._in_flight[pod] -= 1

    async def _around(self, collection: Collection, _: Deadline, call: Call[T]) -> T:
        pod = collection.placement.pod
        self.enter(pod)
        try:
            return await call()
        finally:
            self.leave(pod)


class _BoundedQuery:
    """A prepared query that counts among the calls of its pod."""

    def __init__(self, inner: PreparedQuery, bound: CallsBounded, pod: str) -> None:
        self._inner = inner
        self._bound = bound
        self._pod = pod

    async def run(self, vector: bytes, deadline: Deadline) -> list[Match] | None:
        """See `backend.PreparedQuery`."""
        self._bound.enter(self._pod)
        try:
            return await self._inner.run(vector, deadline)
        finally:
            self._bound.leave(self._pod)
