"""All that Redis knows: the live log of each open message, its channel, and the stop channel.

    outlive:log:<id>:<claim>  stream; entry ids <attempt>-<end offset>; "d": deltas, "open", "fence"
    outlive:live:<id>         channel; the same deltas as they are stored, "{}" to look at the row
    outlive:user:<id>         channel; something in this user's conversations has changed
    outlive:web               hash; what each web process tells operators about its readers
    outlive:stop              channel; ids of messages that somebody wants stopped
    outlive                   list; Celery's queue (see jobs)

These are the names with the default prefix, and inside of this service. A deployment with another
`OUTLIVE_PREFIX` has that instead of "outlive": it is put on where commands leave this module, and
taken off where channels come in (`_placed`).

Redis is a hint, never the truth: everything here may vanish at any moment, or be again as it was a
minute ago. Every call has a timeout, and a failure is RedisDown.

**Texts of two claims never meet.** A claim has a random token (`owning.new_token`), and its log has
a key of its own, so whatever Postgres or Redis forget, no claim ever continues another one's log.
All claims of a message share its channel, because readers subscribe before they know the claim;
therefore each payload names its claim, and a follower takes it only if its body is that claim's.

**A fenced claim writes nothing more.** The sweep puts a "fence" on the log of the claim that it
ends, and the script (publish.lua) refuses everything after it. This keeps readers from being shown
text that Postgres, which refuses the claim as well, will never have.

**"open" proves that nothing was published**, as long as it is the newest entry, and Redis is the
same process that took it: one that was started since may have lost what came after (the last second
of its file, a snapshot that was put back, a replica that was promoted). So "open" holds the run id
of the server, and the proof counts only while the server still has that id.

**What is not ours is nothing.** A payload that does not have exactly the shape that `encode` gives
it (not UTF-8, not JSON, of a newer version) is at most a reason to look at the row, for its own
message only. An entry of a log that is not ours is skipped by readers; on top of a log it makes the
log as good as lost, which its owner begins anew. Rows without a claim are written by workers of the
version before claims had tokens: their log is `outlive:log:<id>`, their payloads name no claim.
"""

import hashlib
import json
import math
import re
import socket
import ssl
import time
import uuid
from collections import deque
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from enum import StrEnum
from functools import lru_cache
from json.encoder import encode_basestring
from pathlib import Path
from typing import Any, Final, NamedTuple

import redis
from redis.backoff import NoBackoff
from redis.exceptions import NoPermissionError
from redis.retry import Retry

from shared.body import Body, Delta, Gap, Misplaced
from shared.bus import resp
from shared.errors import RedisDown
from shared.text import is_storable

#: Seconds a call to Redis may take.
TIMEOUT: Final = 1.0
#: Connections for calls whose answer is waited for.
CONNECTIONS: Final = 4
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
#: Claims of which the packed beginning of a publication, or the parsed token, is remembered.
_KNOWN: Final = 1024
_DECODER: Final = json.JSONDecoder()
_SCRIPT: Final = (Path(__file__).parent / "publish.lua").read_text()
_SHA: Final = hashlib.sha1(_SCRIPT.encode(), usedforsecurity=False).hexdigest()
_RUN_ID: Final = re.compile("run_id:([0-9a-f]+)")
#: Bytes that are taken from a connection at once.
_RECEIVE: Final = 1 << 16


#: What the names begin with that this module's callers use.
PREFIX: Final = "outlive"


def _placed(name: str, prefix: str) -> str:
    """The name in Redis of what is called `name` here."""
    return name if prefix == PREFIX else prefix + name[len(PREFIX) :]


def _log(message_id: uuid.UUID, claim: uuid.UUID | None) -> str:
    log = f"outlive:log:{message_id}"
    return log if claim is None else f"{log}:{claim}"


def channel(message_id: uuid.UUID) -> str:
    """The channel of a message."""
    return f"{_LIVE}{message_id}"


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


class Publication(NamedTuple):
    """Deltas of one message that follow one another, to be stored and announced as one."""

    id: uuid.UUID
    claim: uuid.UUID
    attempt: int
    deltas: Sequence[Delta]
    #: entries that end before this offset are safe in Postgres and may go
    trim: int
    #: write even if the log lost what was before: the owner confirmed that it still is the owner
    force: bool = False


class Said(NamedTuple):
    """What a payload says: deltas of a claim; without deltas that the row is worth a look."""

    claim: uuid.UUID | None
    deltas: Sequence[Delta]


#: What `_WAKE` says.
WAKE_UP: Final = Said(None, ())


def encode(claim: uuid.UUID, deltas: Sequence[Delta]) -> str:
    """Deltas as they travel: [[0, 0, claim, "", null], [start, part, kind, text, meta], ...].

    The first one names the claim. It is empty, so that readers of the version before claims had
    tokens drop it as old news and take the others.
    """
    return _payload(_head(claim), deltas)


def _payload(head: str, deltas: Sequence[Delta]) -> str:
    return f"{head}{','.join(map(_encoded, deltas))}]"


@lru_cache(maxsize=_KNOWN)
def _head(claim: uuid.UUID) -> str:
    return f'[[0,0,"{claim.hex}","",null],'


def _encoded(delta: Delta) -> str:
    # Word by word: the general way takes four times as long.
    start, part, kind, text, meta = delta
    more = json.dumps(meta) if meta else "null"
    return f'[{start},{part},"{kind}",{encode_basestring(text)},{more}]'


def decode(payload: str) -> Said | None:
    """What a payload says; None if it is not exactly what `encode` makes, or a wake-up."""
    if payload == _WAKE:
        return WAKE_UP
    claim, at = None, 1
    try:
        # The head is known by its characters: to have it parsed would take as long as the rest.
        if payload[39:50] == '","",null],':
            claim, at = _token(payload[7:39]), 50
            if payload[:at] != _head(claim):
                return None
        elif not payload.startswith("["):
            return None
        deltas = []
        while True:
            found, at = _DECODER.raw_decode(payload, at)
            deltas.append(_possible(found))
            behind = payload[at : at + 2]
            if behind == "]":
                return Said(claim, deltas)
            if behind[:1] != ",":
                return None
            at += 1
    except (ValueError, TypeError, RecursionError):  # that many brackets, too, are no JSON
        return None


@lru_cache(maxsize=_KNOWN)
def _token(said: str) -> uuid.UUID:
    return uuid.UUID(hex=said)


def _possible(found: Any) -> Delta:
    """A piece of some body that Postgres could hold, from its JSON; else ValueError or TypeError.

    JSON's objects and strings can be unpacked as well: their names are no numbers.
    """
    start, part, kind, text, meta = found
    if (
        type(start) is type(part) is int
        and type(kind) is type(text) is str
        and text
        and start >= 0 <= part
        and is_storable(text)
        and is_storable(kind)
        and (meta is None or (type(meta) is dict and _is_possible_meta(meta)))
    ):
        return Delta(start, part, kind, text, meta)
    raise ValueError


def _is_possible_meta(value: Any) -> bool:
    if isinstance(value, str):
        return is_storable(value)
    if isinstance(value, dict):
        return all(map(_is_possible_meta, (*value.keys(), *value.values())))
    if isinstance(value, list):
        return all(map(_is_possible_meta, value))
    return not isinstance(value, float) or math.isfinite(value)


def _ended(
    message_id: uuid.UUID, claim: uuid.UUID | None, user_id: uuid.UUID | None = None
) -> list[tuple[str | int, ...]]:
    """What is said of a message that has ended."""
    told: list[tuple[str | int, ...]] = [
        ("PEXPIRE", _log(message_id, claim), ENDED_TTL),
        ("PUBLISH", channel(message_id), _WAKE),
    ]
    if user_id is not None:
        told.append(("PUBLISH", user_channel(user_id), _WAKE))
    return told


class LiveLog:
    """The verbs of who does not write: fence, read, ended, nudge; and connections for who does."""

    def __init__(self, url: str, ttl: float, prefix: str = PREFIX) -> None:
        """`ttl`: seconds until a log goes by itself: more than an answer may take."""
        self._redis = _kept(url, TIMEOUT)
        self._url = url
        self._prefix = prefix
        self._ttl = int(ttl * 1000)
        self._telling: Telling | None = None

    def fence(
        self, message_id: uuid.UUID, claim: uuid.UUID | None, attempt: int
    ) -> tuple[bool, list[Delta]]:
        """Refuse every write of this claim from now on.

        Returns whether it provably never published anything, and what of its text is there.
        """
        log = self._placed(_log(message_id, claim))
        fence: Any = ({"fence": "1"}, f"{attempt + 1}-0")
        with _errors():
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
                # What is on top is not ours, and nothing goes above it.
                pipeline = self._redis.pipeline()
                pipeline.delete(log)
                pipeline.xadd(log, *fence)
                pipeline.pexpire(log, self._ttl)
                pipeline.execute()
            written = [entry for entry in entries if "fence" not in entry[1]]
            untouched = bool(written) and self._proves(written[-1], attempt)
        return untouched, _deltas(written, claim)

    def _proves(self, entry: tuple[str, dict[str, str]], attempt: int) -> bool:
        """Whether a log with this entry on top shows that nothing was ever published."""
        place, fields = entry
        if place != f"{attempt}-0" or "open" not in fields:
            return False
        try:
            running: Any = self._redis.info("server")
        except NoPermissionError:
            running = {}
        return fields["open"] == str(running.get("run_id", ""))

    def read(self, claims: Mapping[uuid.UUID, uuid.UUID | None]) -> dict[uuid.UUID, list[Delta]]:
        """What the log of each message's claim holds, oldest first; Postgres may have some of it.

        `claims`: by message, the token of the claim that its row has.
        """
        with _errors():
            pipeline: Any = self._redis.pipeline(transaction=False)
            for message_id, claim in claims.items():
                pipeline.xrange(self._placed(_log(message_id, claim)))
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

    def ended(self, message_id: uuid.UUID, claim: uuid.UUID | None) -> None:
        """Tell followers to look at the row; its log is not needed for long any more."""
        with _errors():
            pipeline: Any = self._redis.pipeline(transaction=False)
            for verb, name, *rest in _ended(message_id, claim):
                pipeline.execute_command(verb, self._placed(str(name)), *rest)
            pipeline.execute()

    def notice(self, user_id: uuid.UUID) -> None:
        """Something in this user's conversations has changed: whoever shows them may look."""
        said = resp.pack("PUBLISH", self._placed(user_channel(user_id)), _WAKE)
        if self._telling is not None:
            with suppress(RedisDown):
                self._telling.say(said)
                return
        self._telling = Telling(self._url)
        self._telling.say(said)

    def tell_operators(self, process: str, said: str, ended: Collection[str] = ()) -> None:
        """What a web process has to say about itself, in the place of those that have ended."""
        with _errors():
            pipeline = self._redis.pipeline(transaction=False)
            place = self._placed(_WEB)
            if ended:
                pipeline.hdel(place, *ended)
            pipeline.hset(place, process, said)
            pipeline.expire(place, _WEB_TTL)
            pipeline.execute()

    def told_operators(self) -> dict[str, str]:
        """What each web process said last."""
        with _errors():
            found: Any = self._redis.hgetall(self._placed(_WEB))
            return dict(found)

    def nudge(self, message_id: uuid.UUID) -> None:
        """Somebody wants this one stopped: workers and followers may look at the row."""
        with _errors():
            pipeline = self._redis.pipeline(transaction=False)
            pipeline.publish(self._placed(STOP_CHANNEL), str(message_id))
            pipeline.publish(self._placed(channel(message_id)), _WAKE)
            pipeline.execute()

    def ping(self) -> None:
        """Raise RedisDown unless Redis answers."""
        with _errors():
            self._redis.ping()

    def subscription(self) -> "Subscription":
        """A connection of its own for listening."""
        return Subscription(self._url, self._prefix)

    def publishing(self) -> "Publishing":
        """A connection of its own for what a process writes."""
        return Publishing(self._url, self._ttl, self._prefix)

    def _placed(self, name: str) -> str:
        return _placed(name, self._prefix)


def _is_foreign(error: Exception) -> bool:
    """Whether Redis refused because of what somebody else has put in the place of a log."""
    return "equal or smaller" in str(error) or "WRONGTYPE" in str(error)


def _deltas(entries: Sequence[tuple[str, dict[str, str]]], claim: uuid.UUID | None) -> list[Delta]:
    """What entries of the claim's log say. One that is not ours says nothing: a gap at most."""
    said = [decode(fields["d"]) for _, fields in entries if "d" in fields]
    return [delta for one in said if one and one.claim == claim for delta in one.deltas]


def extend(body: Body, deltas: Sequence[Delta]) -> bool:
    """Grow `body` by a log's deltas; False if something between is missing or impossible."""
    try:
        for delta in deltas:
            body.append(delta)
    except (Gap, Misplaced):
        return False
    return True


class Work:
    """Lists that others take their work from."""

    def __init__(self, url: str, patience: float) -> None:
        """`patience`: seconds that a call may take."""
        self._redis = _kept(url, patience)

    def hand_on(self, name: str, said: str) -> None:
        """Put something on a list; returns when it is there."""
        with _errors():
            self._redis.lpush(name, said)

    def ready(self) -> None:
        """Connect, before somebody waits for it."""
        with _errors():
            self._redis.ping()


def _kept(url: str, patience: float) -> redis.Redis:
    """A few connections for calls whose answer is waited for: to connect takes much longer."""
    pool: Any = redis.BlockingConnectionPool.from_url(
        url,
        max_connections=CONNECTIONS,
        timeout=patience,
        socket_timeout=patience,
        socket_connect_timeout=min(patience, TIMEOUT),
        # One that Redis has closed is made anew; who is silent is not asked again.
        retry=Retry(NoBackoff(), 1, supported_errors=(redis.ConnectionError,)),
        decode_responses=True,
        encoding_errors="surrogateescape",  # what is no UTF-8 is not ours, and no error
        protocol=2,
    )
    return redis.Redis(connection_pool=pool)


@contextmanager
def _errors() -> Iterator[None]:
    try:
        yield
    except redis.RedisError as error:
        raise RedisDown from error


class Heard(NamedTuple):
    """What a subscription heard: kind is subscribe, unsubscribe, message or pong."""

    kind: str
    channel: str
    payload: str


class _Line:
    """One connection to Redis, whose replies are read when somebody wants them.

    redis-py connects and signs in; then words go out packed by us, and replies come as they do.
    RedisDown means that the connection is gone for good.
    """

    def __init__(self, url: str) -> None:
        options: dict[str, Any] = {
            "socket_timeout": TIMEOUT,
            "socket_connect_timeout": TIMEOUT,
            "protocol": 2,
            "retry": Retry(NoBackoff(), 0),
        }
        pool: Any = redis.ConnectionPool.from_url(url, **options)
        self._connection = pool.make_connection()
        with _errors():
            self._connection.connect()
        # Its own reader would wait for one reply after the other. Nothing is left in it.
        self._socket: socket.socket = self._connection._sock
        self._reader = resp.Reader()
        self._replies: deque[Any] = deque()
        self._closed = False

    def close(self) -> None:
        """Give the connection up; who waits for a reply is told RedisDown."""
        self._closed = True
        self._connection.disconnect()

    def _send(self, data: bytes) -> None:
        if self._closed:
            raise RedisDown
        try:
            self._socket.settimeout(TIMEOUT)
            while sent := self._socket.send(data):  # `sendall` asks the system for more
                if sent == len(data):
                    return
                data = data[sent:]
        except OSError as error:
            raise RedisDown from error

    def _receive(self, seconds: float | None) -> bool:
        """Take what there is, waiting for some of it; False when nothing came for so long."""
        if self._closed:
            raise RedisDown
        try:
            self._socket.settimeout(seconds)
            data = self._socket.recv(_RECEIVE)
        except (TimeoutError, BlockingIOError, ssl.SSLWantReadError):
            return False
        except OSError as error:
            raise RedisDown from error
        if not data:
            raise RedisDown
        try:
            self._replies.extend(self._reader.feed(data))
        except ValueError as error:
            raise RedisDown from error
        return True


@lru_cache(maxsize=_KNOWN)
def _beginning(
    message_id: uuid.UUID, claim: uuid.UUID, attempt: int, prefix: str
) -> tuple[bytes, str]:
    """The words that all publications of a claim begin with, and what their payloads do."""
    log, live = (_placed(name, prefix) for name in (_log(message_id, claim), channel(message_id)))
    return resp.words("EVALSHA", _SHA, 1, log, live, attempt), _head(claim)


class Publishing(_Line):
    """Where a worker's text goes: in order, without waiting for what Redis says of it.

    What is said is packed until `flush`. `outcomes` are of the publications, in their order, and
    come when they do. After RedisDown nobody knows what became of those that had none; and that
    log is not opened, or that end not told, about which Redis was silent.
    """

    def __init__(self, url: str, ttl: int, prefix: str = PREFIX) -> None:
        """`ttl`: milliseconds until a log goes by itself."""
        super().__init__(url)
        self._ttl = ttl
        self._prefix = prefix
        self._run_id = ""
        self._packed: list[bytes] = []
        #: of every reply that will come, whether it is an outcome
        self._expected: deque[bool] = deque()
        try:
            self._load()
        except RedisDown:
            self.close()
            raise

    def _load(self) -> None:
        self._send(resp.pack("SCRIPT", "LOAD", _SCRIPT) + resp.pack("INFO", "server"))
        while len(self._replies) < 2:
            if not self._receive(TIMEOUT):
                raise RedisDown
        loaded, said = self._replies.popleft(), self._replies.popleft()
        if loaded != _SHA:
            raise RedisDown
        run_id = None if isinstance(said, resp.Refused) else _RUN_ID.search(str(said))
        self._run_id = run_id.group(1) if run_id else ""

    def publish(self, item: Publication) -> None:
        """Store and announce."""
        beginning, head = _beginning(item.id, item.claim, item.attempt, self._prefix)
        rest = resp.words(
            item.deltas[0].start,
            item.deltas[-1].end,
            _payload(head, item.deltas),
            item.trim,
            self._ttl,
            "1" if item.force else "",
        )
        self._packed.append(b"*12\r\n%b%b" % (beginning, rest))
        self._expected.append(True)

    def open(
        self,
        message_id: uuid.UUID,
        claim: uuid.UUID,
        attempt: int,
        user_id: uuid.UUID | None = None,
    ) -> None:
        """Begin a claim's log, and wake its user's notices.

        While this entry is its top, and Redis was not started anew, nothing was ever published.
        """
        log = _log(message_id, claim)
        self._say("XADD", log, f"{attempt}-0", "open", self._run_id)
        self._say("PEXPIRE", log, self._ttl)
        if user_id is not None:
            self._say("PUBLISH", user_channel(user_id), _WAKE)

    def ended(
        self, message_id: uuid.UUID, claim: uuid.UUID, user_id: uuid.UUID | None = None
    ) -> None:
        """Tell followers to look at the row; its log is not needed for long any more."""
        for command in _ended(message_id, claim, user_id):
            self._say(*command)

    def _say(self, verb: str | int, name: str | int, *rest: str | int) -> None:
        self._packed.append(resp.pack(verb, _placed(str(name), self._prefix), *rest))
        self._expected.append(False)

    def flush(self) -> None:
        """Send what was said. Returns when it is on its way."""
        packed, self._packed = self._packed, []
        if packed:
            self._send(b"".join(packed))

    @property
    def unknown(self) -> int:
        """Replies that have not come yet."""
        return len(self._expected)

    def outcomes(self, seconds: float = 0.0) -> list[Outcome]:
        """Those that have come, waiting so long for the next reply if there is none."""
        if not self._receive(seconds):
            return []
        outcomes = []
        while self._replies and self._expected:
            reply = self._replies.popleft()
            if not self._expected.popleft():
                continue  # an entry that was there before, a channel without listeners
            if isinstance(reply, resp.Refused):  # full, loading, a script that it has forgotten
                raise RedisDown
            outcomes.append(Outcome(reply))
        return outcomes


class Telling(_Line):
    """Where is said what need not be confirmed."""

    def say(self, packed: bytes) -> None:
        """Send commands; what came of those before is thrown away."""
        try:
            while self._receive(0.0):
                self._replies.clear()
            self._send(packed)
        except RedisDown:
            self.close()
            raise


class Subscription(_Line):
    """One Redis connection that listens.

    Exactly one greenlet may call `listen`; any may call the others, which only send. What they
    ask for is confirmed by a Heard. RedisDown means that the connection is gone for good.
    """

    def __init__(self, url: str, prefix: str = PREFIX) -> None:
        super().__init__(url)
        self._prefix = prefix

    def subscribe(self, *channels: str) -> None:
        """Ask for channels."""
        self._send(resp.pack("SUBSCRIBE", *self._placed(channels)))

    def unsubscribe(self, *channels: str) -> None:
        """Give channels up."""
        self._send(resp.pack("UNSUBSCRIBE", *self._placed(channels)))

    def _placed(self, channels: Sequence[str]) -> list[str]:
        return [_placed(name, self._prefix) for name in channels]

    def ping(self) -> None:
        """Ask for a sign of life."""
        self._send(resp.pack("PING"))

    def listen(self, seconds: float | None = None) -> Heard | None:
        """The next thing heard, or None when there was nothing for so long.

        What came together is told without a wait in between.
        """
        deadline = None if seconds is None else time.monotonic() + seconds
        while not self._replies:
            left = None if deadline is None else deadline - time.monotonic()
            if (left is not None and left < 0) or not self._receive(left):
                return None
        reply = self._replies.popleft()
        if not isinstance(reply, list):
            return Heard("pong", "", "")
        kind, name, *rest = reply
        name = str(name or "")
        if self._prefix != PREFIX and name.startswith(self._prefix):
            name = PREFIX + name[len(self._prefix) :]
        return Heard(str(kind), name, str(rest[0]) if rest else "")

    def expect(self, seconds: float) -> Heard:
        """The next thing heard; RedisDown when nothing is, not even an answer to a ping."""
        heard = self.listen(seconds)
        if heard is None:
            self.ping()
            heard = self.listen(seconds)
        if heard is None:
            raise RedisDown
        return heard
