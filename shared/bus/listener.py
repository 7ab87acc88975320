"""A Redis subscription that reconnects by itself, for a process that listens as long as it lives.

Guarantees, as long as the process runs:

- Every wanted channel is subscribed to, on one connection. After a reconnect all of them are
  subscribed to again, and `subscribed` is called for each, because messages of the time between
  are lost: pub/sub keeps nothing.
- `received` is called once for each message that Redis sent, in its order, and only for channels
  that are still wanted.
- `lost` is called once for each connection that was made and is gone. From then until `subscribed`
  is called for a channel, its messages are lost.

When Redis fails: a closed connection is noticed at once. A connection that is merely silent (a
frozen server, a cut network) is asked for a sign of life after REDIS_SILENCE and given up after
twice that. Only time in which this process ran counts (see `awake`): a process that was paused has
not been listening, so silence proves nothing. New tries are RECONNECT apart.

Two failures are not noticed here, because Redis answers: a server that a failover left out, to
which nothing is published any more, and a SUBSCRIBE that Redis refuses (an ACL without the
channel).
The latter is never confirmed by `subscribed`. So nothing may depend on a message alone: the hub
polls topics that are silent, and a worker reads a stop request with each save.

When a callback fails: the bug is logged and the connection is made anew. Thereby its caller is
informed as after any loss, and may read whatever the failed callback has missed.

One greenlet listens, and callbacks run in it: they must not wait, or everything after them waits.
Another one checks for silence (a timeout for each read would cost 2.5 us a message). All others
only change which channels are wanted. The first greenlet that has a change sends it, and sends what
others add meanwhile, so that two commands never mix on the wire.
"""

import time
from collections.abc import Callable
from contextlib import suppress
from typing import Final, NamedTuple

import gevent
import structlog

from shared import awake
from shared.bus.connection import RawConnection, pack
from shared.bus.keys import PREFIX, with_prefix, without_prefix
from shared.errors import RedisDown

#: Seconds of silence after which Redis is asked for a sign of life; after twice that it is down.
REDIS_SILENCE: Final = 2.0
#: Seconds between two checks for silence.
CHECK_EVERY: Final = 0.5
#: Seconds between two tries to connect. They need not grow: a process has only one such connection.
RECONNECT: Final = 0.5

log = structlog.get_logger("listener")


class PubSubMessage(NamedTuple):
    """What a subscription receives; `kind` is subscribe, unsubscribe, message or pong."""

    kind: str
    channel: str
    payload: str


class Subscription(RawConnection):
    """One connection that listens to channels.

    One greenlet may call `listen`. Others may call the rest, which only sends, one at a time.
    """

    def __init__(self, url: str, prefix: str = PREFIX) -> None:
        super().__init__(url)
        self._prefix = prefix

    def subscribe(self, *channels: str) -> None:
        """Ask for channels. Redis confirms each with a message of the kind subscribe."""
        self._send_command("SUBSCRIBE", *channels)

    def unsubscribe(self, *channels: str) -> None:
        """Give channels up. Redis confirms each with a message of the kind unsubscribe."""
        self._send_command("UNSUBSCRIBE", *channels)

    def ping(self) -> None:
        """Ask for a sign of life: a message of the kind pong."""
        self._send_command("PING")

    def _send_command(self, verb: str, *channels: str) -> None:
        self._send(pack(verb, *[with_prefix(name, self._prefix) for name in channels]))

    def listen(self, seconds: float | None = None) -> PubSubMessage | None:
        """The next message; None if none came within `seconds` (None: wait as long as it takes).

        Does not wait if one was received before. Raises RedisDown if the connection is broken or
        closed, or if what came is no message.
        """
        if not self._replies and not self._receive_reply(seconds):
            return None
        reply = self._replies.popleft()
        if not isinstance(reply, list):
            # The answer to a PING before any channel, or an error: both show that Redis is there.
            return PubSubMessage("pong", "", "")
        if len(reply) < 2:
            raise RedisDown
        kind, name, *rest = reply
        channel = without_prefix(str(name or ""), self._prefix)
        return PubSubMessage(str(kind), channel, str(rest[0]) if rest else "")

    def _receive_reply(self, seconds: float | None) -> bool:
        """Read until a reply is whole; False if none was in time."""
        deadline = None if seconds is None else time.monotonic() + seconds
        while not self._replies:
            left = None if deadline is None else deadline - time.monotonic()
            if (left is not None and left < 0) or not self._receive(left):
                return False
        return True


class Listener:
    """Wanted channels, and the greenlets that listen to them."""

    def __init__(
        self,
        connect: Callable[[], Subscription],
        *,
        received: Callable[[str, str], object],
        subscribed: Callable[[str], object],
        lost: Callable[[], object],
    ) -> None:
        """`received` gets a channel and a payload, `subscribed` a channel that is confirmed."""
        self._connect = connect
        self._received = received
        self._subscribed = subscribed
        self._lost = lost
        self._wanted: set[str] = set()
        #: what this connection has not been asked for yet: by channel, whether it is wanted. The
        #: last wish counts; Redis confirms a channel again if it is asked for twice
        self._changes: dict[str, bool] = {}
        self._sending = False
        self._connection: Subscription | None = None
        #: when Redis sent something last, monotonic
        self._last_message = 0.0
        self._greenlets: list[gevent.Greenlet[[], None]] = []
        #: that Redis is down was logged since the last connection
        self._reported = False

    @property
    def connected(self) -> bool:
        """Whether there is a connection, as far as is known."""
        return self._connection is not None

    def start(self) -> None:
        """Begin to listen. Has no effect the second time."""
        if not self._greenlets:
            self._greenlets = [gevent.spawn(self._run), gevent.spawn(self._check_for_silence)]

    def close(self) -> None:
        """Stop for good. No callback is called any more."""
        gevent.killall(self._greenlets)

    def subscribe(self, *channels: str) -> None:
        """Listen to these, too, from the moment for which `subscribed` is called. Never raises."""
        self._wanted.update(channels)
        self._change(channels, wanted=True)

    def unsubscribe(self, *channels: str) -> None:
        """Listen to these no more. Never raises."""
        self._wanted.difference_update(channels)
        self._change(channels, wanted=False)

    def _change(self, channels: tuple[str, ...], *, wanted: bool) -> None:
        if self._connection is not None:  # else all that is wanted is sent on connecting
            self._changes.update(dict.fromkeys(channels, wanted))
            self._send_changes()

    def _send_changes(self) -> None:
        """Send what this connection has not been asked for; one greenlet at a time."""
        if self._sending:
            return
        self._sending = True
        try:
            while self._changes and self._connection is not None:
                connection, changes = self._connection, self._changes
                self._changes = {}
                unwanted = [channel for channel, wanted in changes.items() if not wanted]
                added = [channel for channel, wanted in changes.items() if wanted]
                try:
                    if unwanted:
                        connection.unsubscribe(*unwanted)
                    if added:
                        connection.subscribe(*added)
                except RedisDown:
                    connection.close()  # the listening greenlet notices
        finally:
            self._sending = False

    def _run(self) -> None:
        while True:
            try:
                self._listen()
            except RedisDown:
                if not self._reported:
                    log.warning("listener.redis_down")
                    self._reported = True
            except Exception:
                log.exception("listener.bug")
            gevent.sleep(RECONNECT)

    def _listen(self) -> None:
        """Connect and listen until that connection is gone: always ends with an exception."""
        connection = self._connect()
        self._reported = False
        self._last_message = time.monotonic()
        self._connection = connection
        self._changes = dict.fromkeys(self._wanted, True)
        try:
            self._send_changes()
            while True:
                self._dispatch(connection.listen())
        except Exception:  # `close` ends the greenlet with a BaseException, and calls nothing
            self._connection = None  # before the call, which may ask whether it is `connected`
            self._lost()
            raise
        finally:
            self._connection = None
            connection.close()

    def _dispatch(self, message: PubSubMessage | None) -> None:
        self._last_message = time.monotonic()
        if message is None or message.channel not in self._wanted:
            return  # a pong, or a channel that was given up meanwhile
        if message.kind == "message":
            self._received(message.channel, message.payload)
        elif message.kind == "subscribe":
            self._subscribed(message.channel)

    def _check_for_silence(self) -> None:
        while True:
            gevent.sleep(CHECK_EVERY)
            connection = self._connection
            if connection is None:
                continue
            silence = awake.since(self._last_message)
            if silence > 2 * REDIS_SILENCE:
                connection.close()  # the listening greenlet notices
            elif silence > REDIS_SILENCE and not self._sending:
                with suppress(RedisDown):
                    connection.ping()
