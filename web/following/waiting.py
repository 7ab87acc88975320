"""Waits in a request's own greenlet until what it follows has come so far.

For responses that cannot begin before that: one that is no stream, or whose status depends on how
the answer begins. The stream that the request has opened says when it is not to be waited for any
more (its process drains, its time is up, its user was evicted), and counts among the streams of its
user meanwhile.
"""

import socket
import time
from collections.abc import Callable
from typing import Final

from gevent.event import Event

from web.following.client_left import has_left
from web.following.streaming import Stream

#: Seconds after which the reasons to stop are checked though nothing changed; where an answer is
#: to be stopped when its readers have left.
POLL: Final = 5.0
POLL_CLIENT: Final = 0.5


def wait(
    stream: Stream,
    ready: Callable[[], bool],
    seconds: float,
    client: "socket.socket | None" = None,
) -> bool:
    """Whether `ready` became true, after `seconds` at most, before the stream is to be cut.

    `ready` may depend on the stream's source only. `client`: the request's socket. A client that
    has closed it is not waited for: it would go on to count among the streams of its user.
    """
    deadline = time.monotonic() + seconds
    poll = POLL if stream.source.on_disconnect is None else POLL_CLIENT
    woken = Event()
    stream.on_evict = woken.set
    try:
        while not ready():
            left = deadline - time.monotonic()
            if client and has_left(client):
                stream.left = True
                return False
            if left <= 0 or stream.is_due_to_be_cut:
                return False
            woken.clear()
            # Nothing is lost: no other greenlet runs between `ready` and this.
            stream.source.changed.listen(_setting(woken), min(left, poll))
            woken.wait()
        return True
    finally:
        stream.on_evict = None


def _setting(woken: Event) -> Callable[[bool], object]:
    """A function of its own for each wait, as a Notifier wants it."""
    return lambda _: woken.set()
