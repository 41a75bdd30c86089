"""The client's exceptions: what a gRPC error becomes."""

from __future__ import annotations

import pickle

import grpc
import grpc.aio
import podroute
import pytest
from google.protobuf.any_pb2 import Any
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from google.rpc import error_details_pb2 as details
from google.rpc import status_pb2
from podroute.errors import from_rpc_error, from_status

OWN = {
    grpc.StatusCode.INVALID_ARGUMENT: podroute.InvalidArgument,
    grpc.StatusCode.NOT_FOUND: podroute.NotFound,
    grpc.StatusCode.ALREADY_EXISTS: podroute.AlreadyExists,
    grpc.StatusCode.FAILED_PRECONDITION: podroute.FailedPrecondition,
    grpc.StatusCode.UNAUTHENTICATED: podroute.Unauthenticated,
    grpc.StatusCode.PERMISSION_DENIED: podroute.PermissionDenied,
    grpc.StatusCode.RESOURCE_EXHAUSTED: podroute.ResourceExhausted,
    grpc.StatusCode.ABORTED: podroute.Aborted,
    grpc.StatusCode.UNAVAILABLE: podroute.Unavailable,
    grpc.StatusCode.DEADLINE_EXCEEDED: podroute.DeadlineExceeded,
    grpc.StatusCode.CANCELLED: podroute.Cancelled,
    grpc.StatusCode.UNIMPLEMENTED: podroute.Unimplemented,
    grpc.StatusCode.INTERNAL: podroute.Internal,
}


def rich(code: grpc.StatusCode, message: str, *found: Message) -> status_pb2.Status:
    packed = []
    for each in found:
        packed.append(Any())
        packed[-1].Pack(each)
    return status_pb2.Status(code=code.value[0], message=message, details=packed)


def rpc_error(code: grpc.StatusCode, message: str | None, trailers: list[tuple[str, str | bytes]]) -> grpc.RpcError:
    return grpc.aio.AioRpcError(code, grpc.aio.Metadata(), grpc.aio.Metadata(*trailers), message)


@pytest.mark.parametrize("code", [code for code in grpc.StatusCode if code is not grpc.StatusCode.OK])
def test_every_code_has_its_exception(code: grpc.StatusCode) -> None:
    error = from_rpc_error(rpc_error(code, "so it is", []))
    assert type(error) is OWN.get(code, podroute.Error)
    assert (error.code, error.message, error.reason) == (code, "so it is", "")
    assert str(error) == f"so it is [{code.name}]"


def test_the_facts_of_a_status_are_kept() -> None:
    status = rich(
        grpc.StatusCode.INVALID_ARGUMENT,
        "records[3].id: must not be empty",
        details.ErrorInfo(reason="RECORD_ID", domain="podroute", metadata={"field": "records[3].id"}),
        details.BadRequest(
            field_violations=[
                details.BadRequest.FieldViolation(field="records[3].id", description="must not be empty"),
                details.BadRequest.FieldViolation(field="path", description="must be known"),
            ]
        ),
    )
    error = from_status(grpc.StatusCode.INVALID_ARGUMENT, status.message, status)
    assert isinstance(error, podroute.InvalidArgument)
    assert isinstance(error, ValueError)
    assert error.reason == "RECORD_ID"
    assert error.metadata == {"field": "records[3].id"}
    assert error.violations == (
        podroute.FieldViolation("records[3].id", "must not be empty"),
        podroute.FieldViolation("path", "must be known"),
    )
    assert error.retry_after_s is None
    assert str(error) == "records[3].id: must not be empty [RECORD_ID]"


def test_the_time_to_wait_is_in_seconds() -> None:
    code = grpc.StatusCode.RESOURCE_EXHAUSTED
    status = rich(code, "full", details.RetryInfo(retry_delay=Duration(seconds=1, nanos=500_000_000)))
    assert from_status(code, "full", status).retry_after_s == 1.5


def test_the_reason_of_another_domain_is_not_ours() -> None:
    status = rich(grpc.StatusCode.UNAVAILABLE, "no", details.ErrorInfo(reason="X", domain="mesh.example"))
    error = from_status(grpc.StatusCode.UNAVAILABLE, "no", status)
    assert (error.reason, error.metadata) == ("", {})


def test_details_survive_a_proxy_that_rewords_the_message() -> None:
    status = rich(grpc.StatusCode.NOT_FOUND, "as the router said", details.ErrorInfo(reason="R", domain="podroute"))
    sent = rpc_error(grpc.StatusCode.NOT_FOUND, "reworded", [("grpc-status-details-bin", status.SerializeToString())])
    error = from_rpc_error(sent)
    assert (error.message, error.reason) == ("reworded", "R")


def test_details_that_cannot_be_read_do_not_hide_the_error() -> None:
    code = grpc.StatusCode.NOT_FOUND
    assert from_rpc_error(rpc_error(code, None, [("grpc-status-details-bin", b"\xff\xff")])).code is code
    broken = Any(type_url="type.googleapis.com/google.rpc.ErrorInfo", value=b"\xff\xff")
    status = status_pb2.Status(code=5, message="gone", details=[broken])
    assert isinstance(from_status(code, "gone", status), podroute.NotFound)


def test_an_error_survives_pickling() -> None:
    error = podroute.Unavailable("gone", reason="POD_DOWN", metadata={"pod": "docs"}, retry_after_s=2.0)
    copy = pickle.loads(pickle.dumps(error))
    assert type(copy) is podroute.Unavailable
    assert vars(copy) == vars(error)
    assert str(copy) == str(error)


def test_an_error_can_be_made_of_each_exception_alone() -> None:
    assert all(kind("x").code is code for code, kind in OWN.items())
    assert podroute.Error("x").code is grpc.StatusCode.UNKNOWN
