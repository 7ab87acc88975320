"""A TCP proxy between two programs: it can be cut, blocked and slow, and it counts."""

import ctypes
import socket
import struct
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Self
from urllib.parse import urlsplit

#: From <asm-generic/socket.h>; Python does not know it.
SO_ATTACH_FILTER = 26


def switch_off(end: socket.socket) -> None:
    """Have the kernel drop every packet for a socket, as if its machine were off."""
    drop = struct.pack("HBBI", 0x06, 0, 0, 0)  # BPF_RET | BPF_K, 0 bytes
    program = ctypes.create_string_buffer(drop)
    end.setsockopt(
        socket.SOL_SOCKET, SO_ATTACH_FILTER, struct.pack("HP", 1, ctypes.addressof(program))
    )


class TcpProxy:
    """A proxy to a server; clients use `url` instead of the server's own."""

    def __init__(self, url: str) -> None:
        where = urlsplit(url)
        self._target = (where.hostname, where.port)
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        near = f"127.0.0.1:{self._listener.getsockname()[1]}"
        login, at, _ = where.netloc.rpartition("@")
        self.url = where._replace(netloc=f"{login}{at}{near}").geturl()
        #: seconds by which everything is delayed, each way
        self.delay = 0.0
        #: how often data was sent to the server
        self.sent = 0
        self._open: set[socket.socket] = set()
        self._whole = True
        self._free = threading.Event()
        self._free.set()

    def __enter__(self) -> Self:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *error: object) -> None:
        self.cut()
        self._free.set()
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def cut(self) -> None:
        """Close every connection, and every new one."""
        self._whole = False
        for end in list(self._open):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def lead_to(self, url: str) -> None:
        """Send new connections to another server; open ones stay with the old one."""
        where = urlsplit(url)
        self._target = (where.hostname, where.port)

    def mend(self) -> None:
        """Accept connections again."""
        self._whole = True

    @contextmanager
    def blocked(self) -> Iterator[None]:
        """Hold all data back within the block, without an error; it arrives afterwards."""
        self._free.clear()
        try:
            yield
        finally:
            self._free.set()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                near, _ = self._listener.accept()
                threading.Thread(target=self._join, args=(near,), daemon=True).start()

    def _join(self, near: socket.socket) -> None:
        with near, suppress(OSError):
            if not self._whole:
                return
            with socket.create_connection(self._target) as far:
                ends = {near, far}
                self._open |= ends
                back = threading.Thread(target=self._carry, args=(far, near), daemon=True)
                back.start()
                self._carry(near, far, counts=1)
                back.join()
                self._open -= ends

    def _carry(self, source: socket.socket, sink: socket.socket, counts: int = 0) -> None:
        with suppress(OSError):
            while data := source.recv(65536):
                self.sent += counts
                if self.delay:
                    time.sleep(self.delay)
                self._free.wait()
                sink.sendall(data)
        for end in (source, sink):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
