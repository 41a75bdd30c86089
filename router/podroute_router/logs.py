"""Structured logs: structlog and the standard library's loggers (psycopg, grpc) in one stream on stderr.

Secrets never reach it: what looks like a password in any text, a traceback included, is struck out, and tracebacks
show no local variables.
"""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import Mapping, MutableMapping
from typing import Any, Literal, TextIO

import structlog
from structlog.typing import Processor

_PASSWORD = re.compile(r"(password\s*=\s*)('(?:[^'\\]|\\.)*'|[^\s'\"&]+)", re.IGNORECASE)
_PASSWORD_IN_URL = re.compile(r"(postgres(?:ql)?://[^\s:/@]*:)[^\s/@]*@", re.IGNORECASE)
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")

_NOISY = ("asyncio", "grpc")
"""Libraries whose debug lines would drown ours."""


def configure_logs(
    level: Literal["debug", "info", "warning", "error"],
    format: Literal["auto", "json", "console"],
    stream: TextIO | None = None,
    *,
    facts: Mapping[str, object] | None = None,
) -> None:
    """Sends every log line of the process to the stream.

    Args:
        level: least severe lines that are written; debug has one line a call.
        format: auto is console on a terminal, JSON elsewhere.
        stream: stderr unless given.
        facts: stand in every line, as the number of a worker does.
    """
    out = sys.stderr if stream is None else stream
    is_console = format == "console" or (format == "auto" and out.isatty())
    shared: list[Processor] = [
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        lambda _logger, _name, event: {**event, **(facts or {})},
    ]
    renderer: Processor = (
        structlog.dev.ConsoleRenderer(colors=out.isatty(), exception_formatter=structlog.dev.plain_traceback)
        if is_console
        else structlog.processors.JSONRenderer(ensure_ascii=False)
    )
    handler = logging.StreamHandler(out)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[*shared, structlog.stdlib.ExtraAdder()],
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.format_exc_info,
                strike_out_secrets,
                renderer,
            ],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    for name in _NOISY:
        logging.getLogger(name).setLevel(max(logging.INFO, root.level))
    logging.getLogger("grpc").addFilter(_is_worth_telling)
    # It warns of each connection that was left in mid-call; the call's own line says what there is to say.
    logging.getLogger("psycopg").setLevel(logging.ERROR)
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *shared,
            structlog.stdlib.PositionalArgumentsFormatter(),
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        wrapper_class=structlog.stdlib.BoundLogger,
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=False,
    )


def _is_worth_telling(record: logging.LogRecord) -> bool:
    """False for gRPC's traceback of an answer that nobody waits for any more."""
    return not (record.exc_info and record.exc_info[1] and type(record.exc_info[1]).__name__ == "ExecuteBatchError")


def strike_out_secrets(_logger: Any, _name: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """A structlog processor: replaces passwords in texts by ***, and control characters by their escapes."""
    return {key: _clean(value) if isinstance(value, str) else value for key, value in event.items()}


def _clean(text: str) -> str:
    text = _PASSWORD_IN_URL.sub(r"\1***@", _PASSWORD.sub(r"\1***", text))
    return _CONTROL.sub(lambda match: match[0].encode("unicode_escape").decode(), text)
