"""What a call can raise.

    Error                       carries code, reason, message, metadata, violations, retry_after_s
    ├── InvalidArgument         the request can never work as it is (also a ValueError)
    │   └── FilterError         a filter that has no meaning; raised before anything is sent
    ├── NotFound                the collection, record or pod does not exist
    ├── AlreadyExists           the name is taken
    ├── FailedPrecondition      the request does not fit the state of things
    ├── Unauthenticated         the router does not know the caller
    ├── PermissionDenied        the router knows the caller, who may not do this
    ├── ResourceExhausted       a bound was reached; see retry_after_s
    ├── Aborted                 the call lost against another one
    ├── Unavailable             the router or the pod was not reached, after the retries
    ├── DeadlineExceeded        the time ran out; what the call began may still happen
    ├── Cancelled               the call was cancelled
    ├── Unimplemented           the router, or the chosen access path, cannot do this
    └── Internal                a fault of podroute's

A code that has no class of its own is raised as Error. Arguments that cannot even be sent raise InvalidArgument in the
client, with the same attributes. The gRPC error is the exception's cause.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Self, cast

import grpc
from google.protobuf.message import DecodeError
from google.rpc import error_details_pb2, status_pb2  # type: ignore[import-untyped]

from podroute.v1 import vector_service_pb2

DOMAIN = "podroute"
"""Domain of the ErrorInfo that podroute's own errors carry."""

_DETAILS_KEY = "grpc-status-details-bin"


@dataclass(frozen=True, slots=True)
class FieldViolation:
    """A field of the request at fault: its path, such as ``records[3].id``, and what is wrong with it."""

    field: str
    description: str


class Error(Exception):
    """A call that failed.

    Attributes:
        code: the gRPC status code.
        reason: stable UPPER_SNAKE name of what happened; empty where the error is not podroute's own.
        message: one sentence for a person.
        metadata: what it is about (pod, collection, limit), as strings.
        violations: the fields at fault.
        retry_after_s: seconds after which a retry may help; None where the router does not say.
    """

    code: grpc.StatusCode = grpc.StatusCode.UNKNOWN

    def __init__(
        self,
        message: str = "",
        *,
        reason: str = "",
        metadata: Mapping[str, str] | None = None,
        violations: Iterable[FieldViolation] = (),
        retry_after_s: float | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.reason = reason
        self.metadata = dict(metadata or {})
        self.violations = tuple(violations)
        self.retry_after_s = retry_after_s

    def __str__(self) -> str:
        return f"{self.message} [{self.reason or self.code.name}]"


class InvalidArgument(Error, ValueError):
    """The request can never work as it is."""

    code = grpc.StatusCode.INVALID_ARGUMENT

    @classmethod
    def at(cls, field: str, problem: str, reason: str) -> Self:
        """The error of a single field, worded as the router words it."""
        return cls(
            f"{field}: {problem}",
            reason=reason,
            metadata={"field": field},
            violations=[FieldViolation(field, problem)],
        )


class FilterError(InvalidArgument):
    """A filter that has no meaning."""


class NotFound(Error):
    """The collection, record or pod does not exist."""

    code = grpc.StatusCode.NOT_FOUND


class AlreadyExists(Error):
    """The name is taken."""

    code = grpc.StatusCode.ALREADY_EXISTS


class FailedPrecondition(Error):
    """The request does not fit the state of things."""

    code = grpc.StatusCode.FAILED_PRECONDITION


class Unauthenticated(Error):
    """The router does not know the caller."""

    code = grpc.StatusCode.UNAUTHENTICATED


class PermissionDenied(Error):
    """The caller may not do this."""

    code = grpc.StatusCode.PERMISSION_DENIED


class ResourceExhausted(Error):
    """A bound was reached."""

    code = grpc.StatusCode.RESOURCE_EXHAUSTED


class Aborted(Error):
    """The call lost against another one."""

    code = grpc.StatusCode.ABORTED


class Unavailable(Error):
    """The router or the pod was not reached."""

    code = grpc.StatusCode.UNAVAILABLE


class DeadlineExceeded(Error):
    """The call's time ran out; what it began may still happen."""

    code = grpc.StatusCode.DEADLINE_EXCEEDED


class Cancelled(Error):
    """The call was cancelled."""

    code = grpc.StatusCode.CANCELLED


class Unimplemented(Error):
    """The router, or the chosen access path, cannot do this."""

    code = grpc.StatusCode.UNIMPLEMENTED


class Internal(Error):
    """A fault of podroute's."""

    code = grpc.StatusCode.INTERNAL


_CODES: dict[int, grpc.StatusCode] = {code.value[0]: code for code in grpc.StatusCode}
_BY_CODE: dict[grpc.StatusCode, type[Error]] = {kind.code: kind for kind in Error.__subclasses__()}


def from_rpc_error(error: grpc.RpcError) -> Error:
    """The exception that tells of a failed gRPC call, made by grpc or by grpc.aio."""
    code = error.code()
    failure = from_status(code, error.details() or "", _status(error))
    failure.code = code
    return failure


def from_result_status(status: vector_service_pb2.Status) -> Error:
    """The exception for the status of one result among others; `code` is UNKNOWN where gRPC has no such code."""
    code = _CODES.get(status.code, grpc.StatusCode.UNKNOWN)
    failure = from_status(code, status.message, status)
    failure.code = code
    return failure


def from_status(
    code: grpc.StatusCode, message: str, status: status_pb2.Status | vector_service_pb2.Status | None
) -> Error:
    """The exception for a status code, its message, and the google.rpc.Status that came with it, if any."""
    reason, metadata, retry_after_s = "", {}, None
    violations: list[FieldViolation] = []
    for detail in status.details if status else ():
        info, bad_request, retry = (
            error_details_pb2.ErrorInfo(),
            error_details_pb2.BadRequest(),
            error_details_pb2.RetryInfo(),
        )
        try:
            if detail.Unpack(info) and info.domain == DOMAIN:
                reason, metadata = info.reason, dict(info.metadata)
            elif detail.Unpack(bad_request):
                violations += [FieldViolation(each.field, each.description) for each in bad_request.field_violations]
            elif detail.Unpack(retry):
                retry_after_s = retry.retry_delay.seconds + retry.retry_delay.nanos / 1e9
        except DecodeError:
            continue  # a detail that cannot be read must not hide the error itself
    return _BY_CODE.get(code, Error)(
        message, reason=reason, metadata=metadata, violations=violations, retry_after_s=retry_after_s
    )


def _status(error: grpc.RpcError) -> status_pb2.Status | None:
    # grpc_status.rpc_status.from_call raises where a proxy changed the code or the message: read the details here.
    trailers = cast("Iterable[tuple[str, str | bytes]]", error.trailing_metadata() or ())
    for key, value in trailers:
        if key == _DETAILS_KEY and isinstance(value, bytes):
            try:
                return status_pb2.Status.FromString(value)
            except DecodeError:
                return None
    return None
