"""Structured logs: one JSON line an event, on standard error.

Logged are ids, codes, sizes and durations; never a text, a prompt or a key. Of an exception the
type and the places are logged, not its message: a database quotes the failing row in it. The
libraries that log requests are silenced, and so is Celery about each task: the worker logs more.
"""

import json
import logging
import sys
import traceback
from types import TracebackType
from typing import Any

import structlog

_QUIET = (
    "openai",
    "httpx2",
    "httpcore2",
    "kombu",
    "amqp",
    "urllib3",
    "celery.worker.strategy",
    "celery.app.trace",
)


def configure(level: int = logging.INFO) -> None:
    """Send structlog and the standard library's logging through the same lines."""
    structlog.configure(
        processors=[*_steps(), structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler()
    handler.setFormatter(json_lines())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    for name in _QUIET:
        logging.getLogger(name).setLevel(logging.WARNING)


def json_lines() -> logging.Formatter:
    """Makes one JSON line of each record, whatever characters it holds."""
    return structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=_steps(),
        processors=[
            structlog.stdlib.ProcessorFormatter.remove_processors_meta,
            structlog.processors.JSONRenderer(serializer=_ascii),
        ],
    )


def escaped(text: str) -> str:
    """The text as it may stand between quotes in a line of a log, on a terminal too."""
    if text.isprintable() and not {'"', "\\"} & set(text):
        return text
    return "".join('\\"' if one == '"' else _escape(one) for one in text)


def _escape(one: str) -> str:
    return one if one.isprintable() and one != "\\" else one.encode("unicode_escape").decode()


def _ascii(event: object, **options: Any) -> str:
    return json.dumps(event, **options).replace("\x7f", "\\u007f")  # all that JSON leaves as it is


def _steps() -> list[structlog.typing.Processor]:
    return [
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        _trace,
    ]


def _trace(
    _logger: object, _method: str, event: structlog.typing.EventDict
) -> structlog.typing.EventDict:
    """Replace `exc_info` by where it happened."""
    given = event.pop("exc_info", None)
    if not given:
        return event
    info = given if isinstance(given, tuple) else sys.exc_info()
    kind: type[BaseException] | None = info[0]
    trace: TracebackType | None = info[2]
    event["exception"] = kind.__name__ if kind else None
    event["trace"] = [
        f"{frame.filename}:{frame.lineno} {frame.name}" for frame in traceback.extract_tb(trace)
    ]
    return event
