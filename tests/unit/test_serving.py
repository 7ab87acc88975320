"""The connection that web writes to."""

import socket
import threading

import pytest

from web.serving import Socket


@pytest.mark.parametrize("size", [0, 1, 1 << 16, (1 << 16) + 1, 8 << 20])
def test_everything_is_sent_however_much_the_system_takes_at_once(size: int) -> None:
    mine, theirs = socket.socketpair()
    connection = Socket(mine.family, mine.type, mine.proto, fileno=mine.detach())
    data = bytes(range(256)) * (size // 256) + b"x" * (size % 256)
    received = bytearray()

    def read() -> None:
        while found := theirs.recv(1 << 16):
            received.extend(found)

    reader = threading.Thread(target=read)
    reader.start()
    for _ in range(3):
        connection.sendall(data)
    connection.close()
    reader.join()
    theirs.close()

    assert bytes(received) == 3 * data
