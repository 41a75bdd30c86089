"""Errors become statuses that carry a reason, the facts and the field, and nothing of their cause."""

from __future__ import annotations

import grpc
import pytest
from google.rpc import error_details_pb2, status_pb2
from podroute_router import errors
from podroute_router.api.status import DOMAIN, code_of, internal_error, to_status


def details(status: status_pb2.Status) -> dict[str, object]:
    known = [error_details_pb2.ErrorInfo, error_details_pb2.BadRequest, error_details_pb2.RetryInfo]
    found: dict[str, object] = {}
    for packed in status.details:
        for kind in known:
            if packed.Is(kind.DESCRIPTOR):
                found[kind.__name__] = kind.FromString(packed.value)
    assert len(found) == len(status.details)
    return found


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (errors.InvalidArgument("LIMIT", "limit", "is 0"), grpc.StatusCode.INVALID_ARGUMENT),
        (errors.NotFound("R", "m"), grpc.StatusCode.NOT_FOUND),
        (errors.AlreadyExists("R", "m"), grpc.StatusCode.ALREADY_EXISTS),
        (errors.FailedPrecondition("R", "m"), grpc.StatusCode.FAILED_PRECONDITION),
        (errors.Unsupported("R", "m"), grpc.StatusCode.UNIMPLEMENTED),
        (errors.Aborted("R", "m"), grpc.StatusCode.ABORTED),
        (errors.ResourceExhausted("R", "m"), grpc.StatusCode.RESOURCE_EXHAUSTED),
        (errors.DeadlineExceeded("R", "m"), grpc.StatusCode.DEADLINE_EXCEEDED),
        (errors.Unavailable("R", "m"), grpc.StatusCode.UNAVAILABLE),
        (errors.Unreachable("R", "m"), grpc.StatusCode.UNAVAILABLE),
        (errors.Internal("R", "m"), grpc.StatusCode.INTERNAL),
        (errors.PodrouteError("R", "m"), grpc.StatusCode.INTERNAL),
    ],
)
def test_each_class_of_error_has_a_code(error: errors.PodrouteError, code: grpc.StatusCode) -> None:
    assert code_of(error) is code
    assert to_status(error).code == code.value[0]


def test_every_error_class_has_a_code_of_its_own_or_of_a_class_above_other_than_the_root() -> None:
    def below(kind: type[errors.PodrouteError]) -> list[type[errors.PodrouteError]]:
        return [kind, *(deeper for child in kind.__subclasses__() for deeper in below(child))]

    for kind in below(errors.PodrouteError):
        if kind not in (errors.PodrouteError, errors.Internal):
            error = kind.__new__(kind)
            assert code_of(error) is not grpc.StatusCode.INTERNAL, kind


def test_a_bad_field_is_named() -> None:
    status = to_status(errors.InvalidArgument("LIMIT", "limit", "is 0, must be 1 to 10", limit=10))
    assert status.message == "limit: is 0, must be 1 to 10"
    violation = error_details_pb2.BadRequest.FieldViolation(field="limit", description="is 0, must be 1 to 10")
    assert details(status) == {
        "ErrorInfo": error_details_pb2.ErrorInfo(
            reason="LIMIT", domain=DOMAIN, metadata={"field": "limit", "limit": "10"}
        ),
        "BadRequest": error_details_pb2.BadRequest(field_violations=[violation]),
    }


def test_a_retry_is_hinted_at_where_it_helps() -> None:
    status = to_status(errors.Unavailable("UNREACHABLE", "gone", facts={"pod": "docs"}, retry_after_s=0.1))
    found = details(status)
    assert found["ErrorInfo"] == error_details_pb2.ErrorInfo(
        reason="UNREACHABLE", domain=DOMAIN, metadata={"pod": "docs"}
    )
    assert found["RetryInfo"] == error_details_pb2.RetryInfo(retry_delay={"nanos": 100_000_000})


def test_the_cause_is_not_told() -> None:
    error = errors.Internal("DATABASE_ERROR", "the database reported an error")
    error.__cause__ = ValueError("DETAIL: secret")
    assert b"secret" not in to_status(error).SerializeToString()
    assert "secret" not in internal_error().message


def test_long_facts_are_cut_so_that_the_status_fits_into_metadata() -> None:
    error = errors.NotFound("R", "日" * 2000, facts={"id": "日" * 2000, "other": "x" * 2000})
    status = to_status(error)
    assert len(status.SerializeToString()) * 4 / 3 + len(status.message.encode()) * 3 < 8192
    assert status.message.startswith("日日")
    assert status.message.endswith("…")
