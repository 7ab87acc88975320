"""gunicorn's worker of web, which takes streams from it.

gunicorn gives a connection a greenlet until its response ends. A stream spends nearly all of that
time waiting, and 20 KiB of greenlet for each waiting reader is most of what it would cost. So the
worker takes a stream's socket from gunicorn as soon as the headers are known, and hands it to a
StreamConnection. gunicorn then believes that the connection is done.

gunicorn hands every result of the app to `is_already_handled`. There a stream is recognised by its
class: WSGI has no other way to say "this response is not for you to iterate".
"""

import time
from collections.abc import Callable
from datetime import timedelta
from functools import partial
from typing import Any, Final, NamedTuple

import gevent
from gunicorn.workers.ggevent import GeventWorker
from gunicorn.workers.workertmp import WorkerTmp

from shared import awake
from web.following.connection import StreamConnection, poller
from web.following.streaming import Stream

#: Seconds between two polls of the workers by their master after which it stood still.
MASTER_PAUSE: Final = 3.0


#: No other request follows a stream, which is said by `Connection: close`. But after that Node's
#: `fetch` takes any end of the connection for the end of the body, and a torn body for a whole one.
#: It is given this instead: it uses the connection no more, and sees a torn body. Others might use
#: the connection again in the moment before they see that it is closed.
_LAST_REQUEST: Final = "Keep-Alive: timeout=1\r\n"


def _is_fetch_of_node(environ: dict[str, Any]) -> bool:
    """Browsers send both of these headers, and Node only one."""
    return "HTTP_SEC_FETCH_MODE" in environ and "HTTP_SEC_FETCH_SITE" not in environ


class _StreamResponse(NamedTuple):
    """A stream that the app has opened, and what gunicorn knows of its request."""

    stream: Stream
    environ: dict[str, Any]
    response: Any


class _LoggedResponse(NamedTuple):
    """What the access log reads of a response."""

    status: str
    sent: int
    headers: tuple[()] = ()


#: What the access log reads of a request. All of it would be most of what a reader costs.
_LOGGED: Final[tuple[str, ...]] = (
    "REMOTE_ADDR", "REQUEST_METHOD", "RAW_URI", "SERVER_PROTOCOL", "PATH_INFO", "QUERY_STRING",
)  # fmt: skip


def _keeping_streams(app: Callable[..., Any]) -> Callable[..., Any]:
    """The app; a stream that it returns is kept together with its request and its headers."""

    def call(environ: dict[str, Any], start_response: Any) -> Any:
        found = app(environ, start_response)
        if isinstance(found, Stream):
            return _StreamResponse(found, environ, start_response.__self__)
        return found

    return call


class _AliveFile(WorkerTmp):  # type: ignore[misc]
    """Where a worker shows that it lives.

    Its master reads it once a second and ends a worker that was silent for too long. Time in which
    the master itself stood still does not count.
    """

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        self._clock = awake.Clock(pause=MASTER_PAUSE)

    def last_update(self) -> float:
        """When the worker last showed it, in monotonic seconds, plus the time that we slept."""
        seen: float = super().last_update()
        return self._clock.tick() - self._clock.since(seen)


class StreamWorker(GeventWorker):  # type: ignore[misc]
    """gunicorn's gevent worker, which takes streams from it."""

    wsgi: Any
    tmp: Any

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.tmp.close()
        self.tmp = _AliveFile(self.cfg)

    def load_wsgi(self) -> None:
        """Load the app."""
        super().load_wsgi()
        self.wsgi = _keeping_streams(self.wsgi)

    def is_already_handled(self, found: object) -> bool:
        """Take a stream from gunicorn; false for a response that gunicorn is to write itself."""
        if not isinstance(found, _StreamResponse):
            return bool(super().is_already_handled(found))
        stream, environ, response = found
        try:
            says_close = not (response.chunked and _is_fetch_of_node(environ))
            if says_close:
                response.force_close()
            lines = [*response.default_headers(), *(f"{k}: {v}\r\n" for k, v in response.headers)]
            if not says_close:
                lines.append(_LAST_REQUEST)
            head = "".join([*lines, "\r\n"]).encode("latin-1")
            request = tuple(map(environ.__getitem__, _LOGGED))  # a fourth of a dict
            on_close = partial(self._log, response.status, request, time.monotonic())
            taken = environ["gunicorn.socket"]
            connection = StreamConnection(
                stream, taken, head, chunked=response.chunked, on_close=on_close
            )
        except BaseException:
            stream.close()
            raise
        connection.resume()
        raise StopIteration  # as gunicorn wants it: nothing more is read from this connection

    def _log(self, status: str, request: tuple[str, ...], begun: float, sent: int) -> None:
        took = timedelta(seconds=time.monotonic() - begun)
        environ = dict(zip(_LOGGED, request, strict=True))
        self.log.access(_LoggedResponse(status, sent), (), environ, took)

    def run(self) -> None:
        """Serve until the process is to stop, and then until every stream was cut."""
        super().run()
        deadline = time.monotonic() + self.cfg.graceful_timeout
        while poller.open and time.monotonic() < deadline:
            self.notify()
            gevent.sleep(0.05)
