"""gunicorn's worker of web."""

from typing import Any

import gevent.socket
from gunicorn.workers.base_async import AsyncWorker
from gunicorn.workers.ggevent import GeventWorker


class Socket(gevent.socket.socket):  # type: ignore[misc]
    """A connection on which a token is one system call.

    gevent's asks for the size of the system's buffer before each write, for the sake of large ones.
    """

    __slots__ = ()

    def sendall(self, data: bytes, flags: int = 0) -> None:
        """Send all of it, waiting as long as it takes."""
        sent = self.send(data, flags)  # nearly always all of it
        if sent < len(data):
            super().sendall(memoryview(data)[sent:], flags)


class Worker(GeventWorker):  # type: ignore[misc]
    """gunicorn's gevent worker."""

    def handle(self, listener: Any, client: Any, address: Any) -> None:
        """Serve a connection until it ends."""
        client.__class__ = Socket
        client.setblocking(1)
        # As gevent's own does, and not by it: one more frame is 4 KiB more for each who reads.
        AsyncWorker.handle(self, listener, client, address)
