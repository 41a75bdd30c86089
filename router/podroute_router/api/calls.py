"""What happens around every call: parse, deadline, run, serialize, and the error's way to the caller and the log."""

from __future__ import annotations

from asyncio import CancelledError
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import aclosing
from typing import Any

import grpc
from google.protobuf.message import DecodeError, EncodeError, Message

from podroute_router.api.admission import Admission
from podroute_router.api.call_log import CallLog
from podroute_router.api.draining import CallsInFlight
from podroute_router.api.held_bytes import LARGE_BYTES, HeldBytes, end_where_untaken
from podroute_router.api.status import DETAILS_KEY, code_of, internal_error, to_status
from podroute_router.domain import Deadline
from podroute_router.errors import InvalidArgument, PodrouteError, ResourceExhausted, deadline_passed
from podroute_router.metrics.calls import Ended

MAX_DEADLINE_S = 7 * 24 * 3600.0
"""A caller's deadline counts up to a week: PostgreSQL's timeouts end at 24 days."""

LATE_S = 0.05
"""A call that is ended so shortly before its deadline here is at its caller's: the request was under way that long."""

Context = grpc.aio.ServicerContext[bytes, bytes]
Unary = Callable[[Any, Deadline], Awaitable[Message]]
"""A servicer's method: request and deadline to response."""
Streaming = Callable[[Any, Deadline], AsyncGenerator[Message, None]]
"""A servicer's method: request and deadline to a stream of responses."""
Duplex = Callable[[Callable[[], Coroutine[Any, Any, Any]], Deadline], AsyncGenerator[Message, None]]
"""A servicer's method: what takes the next request (None: there are no more) and the deadline of all of them to a
stream of responses."""


class Method:
    """One method of a service, as a handler of bytes.

    Args:
        name: `Service/Method`, for the log.
        request_class: parses the request. grpc would answer undecodable bytes with UNKNOWN, so that it is done here.
        max_message_bytes: bound on each request and on each response.
        default_deadline_s: where the caller sets none.
        calls: counts the calls in flight.
        admission: says when a call may begin.
        held: what requests and answers hold; of a stream, what streams do.
        holds_bytes: what each stream keeps while it is open.
        is_owed: the answer tells what was done, and is sent whatever others hold.
        ended: counts the calls that ended.
    """

    def __init__(
        self,
        name: str,
        request_class: type[Message],
        *,
        max_message_bytes: int,
        default_deadline_s: float,
        calls: CallsInFlight,
        admission: Admission,
        held: HeldBytes,
        holds_bytes: int = 0,
        is_owed: bool = False,
        ended: Ended,
    ) -> None:
        self._name = name
        self._request_class = request_class
        self._max_message_bytes = max_message_bytes
        self._default_deadline_s = default_deadline_s
        self._calls = calls
        self._admission = admission
        self._held = held
        self._holds_bytes = holds_bytes
        self._is_owed = is_owed
        self._ended = ended

    def unary(self, run: Unary) -> grpc.RpcMethodHandler[bytes, bytes]:
        """The handler of a method with one response."""

        async def handle(payload: bytes, context: Context) -> bytes:
            log = CallLog(self._name, self._ended)
            self._calls.add(context)
            deadline = self._deadline(context)
            try:
                if self._admission.is_metered:
                    await self._admission.turn()
                if len(payload) >= LARGE_BYTES:
                    self._held.of(context).add(len(payload))
                request = log.request = self._parse(payload)
                response = log.response = await run(request, deadline)
                answer = self._kept(self._serialize(response), context)
            except CancelledError as error:
                _tell_cancelled(log, deadline, error)
                raise
            except Exception as error:  # noqa: BLE001
                await _abort(context, error, log)
                return b""
            log.served()
            return answer

        return grpc.unary_unary_rpc_method_handler(handle)

    def streaming(self, run: Streaming) -> grpc.RpcMethodHandler[bytes, bytes]:
        """The handler of a method with a stream of responses. A caller that goes away closes the generator."""

        async def handle(payload: bytes, context: Context) -> AsyncGenerator[bytes, None]:
            log = CallLog(self._name, self._ended)
            self._calls.add(context)
            deadline = self._deadline(context)
            try:
                self._held.of(context).add(self._holds_bytes)
                request = log.request = self._parse(payload)
                async with aclosing(run(request, deadline)) as responses:
                    async for response in responses:
                        log.response = response
                        yield self._serialize(response)
            except (
                CancelledError,
                GeneratorExit,
            ) as error:  # the latter while its caller takes nothing
                _tell_cancelled(log, deadline, error)
                raise
            except Exception as error:  # noqa: BLE001
                await _abort(context, error, log)
            else:
                log.served()

        return grpc.unary_stream_rpc_method_handler(handle)

    def duplex(self, run: Duplex) -> grpc.RpcMethodHandler[bytes, bytes]:
        """The handler of a method with a stream of requests and one of responses.

        A request is taken off the wire when `run` asks for it: until then gRPC's flow control holds the caller back.
        Nothing here keeps what was taken.
        """

        async def handle(payloads: AsyncIterator[bytes], context: Context) -> AsyncGenerator[bytes, None]:
            log = CallLog(self._name, self._ended)
            self._calls.add(context)
            deadline = self._deadline(context)
            holding = self._held.of(context)
            unanswered: deque[int] = deque()

            async def take() -> Message | None:
                payload = await anext(payloads, None)
                if payload is None:
                    return None
                holding.add(len(payload))
                unanswered.append(len(payload))
                request = self._parse(payload)
                if name := getattr(request, "collection", ""):  # all that the log says of it
                    log.request = self._request_class(collection=name)
                return request

            try:
                holding.add(self._holds_bytes)
                async with aclosing(run(take, deadline)) as responses:
                    async for response in responses:
                        log.response = response
                        yield self._serialize(response)
                        holding.free(unanswered.popleft())
            except (CancelledError, GeneratorExit) as error:
                _tell_cancelled(log, deadline, error)
                raise
            except Exception as error:  # noqa: BLE001
                await _abort(context, error, log)
            else:
                log.served()

        return grpc.stream_stream_rpc_method_handler(handle)

    def _parse(self, payload: bytes) -> Message:
        if len(payload) > self._max_message_bytes:
            raise ResourceExhausted(
                "MESSAGE_TOO_LARGE",
                f"the request has {len(payload)} bytes, at most {self._max_message_bytes} are taken; "
                "send fewer records in a call",
                facts={"size_bytes": len(payload), "limit_bytes": self._max_message_bytes},
            )
        try:
            return self._request_class.FromString(payload)
        except DecodeError as error:
            name = self._request_class.DESCRIPTOR.full_name
            raise InvalidArgument("UNDECODABLE", "request", f"the bytes are no {name}") from error

    def _deadline(self, context: Context) -> Deadline:
        remaining: float | None = context.time_remaining()
        return Deadline.after(self._default_deadline_s if remaining is None else min(remaining, MAX_DEADLINE_S))

    def _serialize(self, response: Message) -> bytes:
        try:
            answer = response.SerializeToString()
        except EncodeError as error:  # beyond protobuf's own 2 GiB
            raise self._response_too_large("2 GiB or more") from error
        if len(answer) > self._max_message_bytes:
            raise self._response_too_large(f"{len(answer)} bytes")
        return answer

    def _kept(self, answer: bytes, context: Context) -> bytes:
        """The answer, which gRPC keeps until the caller takes it."""
        if len(answer) >= LARGE_BYTES:
            self._held.of(context).add(len(answer), is_owed=self._is_owed)
            end_where_untaken(context)
        return answer

    def _response_too_large(self, size: str) -> ResourceExhausted:
        return ResourceExhausted(
            "RESPONSE_TOO_LARGE",
            f"the response has {size}, at most {self._max_message_bytes} bytes are sent; lower `limit` "
            "or the number of `ids`, or leave out `include_vector` or `include_metadata`",
            facts={"size": size, "limit_bytes": self._max_message_bytes},
        )


def _tell_cancelled(log: CallLog, deadline: Deadline, error: CancelledError | GeneratorExit) -> None:
    """At the caller's deadline gRPC may end the call before the router's own timer does: that is no caller gone."""
    if deadline.remaining_s() > LATE_S:
        log.cancelled()
    else:
        log.failed(deadline_passed(), error)


async def _abort(context: Context, error: Exception, log: CallLog) -> None:
    """Ends the call with the error's status. An exception that nobody foresaw keeps its text to the log.

    What a handler answers after that is of no interest: gRPC raises its AbortError again. It keeps that in the call's
    state, which is garbage in a cycle. So the exception must not hold the frames and errors of the call: where calls
    fail by the thousand, as those of a frozen pod do, the collector would halt all others for 30 ms and more.
    """
    told = error if isinstance(error, PodrouteError) else internal_error()
    log.failed(told, error)
    status = to_status(told)
    try:
        await context.abort(code_of(told), status.message, ((DETAILS_KEY, status.SerializeToString()),))
    except grpc.aio.AbortError as aborted:
        aborted.__context__ = aborted.__traceback__ = None
