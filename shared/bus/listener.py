"""A connection that listens to channels."""

import time
from typing import NamedTuple

from shared.bus import resp
from shared.bus.connection import RawConnection
from shared.bus.keys import PREFIX, with_prefix, without_prefix
from shared.errors import RedisDown


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
        self._send(resp.pack(verb, *[with_prefix(name, self._prefix) for name in channels]))

    def listen(self, seconds: float | None = None) -> PubSubMessage | None:
        """The next message; None if none came within `seconds`. What has come needs no wait."""
        if not self._replies and not self._receive_reply(seconds):
            return None
        reply = self._replies.popleft()
        if not isinstance(reply, list):
            return PubSubMessage("pong", "", "")
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

    def expect(self, seconds: float) -> PubSubMessage:
        """The next message; RedisDown if there is none, not even an answer to a ping."""
        heard = self.listen(seconds)
        if heard is None:
            self.ping()
            heard = self.listen(seconds)
        if heard is None:
            raise RedisDown
        return heard
