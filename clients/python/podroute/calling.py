"""What both clients share: their settings, and how an operation becomes a method."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from functools import update_wrapper
from inspect import signature
from typing import Any, TypeVar, get_args, get_type_hints

import grpc

from podroute.calls import Call
from podroute.control_plane import ControlPlane
from podroute.errors import DeadlineExceeded, Internal
from podroute.explaining import Explaining
from podroute.exposing import Exposing
from podroute.scans import Scan
from podroute.service_config import channel_options
from podroute.upserts import Upserts
from podroute.values import Path

DEFAULT_TIMEOUT_S = 10.0
"""Deadline of a call, where neither the client nor the call sets one."""

HEALTH_INTERVAL_S = 0.05
"""Between two looks at the router's health."""

T = TypeVar("T")
F = TypeVar("F", bound=Callable[..., Any])


class Operations(Explaining, ControlPlane, Exposing):
    """All operations, with a client's defaults."""

    __slots__ = ()


class Caller:
    """A client's settings, and its RPCs by name.

    Args:
        address: `host:port` of the router, or any gRPC target, such as `dns:///routers:50051`.
        timeout_s: deadline of a call that sets none, in seconds.
        path: access path of a call that names none.
        credentials: for TLS; default: none.
        options: gRPC channel options, in place of those of `podroute.service_config`.
    """

    def __init__(
        self,
        address: str,
        *,
        timeout_s: float = DEFAULT_TIMEOUT_S,
        path: Path = "auto",
        credentials: grpc.ChannelCredentials | None = None,
        options: Sequence[tuple[str, Any]] = (),
    ) -> None:
        self._address = address
        self._operations = Operations(path, timeout_s)
        self._credentials = credentials
        self._options = channel_options(options)
        self._rpcs: dict[str, Any] = {}
        self._closed = False

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._address!r})"

    def _rpc(self, call: Call[Any, Any] | Upserts | Scan, make: Callable[..., Any]) -> Any:
        path = call.method.path
        if path not in self._rpcs:
            self._rpcs[path] = make(path, type(call.request).SerializeToString, call.method.answer.FromString)
        return self._rpcs[path]

    def _check_open(self) -> None:
        if self._closed:
            raise RuntimeError(f"{self!r} is closed")

    def _not_serving(self, service: str, timeout_s: float) -> DeadlineExceeded:
        return DeadlineExceeded(
            f"{self._address} did not serve within {timeout_s:g} s",
            reason="NOT_SERVING",
            metadata={"address": self._address, "service": service},
        )


def described(method: F, build: Callable[..., Any], result: Callable[[Any], Any]) -> F:
    """Gives a method the name, docstring and parameters of its operation, for help() and inspect.

    Args:
        method: the method.
        build: the operation, which returns a Call[answer, T], or a type with no parameters.
        result: makes the type that the method returns of T.
    """
    hints = get_type_hints(build)
    update_wrapper(method, build)
    shown = signature(build).replace(return_annotation=result((*get_args(hints["return"]), None, None)[1]))
    method.__signature__ = shown  # type: ignore[attr-defined]
    return method


def time_left_s(end: float | None) -> float | None:
    """Seconds until the end; None where there is none."""
    return None if end is None else max(0.0, end - time.monotonic())


def last(found: T | None) -> T:
    """The result that a stream ended with; raises Internal where it ended without one."""
    if found is None:
        raise Internal("the router's answer ended early", reason="STREAM_ENDED")
    return found


def countdown(timeout_s: float) -> Iterator[float]:
    """Seconds left of a timeout, as long as there are any."""
    end = time.monotonic() + timeout_s
    while (left_s := end - time.monotonic()) > 0:
        yield left_s
