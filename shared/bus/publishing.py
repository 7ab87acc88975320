"""A worker's connection to Redis: publishes text in order, without waiting for replies.

What was asked for is packed until `flush`, so that one write carries everything that waits. Each
publication has one result, in the order in which they were asked for; results are read when they
have come. After RedisDown it is unknown what became of publications without a result: the publisher
sends them again on a new connection, and publish.lua recognises what was stored before. `open` and
`notify_ended` are not repeated. A log that was not opened only lacks the proof that nothing was
published (see `livelog`), and readers who miss an end find it by polling.

`publish.lua` decides and stores and publishes in one atomic step; its beginning says how.
"""

import hashlib
import re
import uuid
from collections import deque
from collections.abc import Sequence
from enum import StrEnum
from functools import lru_cache
from pathlib import Path
from typing import Final, NamedTuple

from shared.body import Delta
from shared.bus.coding import (
    KNOWN_CLAIMS,
    WAKE,
    Retrying,
    encode_after,
    encode_retrying,
    head,
)
from shared.bus.connection import TIMEOUT, RawConnection, ReplyError, pack
from shared.bus.keys import PREFIX, log_key, message_channel, user_channel, with_prefix
from shared.errors import RedisDown

#: Milliseconds for which the log of an ended message stays, for readers that are about to read it.
ENDED_TTL: Final = 60_000

_SCRIPT: Final = (Path(__file__).parent / "publish.lua").read_text()
_SHA: Final = hashlib.sha1(_SCRIPT.encode(), usedforsecurity=False).hexdigest()
_RUN_ID: Final = re.compile("run_id:([0-9a-f]+)")


class PublishResult(StrEnum):
    """What became of a publication (see publish.lua)."""

    WRITTEN = "written"
    LANDED = "landed"
    MISSING = "missing"
    FENCED = "fenced"


class Publication(NamedTuple):
    """Consecutive deltas of one message, to be stored and published as one."""

    id: uuid.UUID
    claim: uuid.UUID
    attempt: int
    deltas: Sequence[Delta]
    #: entries that end before this offset are saved in Postgres and may be trimmed
    trim: int
    #: write even if the log lost what came before: the owner confirmed that it is still the owner
    force: bool = False


def ended_commands(
    message_id: uuid.UUID, claim: uuid.UUID | None, user_id: uuid.UUID | None = None
) -> list[tuple[str, str, str | int]]:
    """The commands that follow the end of a message: its log may go, and readers wake up."""
    commands: list[tuple[str, str, str | int]] = [
        ("PEXPIRE", log_key(message_id, claim), ENDED_TTL),
        ("PUBLISH", message_channel(message_id), WAKE),
    ]
    if user_id is not None:
        commands.append(("PUBLISH", user_channel(user_id), WAKE))
    return commands


@lru_cache(maxsize=KNOWN_CLAIMS)
def _names(message_id: uuid.UUID, claim: uuid.UUID, prefix: str) -> tuple[str, str, str]:
    """What all publications of a claim have in common: log, channel, and the payload's head."""
    log = with_prefix(log_key(message_id, claim), prefix)
    return log, with_prefix(message_channel(message_id), prefix), head(claim)


class PublishConnection(RawConnection):
    """The connection on which a worker publishes; one greenlet may use it."""

    def __init__(self, url: str, ttl: int, prefix: str = PREFIX) -> None:
        """`ttl`: milliseconds after which a log goes by itself."""
        super().__init__(url)
        self._ttl = ttl
        self._prefix = prefix
        self._run_id = ""
        self._packed: list[bytes] = []
        #: of every outstanding reply, whether it is a publication's result
        self._outstanding: deque[bool] = deque()
        try:
            self._load()
        except RedisDown:
            self.close()
            raise

    def _load(self) -> None:
        """Load the script, and learn which Redis process this is."""
        self._send(pack("SCRIPT", "LOAD", _SCRIPT) + pack("INFO", "server"))
        while len(self._replies) < 2:
            if not self._receive(TIMEOUT):
                raise RedisDown
        loaded, info = self._replies.popleft(), self._replies.popleft()
        if loaded != _SHA:
            raise RedisDown
        run_id = None if isinstance(info, ReplyError) else _RUN_ID.search(str(info))
        self._run_id = run_id.group(1) if run_id else ""

    def publish(self, item: Publication) -> None:
        """Store and publish deltas."""
        log, channel, payload_head = _names(item.id, item.claim, self._prefix)
        command = pack(
            "EVALSHA",
            _SHA,
            1,
            log,
            channel,
            item.attempt,
            item.deltas[0].start,
            item.deltas[-1].end,
            encode_after(payload_head, item.deltas),
            item.trim,
            self._ttl,
            "1" if item.force else "",
        )
        self._packed.append(command)
        self._outstanding.append(True)

    def open(
        self,
        message_id: uuid.UUID,
        claim: uuid.UUID,
        attempt: int,
        user_id: uuid.UUID | None = None,
    ) -> None:
        """Begin a claim's log, and wake the web processes that show the user's list.

        As long as this entry is the newest, and Redis is the same process, nothing was published.
        """
        log = log_key(message_id, claim)
        self._add("XADD", log, f"{attempt}-0", "open", self._run_id)
        self._add("PEXPIRE", log, self._ttl)
        if user_id is not None:
            self._add("PUBLISH", user_channel(user_id), WAKE)

    def notify_ended(
        self, message_id: uuid.UUID, claim: uuid.UUID, user_id: uuid.UUID | None = None
    ) -> None:
        """Have readers read the row, and let the log go soon."""
        for command in ended_commands(message_id, claim, user_id):
            self._add(*command)

    def notify_retrying(self, message_id: uuid.UUID, claim: uuid.UUID, state: Retrying) -> None:
        """Tell the readers who are there that the provider is asked again."""
        self._add("PUBLISH", message_channel(message_id), encode_retrying(claim, state))

    def _add(self, verb: str, name: str, *rest: str | int) -> None:
        """Pack a command whose reply does not matter (an entry was there before, no subscriber)."""
        self._packed.append(pack(verb, with_prefix(name, self._prefix), *rest))
        self._outstanding.append(False)

    def flush(self) -> None:
        """Send what was packed. Returns when the system has taken it."""
        packed, self._packed = self._packed, []
        if packed:
            self._send(b"".join(packed))

    @property
    def outstanding(self) -> int:
        """Replies that have not come yet."""
        return len(self._outstanding)

    def read_results(self, seconds: float = 0.0) -> list[PublishResult]:
        """Results that have come, in order; waits `seconds` for the next reply at most."""
        if not self._receive(seconds):
            return []
        results = []
        while self._replies and self._outstanding:
            reply = self._replies.popleft()
            if not self._outstanding.popleft():
                continue
            try:
                results.append(PublishResult(reply))
            except ValueError as error:  # out of memory, loading, the script is forgotten
                raise RedisDown from error
        return results
