"""Logs are one stream of lines with a level, a time and facts, and no secrets."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest
import structlog
from podroute.v1 import route_pb2, vector_service_pb2
from podroute_router.api.call_log import CallLog
from podroute_router.errors import Internal, NotFound, Unavailable
from podroute_router.logs import configure_logs


@pytest.fixture(autouse=True)
def _logging_as_before() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.reset_defaults()


def lines(stream: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_lines_of_ours_and_of_libraries_have_one_shape() -> None:
    stream = io.StringIO()
    configure_logs("info", "auto", stream)
    structlog.stdlib.get_logger("podroute_router.x").info("hello", pod="docs")
    logging.getLogger("grpc.aio").warning("lost %s", "it")
    ours, library = lines(stream)
    assert (ours["event"], ours["pod"], ours["level"], ours["logger"]) == ("hello", "docs", "info", "podroute_router.x")
    assert (library["event"], library["level"], library["logger"]) == ("lost it", "warning", "grpc.aio")
    assert ours["timestamp"] <= library["timestamp"]


def test_lines_below_the_level_are_left_out() -> None:
    stream = io.StringIO()
    configure_logs("warning", "json", stream)
    structlog.stdlib.get_logger("a").info("no")
    logging.getLogger("b").info("no")
    structlog.stdlib.get_logger("a").warning("yes")
    assert [line["event"] for line in lines(stream)] == ["yes"]


def test_the_console_format_is_for_people() -> None:
    stream = io.StringIO()
    configure_logs("info", "console", stream)
    structlog.stdlib.get_logger("a").info("hello", pod="docs")
    assert "hello" in stream.getvalue()
    assert "pod=docs" in stream.getvalue()
    assert not stream.getvalue().startswith("{")


@pytest.mark.parametrize("format_", ["json", "console"])
@pytest.mark.parametrize(
    "text",
    [
        "host=h password=hunter2 user=u",
        "password = 'hunter2 x' user=u",
        "postgresql://u:hunter2@h/db",
        "PASSWORD=hunter2",
    ],
)
def test_a_secret_is_struck_out_wherever_it_stands(format_: Any, text: str) -> None:
    stream = io.StringIO()
    configure_logs("info", format_, stream)
    log = structlog.stdlib.get_logger("a")
    log.info(text, dsn=text)
    logging.getLogger("b").info("%s", text)
    try:
        secret = text
        raise ValueError(secret)
    except ValueError as error:
        log.error("failed", cause=str(error), exc_info=error)
        logging.getLogger("b").exception("failed")
    assert "hunter2" not in stream.getvalue()
    assert stream.getvalue().count("***") >= 6


def test_control_characters_do_not_reach_a_terminal() -> None:
    stream = io.StringIO()
    configure_logs("info", "console", stream)
    structlog.stdlib.get_logger("a").info("x\x1b[2Jy", pod="\x1b]0;z\x07")
    assert "\x1b" not in stream.getvalue()


def served() -> CallLog:
    log = CallLog("VectorService/Count")
    log.request = vector_service_pb2.CountRequest(collection="docs")
    log.response = vector_service_pb2.CountResponse(route=route_pb2.Route(path="ACCESS_PATH_FDW", pods=["one"]))
    return log


def test_a_call_is_one_line_at_debug() -> None:
    stream = io.StringIO()
    configure_logs("debug", "json", stream)
    served().served()
    (line,) = lines(stream)
    assert line["ms"] >= 0
    assert {key: line[key] for key in ("method", "collection", "path", "pods", "code", "level")} == {
        "method": "VectorService/Count",
        "collection": "docs",
        "path": "FDW",
        "pods": ["one"],
        "code": "OK",
        "level": "debug",
    }


def test_a_call_that_was_served_is_silent_at_info() -> None:
    stream = io.StringIO()
    configure_logs("info", "json", stream)
    served().served()
    served().cancelled()
    assert lines(stream) == []


def test_an_error_is_logged_with_its_cause_and_its_facts() -> None:
    stream = io.StringIO()
    configure_logs("info", "json", stream)
    error = Unavailable("CONNECTION_LOST", "the connection was lost", facts={"pod": "docs"})
    error.__cause__ = OSError("reset")
    error.__cause__.__cause__ = ValueError("deep")
    CallLog("VectorService/Count").failed(error, error)
    (line,) = lines(stream)
    assert (line["level"], line["code"], line["reason"]) == ("warning", "UNAVAILABLE", "CONNECTION_LOST")
    assert line["cause"] == "OSError: reset; ValueError: deep"
    assert line["facts"] == {"pod": "docs"}


def test_a_callers_mistake_is_no_warning() -> None:
    stream = io.StringIO()
    configure_logs("info", "json", stream)
    error = NotFound("COLLECTION_NOT_FOUND", "there is no collection 'x'")
    CallLog("VectorService/Count").failed(error, error)
    assert lines(stream)[0]["level"] == "info"


def test_what_nobody_foresaw_is_logged_with_its_traceback() -> None:
    stream = io.StringIO()
    configure_logs("error", "json", stream)
    with pytest.raises(ZeroDivisionError) as caught:
        1 / 0  # noqa: B018
    CallLog("VectorService/Count").failed(Internal("INTERNAL", "a fault"), caught.value)
    (line,) = lines(stream)
    assert (line["level"], line["error"]) == ("error", "division by zero")
    assert "Traceback" in line["exception"]
