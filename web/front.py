"""Where requests come in: gunicorn's worker and log, and what they refuse.

- What cannot be read as a request is answered with a problem document, not with HTML.
- A body has to make progress (`TimedBody`); gunicorn itself gives a request's head, and an idle
  connection, `keepalive` seconds in all.
- What a client sent stands in the logs escaped, in one line.
- Every response says what browsers may do with it.
"""

import time
from collections.abc import Callable, Iterable
from http import HTTPStatus
from typing import Any, Final

import gevent
from gunicorn import glogging, util
from gunicorn.http import errors as refusals
from werkzeug.exceptions import BadRequest, RequestTimeout

from shared import logs
from web import errors
from web.following import serving

#: Bytes of a body that have to come within PIECE_SECONDS: a link of 1.1 kB/s is fast enough.
PIECE: Final = 16_384
PIECE_SECONDS: Final = 15.0
#: Seconds for a whole body, however large.
BODY_SECONDS: Final = 600.0

#: On every response. Pages say more (web/page/views.py).
HEADERS: Final = {
    "X-Content-Type-Options": "nosniff",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "Content-Security-Policy": "frame-ancestors 'none'",
}

_STATUS: Final[dict[type[Exception], int]] = {
    refusals.LimitRequestHeaders: 431,
    refusals.ExpectationFailed: 417,
    refusals.UnsupportedTransferCoding: 501,
    refusals.ParseException: 400,
    # What the app wanted to send.
    refusals.InvalidResponseHeader: 500,
    refusals.InvalidResponseHeaderName: 500,
}

Environ = dict[str, Any]
App = Callable[[Environ, Any], Iterable[bytes]]


class TimedBody:
    """A request's body. Reading raises RequestTimeout when it does not get on, BadRequest when its
    chunks are none."""

    def __init__(self, body: Any) -> None:
        self._body = body
        self._deadline = time.monotonic() + BODY_SECONDS

    def read(self, size: int = -1) -> bytes:
        """At most `size` bytes and at most PIECE, all of it for -1; empty at the end."""
        if size >= 0:
            return self._piece(min(size, PIECE))
        return b"".join(iter(lambda: self._piece(PIECE), b""))

    def _piece(self, size: int) -> bytes:
        seconds = min(PIECE_SECONDS, self._deadline - time.monotonic())
        with gevent.Timeout(max(0.0, seconds), RequestTimeout()):
            try:
                return bytes(self._body.read(size))
            except refusals.ParseException:
                raise BadRequest from None


def timed(app: App) -> App:
    """The app, whose requests have bodies that make progress."""

    def with_timed_body(environ: Environ, start_response: Any) -> Iterable[bytes]:
        environ["wsgi.input"] = TimedBody(environ["wsgi.input"])
        return app(environ, start_response)

    return with_timed_body


def with_headers(app: App) -> App:
    """The app, with HEADERS on all that it answers. (Flask would take ten times as long.)"""

    def answering(environ: Environ, start_response: Any) -> Iterable[bytes]:
        def start(status: str, headers: list[tuple[str, str]], *more: Any) -> Any:
            named = {name for name, _ in headers}
            ours = [header for header in HEADERS.items() if header[0] not in named]
            return start_response(status, headers + ours, *more)

        return app(environ, start)

    return answering


class Worker(serving.Worker):
    """gunicorn's gevent worker, ours, which also refuses in our words."""

    def handle_error(self, req: Any, client: Any, addr: Any, exc: BaseException) -> None:  # noqa: ARG002
        """Answer what gunicorn could not read, or what went wrong outside of the app."""
        if not isinstance(exc, Exception):  # the process is told to go
            return
        kind = next((kind for kind in type(exc).__mro__ if kind in _STATUS), None)
        status = _STATUS[kind] if kind else 500
        self.log.warning("refused: %s %s", status, type(exc).__name__)
        try:
            util.write_nonblock(client, _answer(status))
        except OSError:  # it has gone
            self.log.debug("nobody to tell")


def _answer(status: int) -> bytes:
    code, detail = errors.CODES.get(status, ("error", HTTPStatus(status).phrase))
    document = errors.problem(status, code, detail)
    body = document.get_data()
    headers = {
        "Content-Type": "application/problem+json",
        "Content-Length": str(len(body)),
        "Connection": "close",
        **HEADERS,
    }
    lines = [f"HTTP/1.1 {status} {HTTPStatus(status).phrase}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode() + body


class Atoms(dict[str, Any]):
    """What a line of the access log is made of, by gunicorn's names; escaped when it is used."""

    def __getitem__(self, name: str) -> Any:
        value = self.get(name.lower() if name.startswith("{") else name, "-")
        return logs.escaped(value) if isinstance(value, str) else value


class Logger(glogging.Logger):  # type: ignore[misc]
    """gunicorn's logs: its own as JSON like all others, and a line for each request."""

    atoms_wrapper_class = Atoms

    def setup(self, cfg: Any) -> None:
        """Called again when the configuration is read again."""
        super().setup(cfg)
        for handler in self.error_log.handlers:
            handler.setFormatter(logs.json_lines())
