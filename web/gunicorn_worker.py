"""gunicorn's worker and its logs, as web runs them.

- What gunicorn itself refuses is answered with a problem document instead of HTML.
- gunicorn's messages are JSON lines like all other logs. The access log is one line a request: what
  a client sent is escaped in it.

gunicorn gives a request's head, and a connection without one, `keepalive` seconds in all; the body
has its own limits (`web/middleware.py`). Of a body that the app did not read, since it refused the
request, so much is discarded that a client with an honest one can read why. Then the connection
ends: gunicorn itself would discard without end, and without ever letting others run.
"""

import warnings
from http import HTTPStatus
from typing import Any, Final

import gevent
from gevent import monkey
from gunicorn import glogging, util
from gunicorn.http import errors as refusals

from shared import logs
from web import errors
from web import refusals as counting
from web.following import serving
from web.middleware import HEADERS

#: Bytes of a body that are discarded: four times the largest one that is accepted.
DISCARDED: Final = 16 << 20
_PIECE: Final = 65_536

#: The status of what gunicorn raises; that of the nearest class it derives from counts.
_STATUS: Final[dict[type[Exception], int]] = {
    refusals.LimitRequestHeaders: 431,
    refusals.ExpectationFailed: 417,
    refusals.UnsupportedTransferCoding: 501,
    refusals.ParseException: 400,
    # These two are about our own response.
    refusals.InvalidResponseHeader: 500,
    refusals.InvalidResponseHeaderName: 500,
}


class GunicornWorker(serving.StreamWorker):
    """The gevent worker that carries our streams, with our problem documents."""

    def patch(self) -> None:
        """Patch also what its master needs as it is (see `gunicorn_conf`)."""
        with warnings.catch_warnings():
            # It warns that this is done in two steps.
            warnings.simplefilter("ignore", monkey.MonkeyPatchWarning)
            super().patch()

    def handle_request(self, listener_name: Any, req: Any, sock: Any, addr: Any) -> None:
        """Answer a request; StopIteration ends the connection."""
        super().handle_request(listener_name, req, sock, addr)
        discarded = False
        with self.timeout_ctx():  # of a client that sends slowly
            discarded = _discard(req.body)
        if not discarded:
            raise StopIteration

    def handle_error(self, req: Any, client: Any, addr: Any, exc: BaseException) -> None:  # noqa: ARG002
        """Answer a request that gunicorn cannot read, or an error outside of the app."""
        if not isinstance(exc, Exception):  # SystemExit: the process stops
            return
        kind = next((kind for kind in type(exc).__mro__ if kind in _STATUS), None)
        status = _STATUS[kind] if kind else 500
        self.log.warning("refused: %s %s", status, type(exc).__name__)
        try:
            util.write_nonblock(client, _response(status))
        except OSError:
            self.log.debug("client closed the connection before it was refused")


def _discard(body: Any) -> bool:
    """Read what the app has left of a body; whether that was all of it."""
    left = 0 if body.failed else DISCARDED
    try:
        while left > 0 and (data := body.read(_PIECE)):
            left -= len(data)
            gevent.sleep(0)  # reading what has arrived already lets nobody else run
    except refusals.ParseException:
        return False
    return left > 0


def _response(status: int) -> bytes:
    """A whole HTTP response with a problem document, which ends the connection."""
    code, detail = errors.of_status(status)
    counting.count(code)
    body = errors.problem(status, code, detail).get_data()
    headers = {
        "Content-Type": "application/problem+json",
        "Content-Length": str(len(body)),
        "Connection": "close",
        **HEADERS,
    }
    lines = [f"HTTP/1.1 {status} {HTTPStatus(status).phrase}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode() + body


class EscapedAtoms(dict[str, Any]):
    """The values of an access log's line by gunicorn's names for them, each escaped when read."""

    def __getitem__(self, name: str) -> Any:
        value = self.get(name.lower() if name.startswith("{") else name, "-")
        return logs.escaped(value) if isinstance(value, str) else value


class GunicornLogger(glogging.Logger):  # type: ignore[misc]
    """gunicorn's messages as JSON lines, and its access log with values escaped."""

    atoms_wrapper_class = EscapedAtoms

    def setup(self, cfg: Any) -> None:
        """Configure the handlers; gunicorn calls it again when it reads its configuration again."""
        super().setup(cfg)
        for handler in self.error_log.handlers:
            handler.setFormatter(logs.json_lines())
