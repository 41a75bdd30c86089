"""Errors as gRPC statuses: google.rpc.Status with ErrorInfo, BadRequest and RetryInfo. docs/errors.md has the table."""

from __future__ import annotations

from typing import Final

import grpc
from google.protobuf.duration_pb2 import Duration
from google.rpc import error_details_pb2, status_pb2  # type: ignore[import-untyped]

from podroute_router import errors

DOMAIN: Final = "podroute"
DETAILS_KEY: Final = "grpc-status-details-bin"
"""The trailing metadata in which google.rpc.Status travels."""
MAX_MESSAGE_BYTES: Final = 1024
MAX_FACT_BYTES: Final = 512
"""Trailing metadata beyond 8 KiB may be dropped on the way: ids of 1 KiB must not make it so long."""

_CODES: Final[dict[type[errors.PodrouteError], grpc.StatusCode]] = {
    errors.InvalidArgument: grpc.StatusCode.INVALID_ARGUMENT,
    errors.NotFound: grpc.StatusCode.NOT_FOUND,
    errors.AlreadyExists: grpc.StatusCode.ALREADY_EXISTS,
    errors.FailedPrecondition: grpc.StatusCode.FAILED_PRECONDITION,
    errors.Unsupported: grpc.StatusCode.UNIMPLEMENTED,
    errors.Aborted: grpc.StatusCode.ABORTED,
    errors.ResourceExhausted: grpc.StatusCode.RESOURCE_EXHAUSTED,
    errors.DeadlineExceeded: grpc.StatusCode.DEADLINE_EXCEEDED,
    errors.Unavailable: grpc.StatusCode.UNAVAILABLE,
    errors.Internal: grpc.StatusCode.INTERNAL,
    errors.PodrouteError: grpc.StatusCode.INTERNAL,
}


def internal_error() -> errors.Internal:
    """What a caller is told of an exception that nobody foresaw: nothing of its text."""
    return errors.Internal("INTERNAL", "a fault of podroute's; the router's log has it")


def code_of(error: errors.PodrouteError) -> grpc.StatusCode:
    """The gRPC code of an error: that of its class, or of the nearest class above it."""
    return next(_CODES[kind] for kind in type(error).__mro__ if kind in _CODES)


def to_status(error: errors.PodrouteError) -> status_pb2.Status:
    """The status that a caller receives. It holds nothing of the error's cause."""
    message = _shorten(error.message, MAX_MESSAGE_BYTES)
    status = status_pb2.Status(code=code_of(error).value[0], message=message)
    facts = {key: _shorten(value, MAX_FACT_BYTES) for key, value in error.facts.items()}
    status.details.add().Pack(error_details_pb2.ErrorInfo(reason=error.reason, domain=DOMAIN, metadata=facts))
    if error.field is not None:
        problem = error.problem if isinstance(error, errors.InvalidArgument) else error.message
        violation = error_details_pb2.BadRequest.FieldViolation(
            field=_shorten(error.field, MAX_FACT_BYTES), description=_shorten(problem, MAX_FACT_BYTES)
        )
        status.details.add().Pack(error_details_pb2.BadRequest(field_violations=[violation]))
    if error.retry_after_s is not None:
        delay = Duration()
        delay.FromNanoseconds(round(error.retry_after_s * 1e9))
        status.details.add().Pack(error_details_pb2.RetryInfo(retry_delay=delay))
    return status


def _shorten(text: str, limit: int) -> str:
    """The text, or the beginning of it that fits into `limit` bytes of UTF-8."""
    if len(text) * 4 <= limit or len(text.encode()) <= limit:
        return text
    return text.encode()[: limit - len("…".encode())].decode(errors="ignore") + "…"
