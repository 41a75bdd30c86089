"""The log of one call: one line, at debug where it was served, louder where it failed; of very many, some."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from typing import Any, Final

import grpc
import structlog
from google.protobuf.message import Message
from podroute.v1 import route_pb2

from podroute_router.api.log_rate import LogRate
from podroute_router.api.status import code_of
from podroute_router.errors import AlreadyExists, InvalidArgument, NotFound, PodrouteError, Unsupported
from podroute_router.metrics.calls import Ended

MAX_NAME = 64
"""Characters of a collection name that are logged: a caller may send anything."""

_CALLERS_MISTAKES = (InvalidArgument, NotFound, AlreadyExists, Unsupported)

_OK: Final = grpc.StatusCode.OK.name
_CANCELLED: Final = grpc.StatusCode.CANCELLED.name
_NO_FACTS: Final[Mapping[str, str]] = {}

_level = logging.getLogger(__name__)
_log = structlog.stdlib.get_logger(__name__)
_rate = LogRate()


def uncounted(*_: object) -> None:
    """Nobody counts."""


class CallLog:
    """What is known of a call while it runs, and the line that it ends in.

    `request` and `response` are set as soon as they are there. `ended` counts the call.
    """

    __slots__ = ("_ended", "_method", "_started", "request", "response")

    def __init__(self, method: str, ended: Ended = uncounted) -> None:
        self._method = method
        self._ended = ended
        self._started = time.perf_counter()
        self.request: Message | None = None
        self.response: Message | None = None

    def served(self) -> None:
        """The call ended well."""
        self._ended(self.request, self.response, _OK, time.perf_counter() - self._started, _NO_FACTS)
        if _level.isEnabledFor(logging.DEBUG):
            _log.debug("call", **self._facts(), code=_OK)

    def cancelled(self) -> None:
        """The caller has gone, or the router stops."""
        self._ended(self.request, self.response, _CANCELLED, time.perf_counter() - self._started, _NO_FACTS)
        if _level.isEnabledFor(logging.DEBUG):
            _log.debug("call", **self._facts(), code=_CANCELLED)

    def failed(self, told: PodrouteError, error: BaseException) -> None:
        """The call ended in an error: `told` to the caller, `error` as it was raised."""
        code = code_of(told)
        self._ended(self.request, self.response, code.name, time.perf_counter() - self._started, told.facts)
        not_shown = 0 if _level.isEnabledFor(logging.DEBUG) else _rate.not_shown(told.reason)
        if not_shown is None:
            return
        level = logging.INFO if isinstance(told, _CALLERS_MISTAKES) else logging.WARNING
        trace: dict[str, Any] = {"not_shown": not_shown} if not_shown else {}
        if code is grpc.StatusCode.INTERNAL:
            level, trace = logging.ERROR, {**trace, "exc_info": error}
        _log.log(
            level,
            "call failed",
            **self._facts(),
            code=code.name,
            reason=told.reason,
            facts=told.facts,
            error=str(error),
            cause=_causes(error),
            **trace,
        )

    def _facts(self) -> dict[str, object]:
        facts: dict[str, object] = {"method": self._method}
        name = getattr(self.request, "collection", None) or getattr(self.request, "name", None)
        if isinstance(name, str):
            facts["collection"] = name[:MAX_NAME]
        route = getattr(self.response, "route", None)
        if route is not None:
            facts["path"] = route_pb2.AccessPath.Name(route.path).removeprefix("ACCESS_PATH_")
            facts["pods"] = list(route.pods)
        facts["ms"] = round((time.perf_counter() - self._started) * 1000, 2)
        return facts


def _causes(error: BaseException) -> str | None:
    """The chain of exceptions that led to the error, nearest first; None where there is none."""
    causes = []
    cause = _cause(error)
    while cause is not None:
        causes.append(f"{type(cause).__name__}: {cause}")
        cause = _cause(cause)
    return "; ".join(causes) or None


def _cause(error: BaseException) -> BaseException | None:
    return error.__cause__ or (None if error.__suppress_context__ else error.__context__)
