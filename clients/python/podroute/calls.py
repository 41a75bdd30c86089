"""A call as a value: what to ask, of which RPC, and how to read the answer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

from google.protobuf.message import Message

from podroute import messages
from podroute.v1 import route_pb2
from podroute.values import Path

A = TypeVar("A", bound=Message)
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Method(Generic[A]):
    """An RPC: its full name and the type of its answer."""

    path: str
    answer: type[A]


@dataclass(frozen=True, slots=True, kw_only=True)
class Call(Generic[A, T]):
    """A call to make; `decode` turns an answer into the result."""

    method: Method[A]
    request: Message
    decode: Callable[[A], T]
    timeout_s: float
    wait_for_ready: bool = False


@dataclass(frozen=True, slots=True)
class Page(Generic[A, T]):
    """Some of many results, and the call for the next page."""

    items: tuple[T, ...]
    next: Call[A, Page[A, T]] | None


@dataclass(frozen=True, slots=True)
class Defaults:
    """What a client fills in where a call says nothing."""

    path: Path
    timeout_s: float

    def _path(self, path: Path | None) -> route_pb2.AccessPath:
        return messages.path_value(self.path if path is None else path)

    def _timeout_s(self, timeout: float | None) -> float:
        return self.timeout_s if timeout is None else timeout
