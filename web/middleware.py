"""WSGI middleware around the app: bodies that must make progress, and headers on every response."""

import time
from collections.abc import Callable, Iterable
from typing import Any, Final

import gevent
from gunicorn.http.errors import ParseException
from werkzeug.exceptions import BadRequest, RequestTimeout

#: Bytes of a body that must come within CHUNK_SECONDS: a link of 1.1 kB/s is fast enough.
CHUNK_BYTES: Final = 16_384
CHUNK_SECONDS: Final = 15.0
#: Seconds for a whole body, however large.
BODY_SECONDS: Final = 600.0

#: On every response that does not say otherwise. The policy lets a document do nothing at all;
#: those of the pages (web/views.py) allow what their scripts need.
HEADERS: Final = {
    "X-Content-Type-Options": "nosniff",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "Content-Security-Policy": (
        "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "Cache-Control": "no-store",
}

Environ = dict[str, Any]
WsgiApp = Callable[[Environ, Any], Iterable[bytes]]


class TimedBody:
    """A request's body as `wsgi.input`.

    Reading raises RequestTimeout when the body makes no progress, and BadRequest when its chunks
    are malformed.
    """

    def __init__(self, body: Any) -> None:
        self._body = body
        self._deadline = time.monotonic() + BODY_SECONDS

    def read(self, size: int = -1) -> bytes:
        """At most `size` bytes and at most CHUNK_BYTES; everything for -1; empty at the end."""
        if size >= 0:
            return self._read_chunk(min(size, CHUNK_BYTES))
        return b"".join(iter(lambda: self._read_chunk(CHUNK_BYTES), b""))

    def _read_chunk(self, size: int) -> bytes:
        seconds = min(CHUNK_SECONDS, self._deadline - time.monotonic())
        with gevent.Timeout(max(0.0, seconds), RequestTimeout()):
            try:
                return bytes(self._body.read(size))
            except ParseException:
                raise BadRequest from None


def with_timed_bodies(app: WsgiApp) -> WsgiApp:
    """The app, whose requests' bodies must make progress."""

    def answer(environ: Environ, start_response: Any) -> Iterable[bytes]:
        environ["wsgi.input"] = TimedBody(environ["wsgi.input"])
        return app(environ, start_response)

    return answer


def with_headers(app: WsgiApp) -> WsgiApp:
    """The app, with HEADERS on every response. (In Flask this would take ten times as long.)"""

    def answer(environ: Environ, start_response: Any) -> Iterable[bytes]:
        def start(status: str, headers: list[tuple[str, str]], *more: Any) -> Any:
            present = {name for name, _ in headers}
            added = [header for header in HEADERS.items() if header[0] not in present]
            return start_response(status, headers + added, *more)

        return app(environ, start)

    return answer
