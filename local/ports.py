"""Choose ports that will still be free when a server starts again."""

import random
import socket
from collections.abc import Iterable

#: Below the range of outgoing connections on Linux and macOS, so that no connection takes the
#: port of a server that restarts.
PORTS = range(20_000, 32_000)


def is_free(port: int, host: str = "127.0.0.1") -> bool:
    """Whether a server could listen there now."""
    try:
        listen(port, host, backlog=1).close()
    except OSError:
        return False
    return True


def choose(*wished: int) -> int:
    """The first wished port that is free, else any free one."""
    return next(port for port in _candidates(wished) if is_free(port))


def _candidates(wished: Iterable[int]) -> Iterable[int]:
    yield from (port for port in wished if port)
    yield from random.sample(PORTS, len(PORTS))


def listen(port: int, host: str, backlog: int) -> socket.socket:
    """Listen; port 0 is any free port."""
    (family, _, _, _, address), *_ = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return socket.create_server(address[:2], family=family, backlog=backlog)
