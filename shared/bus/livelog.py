"""The live log: text of open messages in Redis, before Postgres has it.

Redis is a hint, never the truth. Everything in it may vanish at any moment, or be again as it was a
minute ago; then readers see text later, and nothing is lost. Every call has a timeout, and every
failure is RedisDown. (Keys and channels: `keys`. How text gets in: `publishing`.)

Four rules make the hint safe:

**Texts of two claims never meet.** A claim has a random token (`owning.new_token`), and its log has
a key of its own. Whatever Postgres or Redis forget, no claim ever continues another one's log. All
claims of a message share its channel, because readers subscribe before they know the claim;
therefore each payload names its claim, and a reader takes it only if its body is that claim's.

**A fenced claim writes nothing more.** A sweep puts a "fence" on the log of the claim that it ends,
and publish.lua refuses everything after it. So readers are never shown text that Postgres, which
refuses that claim as well, will never have.

**"open" proves that nothing was published**, as long as it is the newest entry and Redis is the
same process that took it. A Redis that was started since may have lost what came after: the last
second of its file, a snapshot that was put back, a replica that was promoted. So "open" holds the
server's run id, and the proof counts only while the server still has that id.

**Foreign data is ignored.** A payload that `encode` did not write is at most a reason to read the
row, for its own message only. A foreign entry in a log is skipped by readers; as the newest entry
it makes the log as good as lost, and the owner begins it anew. Rows without a claim are written by
workers of the version before claims had tokens: `outlive:log:<id>`, payloads without a claim.
"""

import uuid
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from typing import Any, Final

from redis.exceptions import NoPermissionError

from shared.body import Body, Delta, Gap, Misplaced
from shared.bus.coding import WAKE, decode
from shared.bus.connection import TIMEOUT, OneWay, pack, pooled, redis_errors
from shared.bus.keys import (
    PREFIX,
    RIGHTS_CHANNEL,
    STOP_CHANNEL,
    WEB_STATS,
    devices_key,
    log_key,
    message_channel,
    probe_key,
    user_channel,
    with_prefix,
)
from shared.bus.listener import Subscription
from shared.bus.publishing import PublishConnection, ended_commands
from shared.errors import RedisDown

#: Seconds after which the figures of web processes go, if none writes.
_WEB_STATS_TTL: Final = 60
#: Seconds for which a user's devices are remembered after the last one reported.
_DEVICES_TTL: Final = 60


class LiveLog:
    """Reads and fences logs, and sends wake-ups; makes connections for publishing and listening."""

    def __init__(self, url: str, ttl: float, prefix: str = PREFIX) -> None:
        """`ttl`: seconds after which a log goes by itself: more than an answer may take."""
        self._redis = pooled(url, TIMEOUT)
        self._url = url
        self._prefix = prefix
        self._ttl = int(ttl * 1000)
        self._one_way: OneWay | None = None

    # --- logs

    def fence(
        self, message_id: uuid.UUID, claim: uuid.UUID | None, attempt: int
    ) -> tuple[bool, list[Delta]]:
        """Refuse every further write of this claim.

        Returns whether it provably never published anything, and the text that its log holds.
        """
        log = self._name(log_key(message_id, claim))
        fence: Any = ({"fence": "1"}, f"{attempt + 1}-0")
        with redis_errors():
            pipeline = self._redis.pipeline()
            pipeline.xrange(log)
            pipeline.xadd(log, *fence)
            pipeline.pexpire(log, self._ttl)
            entries, fenced, _ = pipeline.execute(raise_on_error=False)
            for reply in (entries, fenced):
                if isinstance(reply, Exception) and not _is_foreign(reply):
                    raise RedisDown from reply
            if isinstance(entries, Exception):
                entries = []
            if isinstance(fenced, Exception) and not any("fence" in one for _, one in entries):
                # The newest entry is foreign and has a higher id: nothing can be added above it.
                pipeline = self._redis.pipeline()
                pipeline.delete(log)
                pipeline.xadd(log, *fence)
                pipeline.pexpire(log, self._ttl)
                pipeline.execute()
            written = [entry for entry in entries if "fence" not in entry[1]]
            untouched = bool(written) and self._proves_untouched(written[-1], attempt)
        return untouched, _deltas(written, claim)

    def _proves_untouched(self, newest: tuple[str, dict[str, str]], attempt: int) -> bool:
        """Whether a log with this newest entry proves that nothing was ever published."""
        entry_id, fields = newest
        if entry_id != f"{attempt}-0" or "open" not in fields:
            return False
        try:
            server: Any = self._redis.info("server")
        except NoPermissionError:
            server = {}
        return fields["open"] == str(server.get("run_id", ""))

    def read(self, claims: Mapping[uuid.UUID, uuid.UUID | None]) -> dict[uuid.UUID, list[Delta]]:
        """What the logs hold, by message, oldest first; Postgres may have the beginning of it.

        `claims`: by message, the token of the claim that its row has.
        """
        with redis_errors():
            pipeline: Any = self._redis.pipeline(transaction=False)
            for message_id, claim in claims.items():
                pipeline.xrange(self._name(log_key(message_id, claim)))
            found = pipeline.execute(raise_on_error=False)
        logs: dict[uuid.UUID, list[Delta]] = {}
        for (message_id, claim), entries in zip(claims.items(), found, strict=True):
            if not isinstance(entries, Exception):
                logs[message_id] = _deltas(entries, claim)
            elif _is_foreign(entries):
                logs[message_id] = []
            else:
                raise RedisDown from entries
        return logs

    # --- wake-ups

    def notify_ended(self, message_id: uuid.UUID, claim: uuid.UUID | None) -> None:
        """Have readers read the row, and let the log go soon."""
        with redis_errors():
            pipeline: Any = self._redis.pipeline(transaction=False)
            for verb, name, argument in ended_commands(message_id, claim):
                pipeline.execute_command(verb, self._name(name), argument)
            pipeline.execute()

    def notify_stop(self, message_id: uuid.UUID) -> None:
        """Have the worker and the readers of this message read the row: it is to be stopped."""
        with redis_errors():
            pipeline = self._redis.pipeline(transaction=False)
            pipeline.publish(self._name(STOP_CHANNEL), str(message_id))
            pipeline.publish(self._name(message_channel(message_id)), WAKE)
            pipeline.execute()

    def notify_user(self, user_id: uuid.UUID) -> None:
        """Have web processes that show this user's conversations read them. Awaits no reply."""
        command = pack("PUBLISH", self._name(user_channel(user_id)), WAKE)
        if self._one_way is not None:
            with suppress(RedisDown):
                self._one_way.send(command)
                return
        self._one_way = OneWay(self._url)
        self._one_way.send(command)

    def notify_revoked(self, kind: str, revoked: uuid.UUID) -> None:
        """A "user", "key", "session" or "share" is not good any more: have web end its streams.

        Call it after that was committed, since web asks Postgres.
        """
        with redis_errors():
            self._redis.publish(self._name(RIGHTS_CHANNEL), f"{kind} {revoked}")

    # --- figures of web processes

    def store_web_stats(self, process: str, stats: str, ended: Collection[str] = ()) -> None:
        """Store a web process' figures for the dashboard, and remove those of ended processes."""
        with redis_errors():
            pipeline = self._redis.pipeline(transaction=False)
            key = self._name(WEB_STATS)
            if ended:
                pipeline.hdel(key, *ended)
            pipeline.hset(key, process, stats)
            pipeline.expire(key, _WEB_STATS_TTL)
            pipeline.execute()

    def web_stats(self) -> dict[str, str]:
        """What each web process stored last."""
        with redis_errors():
            found: Any = self._redis.hgetall(self._name(WEB_STATS))
            return dict(found)

    def put_device(self, user_id: uuid.UUID, device: uuid.UUID, entry: str) -> dict[str, str]:
        """Store where one of a user's devices is reading; what all of them stored last."""
        with redis_errors():
            pipeline = self._redis.pipeline(transaction=False)
            key = self._name(devices_key(user_id))
            pipeline.hset(key, str(device), entry)
            pipeline.expire(key, _DEVICES_TTL)
            pipeline.hgetall(key)
            found: Any = pipeline.execute()[-1]
            return dict(found)

    def drop_devices(self, user_id: uuid.UUID, *devices: str) -> None:
        """Forget these devices of a user."""
        with redis_errors():
            self._redis.hdel(self._name(devices_key(user_id)), *devices)

    def take_probe(self, token: str) -> bool:
        """Whether a doctor wrote this token; it is used up."""
        with redis_errors():
            return bool(self._redis.getdel(self._name(probe_key(token))))

    # --- connections

    def ping(self) -> None:
        """Raise RedisDown unless Redis answers."""
        with redis_errors():
            self._redis.ping()

    def subscription(self) -> Subscription:
        """A new connection for listening."""
        return Subscription(self._url, self._prefix)

    def publish_connection(self) -> PublishConnection:
        """A new connection for publishing."""
        return PublishConnection(self._url, self._ttl, self._prefix)

    def _name(self, name: str) -> str:
        return with_prefix(name, self._prefix)


def extend(body: Body, deltas: Sequence[Delta]) -> bool:
    """Grow `body` by a log's deltas; False if something between is missing or impossible."""
    try:
        for delta in deltas:
            body.append(delta)
    except (Gap, Misplaced):
        return False
    return True


def _is_foreign(error: Exception) -> bool:
    """Whether Redis refused because something foreign is in the log, or in its place."""
    return "equal or smaller" in str(error) or "WRONGTYPE" in str(error)


def _deltas(entries: Sequence[tuple[str, dict[str, str]]], claim: uuid.UUID | None) -> list[Delta]:
    """The deltas in entries of the claim's log. Foreign entries are skipped: a gap at most."""
    payloads = [decode(fields["d"]) for _, fields in entries if "d" in fields]
    return [delta for one in payloads if one and one.claim == claim for delta in one.deltas]
