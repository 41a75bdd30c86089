"""What happens around every call: parse, deadline, run, translate the error, log, serialize."""

from __future__ import annotations

import logging
import time
from asyncio import CancelledError
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing, contextmanager
from typing import Any, Never

import grpc
import structlog
from google.protobuf.message import DecodeError, Message

from podroute_router.api.status import DETAILS_KEY, code_of, internal_error, to_status
from podroute_router.domain import Deadline
from podroute_router.errors import (
    Internal,
    InvalidArgument,
    PodrouteError,
    ResourceExhausted,
    Unavailable,
)

MAX_DEADLINE_S = 7 * 24 * 3600.0
"""A caller's deadline counts up to a week: later ones do not fit into PostgreSQL's timeouts."""

Context = grpc.aio.ServicerContext[bytes, bytes]
Unary = Callable[[Any, Deadline], Awaitable[Message]]
"""A servicer's method: request and deadline to response."""
Streaming = Callable[[Any, Deadline], AsyncIterator[Message]]

_log = structlog.get_logger(__name__)


class Method:
    """One method of a service, as a handler of bytes.

    Args:
        name: `Service/Method`, for the log.
        request_class: parses the request. grpc would answer undecodable bytes with UNKNOWN, so that it is done here.
        max_message_bytes: bound on the request and on each response.
        default_deadline_s: where the caller sets none.
    """

    def __init__(
        self, name: str, request_class: type[Message], *, max_message_bytes: int, default_deadline_s: float
    ) -> None:
        self._name = name
        self._request_class = request_class
        self._max_message_bytes = max_message_bytes
        self._default_deadline_s = default_deadline_s

    def unary(self, run: Unary) -> grpc.RpcMethodHandler[bytes, bytes]:
        """The handler of a method with one response."""

        async def handle(payload: bytes, context: Context) -> bytes:
            call = _Call(self._name)
            try:
                request = call.request = self._parse(payload)
                response = call.response = await run(request, self._deadline(context))
                answer = self._serialize(response)
            except CancelledError:
                call.cancelled()
                raise
            except Exception as error:  # noqa: BLE001
                await _abort(context, call.failed(error))
            call.done()
            return answer

        return grpc.unary_unary_rpc_method_handler(handle)

    def streaming(self, run: Streaming) -> grpc.RpcMethodHandler[bytes, bytes]:
        """The handler of a method with a stream of responses."""

        async def handle(payload: bytes, context: Context) -> AsyncIterator[bytes]:
            call = _Call(self._name)
            try:
                request = call.request = self._parse(payload)
                async with aclosing(run(request, self._deadline(context))) as responses:
                    async for response in responses:
                        call.response = response
                        yield self._serialize(response)
            except CancelledError:
                call.cancelled()
                raise
            except Exception as error:  # noqa: BLE001
                await _abort(context, call.failed(error))
            call.done()

        return grpc.unary_stream_rpc_method_handler(handle)
