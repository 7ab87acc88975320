"""A proxy that limits the rate of all connections together, each way.

Kernel buffers are small, so that what one end has sent is nearly what the other has received.
"""

import socket
import threading
import time
from contextlib import suppress
from typing import Final, Self
from urllib.parse import urlsplit

#: Bytes that are copied at a time, and bytes of each of the kernel's buffers.
PIECE: Final = 2048
BUFFER: Final = 8192


class WeakLink:
    """A link to the server at a URL; `url` is its near end."""

    def __init__(self, url: str, rate: float | None = None) -> None:
        where = urlsplit(url)
        self._target = (where.hostname, where.port)
        self._listener = socket.socket()
        self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, BUFFER)
        self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, BUFFER)
        self._listener.bind(("127.0.0.1", 0))
        self._listener.listen(64)
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        #: bytes a second, each way; None: unlimited
        self.rate = rate
        self._turn = {"up": threading.Lock(), "down": threading.Lock()}
        self._open: set[socket.socket] = set()

    def __enter__(self) -> Self:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *error: object) -> None:
        self.rate = None
        for end in (self._listener, *self._open):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                near, _ = self._listener.accept()
                threading.Thread(target=self._join, args=(near,), daemon=True).start()

    def _join(self, near: socket.socket) -> None:
        with near, socket.socket() as far, suppress(OSError):
            far.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, BUFFER)
            far.connect(self._target)
            ends = {near, far}
            self._open |= ends
            back = threading.Thread(target=self._carry, args=(far, near, "down"), daemon=True)
            back.start()
            self._carry(near, far, "up")
            back.join()
            self._open -= ends

    def _carry(self, source: socket.socket, sink: socket.socket, way: str) -> None:
        with suppress(OSError):
            while data := source.recv(PIECE):
                with self._turn[way]:  # one link for all
                    if self.rate is not None:
                        time.sleep(len(data) / self.rate)
                sink.sendall(data)
        for end in (source, sink):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
