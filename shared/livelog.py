"""All that Redis knows: the live log of each open message, its channel, and the stop channel.

    outlive:log:<id>    stream; entry ids <attempt>-<end offset>; "d": deltas, "open", "fence"
    outlive:live:<id>   channel; the same deltas as they are stored, "{}" to look at the row
    outlive:user:<id>   channel; something in this user's conversations has changed
    outlive:web         hash; what each web process tells operators about its readers
    outlive:stop        channel; ids of messages that somebody wants stopped

Redis is a hint, never the truth: everything here may vanish at any moment. The ids make Redis
refuse what a fenced attempt still wants to write. Every call has a timeout, and a failure is
RedisDown.
"""

import hashlib
import json
import uuid
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, Final

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from shared.body import Body, Delta, Gap, Misplaced
from shared.errors import RedisDown

#: Seconds a call to Redis may take.
TIMEOUT: Final = 1.0
#: Milliseconds for which the log of an ended message stays: readers under way still look.
ENDED_TTL: Final = 60_000

STOP_CHANNEL: Final = "outlive:stop"
_LIVE: Final = "outlive:live:"
_USER: Final = "outlive:user:"
_WEB: Final = "outlive:web"
#: Seconds after which the hash is forgotten, if nobody writes to it.
_WEB_TTL: Final = 60
#: What a channel carries to say "look at the row".
_WAKE: Final = "{}"


def _log(message_id: uuid.UUID) -> str:
    return f"outlive:log:{message_id}"


def channel(message_id: uuid.UUID) -> str:
    """The channel of a message."""
    return f"{_LIVE}{message_id}"


def message_of(channel_name: str) -> uuid.UUID:
    """The message of a channel."""
    return uuid.UUID(channel_name.removeprefix(_LIVE))


def user_channel(user_id: uuid.UUID) -> str:
    """The channel on which a user's notices wake."""
    return f"{_USER}{user_id}"


def user_of(channel_name: str) -> uuid.UUID:
    """The user of such a channel."""
    return uuid.UUID(channel_name.removeprefix(_USER))


class Outcome(StrEnum):
    """What became of a publication (see publish.lua)."""

    WRITTEN = "written"
    LANDED = "landed"
    MISSING = "missing"
    FENCED = "fenced"


@dataclass(frozen=True, slots=True)
class Publication:
    """Deltas of one message that follow one another, to be stored and announced as one."""

    id: uuid.UUID
    attempt: int
    deltas: Sequence[Delta]
    #: entries that end before this offset are safe in Postgres and may go
    trim: int
    #: write even if the log lost what was before: the owner confirmed that it still is the owner
    force: bool = False


def encode(deltas: Sequence[Delta]) -> str:
    """Deltas as they travel: [[start, part, kind, text, meta], ...]."""
    return json.dumps(deltas, ensure_ascii=False, separators=(",", ":"))


def decode(payload: str) -> list[Delta]:
    """The deltas of a payload; none for a wake-up."""
    return [Delta(*delta) for delta in json.loads(payload)]


class LiveLog:
    """The verbs: open, publish, read, fence, ended and nudge."""

    def __init__(self, url: str, ttl: float) -> None:
        """`ttl`: seconds after its last entry until a log goes by itself."""
        self._redis = redis.Redis.from_url(
            url,
            socket_timeout=TIMEOUT,
            socket_connect_timeout=TIMEOUT,
            retry=Retry(NoBackoff(), 1),
            decode_responses=True,
            protocol=2,
        )
        self._url = url
        self._ttl = int(ttl * 1000)
        self._script = (Path(__file__).parent / "publish.lua").read_text()
        self._sha = hashlib.sha1(self._script.encode(), usedforsecurity=False).hexdigest()

    def publish(self, batch: Sequence[Publication]) -> list[Outcome]:
        """Store and announce a batch in one round trip; the outcome of each."""
        with _errors():
            try:
                return self._evaluate(batch)
            except redis.exceptions.NoScriptError:
                # A new Redis. Nothing of the batch was run: every command needs the script.
                self._redis.script_load(self._script)
                return self._evaluate(batch)

    def _evaluate(self, batch: Sequence[Publication]) -> list[Outcome]:
        pipeline = self._redis.pipeline(transaction=False)
        for item in batch:
            pipeline.evalsha(
                self._sha,
                1,
                _log(item.id),
                channel(item.id),
                item.attempt,
                item.deltas[0].start,
                item.deltas[-1].end,
                encode(item.deltas),
                item.trim,
                self._ttl,
                "1" if item.force else "",
            )
        return [Outcome(outcome) for outcome in pipeline.execute()]

    def open(self, message_id: uuid.UUID, attempt: int, user_id: uuid.UUID | None = None) -> None:
        """Begin an attempt's log, and wake its user's notices.

        While this entry is its top, nothing was ever published.
        """
        with _errors():
            pipeline = self._redis.pipeline()
            pipeline.xadd(_log(message_id), {"open": "1"}, id=f"{attempt}-0")
            pipeline.pexpire(_log(message_id), self._ttl)
            if user_id is not None:
                pipeline.publish(user_channel(user_id), _WAKE)
            pipeline.execute()

    def fence(self, message_id: uuid.UUID, attempt: int) -> tuple[bool, list[Delta]]:
        """Refuse every write of `attempt` from now on.

        Returns whether it provably never published anything, and what of its text is there.
        """
        with _errors():
            pipeline = self._redis.pipeline()
            pipeline.xrange(_log(message_id))
            pipeline.xadd(_log(message_id), {"fence": "1"}, id=f"{attempt + 1}-0")
            pipeline.pexpire(_log(message_id), self._ttl)
            entries, fenced, _ = pipeline.execute(raise_on_error=False)
        for reply in (entries, fenced):
            # An id that is not above the top: the fence stands already.
            if isinstance(reply, Exception) and "equal or smaller" not in str(reply):
                raise RedisDown from reply
        written = [entry for entry in entries if "fence" not in entry[1]]
        untouched = bool(written) and written[-1][0] == f"{attempt}-0"
        return untouched, _deltas(written)

    def read(self, message_id: uuid.UUID) -> list[Delta]:
        """What the log holds, oldest first; Postgres may have some of it."""
        with _errors():
            entries: Any = self._redis.xrange(_log(message_id))
            return _deltas(entries)

    def ended(self, message_id: uuid.UUID, user_id: uuid.UUID | None = None) -> None:
        """Tell followers to look at the row; its log is not needed for long any more."""
        with _errors():
            pipeline = self._redis.pipeline(transaction=False)
            pipeline.pexpire(_log(message_id), ENDED_TTL)
            pipeline.publish(channel(message_id), _WAKE)
            if user_id is not None:
                pipeline.publish(user_channel(user_id), _WAKE)
            pipeline.execute()

    def notice(self, user_id: uuid.UUID) -> None:
        """Something in this user's conversations has changed: whoever shows them may look."""
        with _errors():
            self._redis.publish(user_channel(user_id), _WAKE)

    def tell_operators(self, process: str, said: str, ended: Collection[str] = ()) -> None:
        """What a web process has to say about itself, in the place of those that have ended."""
        with _errors():
            pipeline = self._redis.pipeline(transaction=False)
            if ended:
                pipeline.hdel(_WEB, *ended)
            pipeline.hset(_WEB, process, said)
            pipeline.expire(_WEB, _WEB_TTL)
            pipeline.execute()

    def told_operators(self) -> dict[str, str]:
        """What each web process said last."""
        with _errors():
            return dict(self._redis.hgetall(_WEB))  # type: ignore[arg-type]  # not awaitable here

    def nudge(self, message_id: uuid.UUID) -> None:
        """Somebody wants this one stopped: workers and followers may look at the row."""
        with _errors():
            pipeline = self._redis.pipeline(transaction=False)
            pipeline.publish(STOP_CHANNEL, str(message_id))
            pipeline.publish(channel(message_id), _WAKE)
            pipeline.execute()

    def ping(self) -> None:
        """Raise RedisDown unless Redis answers."""
        with _errors():
            self._redis.ping()

    def subscription(self) -> "Subscription":
        """A connection of its own for listening."""
        return Subscription(self._url)


def _deltas(entries: Sequence[tuple[str, dict[str, str]]]) -> list[Delta]:
    try:
        return [delta for _, fields in entries if "d" in fields for delta in decode(fields["d"])]
    except (ValueError, TypeError) as error:  # not ours: as good as lost, and must not be fatal
        raise RedisDown from error


def extend(body: Body, deltas: Sequence[Delta]) -> bool:
    """Grow `body` by a log's deltas; False if something between is missing or impossible."""
    try:
        for delta in deltas:
            body.append(delta)
    except (Gap, Misplaced):
        return False
    return True


@contextmanager
def _errors() -> Iterator[None]:
    try:
        yield
    except redis.RedisError as error:
        raise RedisDown from error


@dataclass(frozen=True, slots=True)
class Heard:
    """What a subscription heard: kind is subscribe, unsubscribe, message or pong."""

    kind: str
    channel: str
    payload: str


class Subscription:
    """One Redis connection that listens.

    Exactly one greenlet may call `listen`; any may call the others, which only send. What they
    ask for is confirmed by a Heard. RedisDown means that the connection is gone for good.
    """

    def __init__(self, url: str) -> None:
        options: dict[str, Any] = {
            "socket_timeout": TIMEOUT,
            "socket_connect_timeout": TIMEOUT,
            "decode_responses": True,
            "protocol": 2,
            "retry": Retry(NoBackoff(), 0),
        }
        pool: Any = redis.ConnectionPool.from_url(url, **options)
        self._connection = pool.make_connection()
        with _errors():
            self._connection.connect()

    def subscribe(self, *channels: str) -> None:
        """Ask for channels."""
        self._send("SUBSCRIBE", *channels)

    def unsubscribe(self, *channels: str) -> None:
        """Give channels up."""
        self._send("UNSUBSCRIBE", *channels)

    def ping(self) -> None:
        """Ask for a sign of life."""
        self._send("PING")

    def listen(self, timeout: float) -> Heard | None:
        """The next thing heard, or None when there was nothing for `timeout` seconds."""
        try:
            reply: Any = self._connection.read_response(timeout=timeout, disconnect_on_error=False)
        except redis.TimeoutError:
            return None
        except (redis.RedisError, OSError, ValueError, AttributeError) as error:
            # The last two: the connection was closed under the listener, by `close` or by a send
            # that failed, and its buffers with it.
            raise RedisDown from error
        kind, name, *rest = reply if isinstance(reply, list) else ("pong", "")
        return Heard(str(kind), str(name or ""), str(rest[0]) if rest else "")

    def close(self) -> None:
        """Give the connection up; a `listen` under way raises RedisDown."""
        self._connection.disconnect()

    def _send(self, *command: str) -> None:
        if not self._connection.is_connected:  # it would connect anew, with nobody listening
            raise RedisDown
        try:
            self._connection.send_command(*command, check_health=False)
        except (redis.RedisError, OSError) as error:
            raise RedisDown from error
