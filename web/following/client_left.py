"""Whether a client has closed its connection, as the kernel knows."""

import socket
import sys
from typing import Final

#: States of a connection that its client has closed: CLOSE and CLOSE_WAIT (<netinet/tcp.h>). HTTP
#: knows no client that closes its half and reads on.
LEFT: Final = frozenset((7, 8))


def has_left(client: socket.socket) -> bool:
    """Whether the client has closed it; False where that cannot be known."""
    if sys.platform != "linux":
        return False
    try:
        return client.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0] in LEFT
    except OSError:  # not TCP
        return False
