"""All that Redis knows: stored and announced as one, fenced, trimmed, and never trusted."""

import signal
import socket
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import redis

from local.redis import Redis
from shared.body import Body, Delta
from shared.bus.coding import Payload, decode
from shared.bus.connection import TIMEOUT, ReplyError
from shared.bus.keys import STOP_CHANNEL, message_channel, user_channel
from shared.bus.listener import PubSubMessage, Subscription
from shared.bus.livelog import LiveLog
from shared.bus.publishing import ENDED_TTL, Publication, PublishResult
from shared.errors import RedisDown
from tests.store_fixtures import Store, at_once, body_of, open_log, publish_all, publish_on

WRITTEN, LANDED, MISSING, FENCED = PublishResult
#: The claim of every story's writer.
CLAIM = uuid.uuid4()


def item(
    message_id: uuid.UUID, start: int, said: str, attempt: int = 1, **more: Any
) -> Publication:
    more.setdefault("trim", 0)
    return Publication(message_id, CLAIM, attempt, [Delta(start, 0, "text", said)], **more)


def ids(store: Store, message_id: uuid.UUID) -> list[str]:
    return [entry for entry, _ in store.redis.xrange(f"outlive:log:{message_id}:{CLAIM}")]


@pytest.fixture
def opened(store: Store) -> uuid.UUID:
    """A message whose first attempt has opened its log."""
    message_id = uuid.uuid4()
    store.open(message_id, CLAIM, 1)
    return message_id


@pytest.fixture
def heard(store: Store, opened: uuid.UUID) -> Iterator[Callable[[], list[str]]]:
    """Everything that was announced on its channel so far."""
    subscription = store.livelog.subscription()
    subscription.subscribe(message_channel(opened))
    assert subscription.listen(5) == PubSubMessage("subscribe", message_channel(opened), "1")

    def so_far() -> list[str]:
        subscription.ping()
        payloads = []
        while (one := subscription.listen(5)) and one.kind == "message":
            payloads.append(one.payload)
        return payloads

    yield so_far
    subscription.close()


# --- publish --------------------------------------------------------------------------------------


def test_what_is_stored_is_what_is_announced(
    store: Store, opened: uuid.UUID, heard: Callable[[], list[str]]
) -> None:
    body = body_of(("reasoning", "Hm 😀"), "é\u2028\n", ("tool_call", "{}"))

    outcome = store.publish_all([Publication(opened, CLAIM, 1, body.since(0), 0)])

    assert outcome == [WRITTEN]
    assert ids(store, opened) == ["1-0", f"1-{body.length}"]
    assert store.livelog.read({opened: CLAIM})[opened] == body.since(0)
    assert [decode(payload) for payload in heard()] == [Payload(CLAIM, body.since(0))]


def test_a_batch_has_an_outcome_for_each(store: Store, opened: uuid.UUID) -> None:
    other, fenced, unknown = (uuid.uuid4() for _ in range(3))
    store.open(other, CLAIM, 3)
    store.livelog.fence(fenced, CLAIM, 3)
    store.publish_all([item(opened, 0, "ab")])

    batch = [
        item(opened, 0, "ab"),
        item(other, 0, "x", attempt=3),
        item(fenced, 0, "x", attempt=3),
        item(unknown, 0, "x"),
    ]

    assert store.publish_all(batch) == [LANDED, WRITTEN, FENCED, MISSING]


@pytest.mark.failure(8)
def test_the_same_again_has_landed_and_is_not_announced_twice(
    store: Store, opened: uuid.UUID, heard: Callable[[], list[str]]
) -> None:
    publication = item(opened, 0, "abc")
    store.publish_all([publication])

    assert store.publish_all([publication, item(opened, 0, "ab")]) == [LANDED, LANDED]

    assert len(heard()) == 1
    assert ids(store, opened) == ["1-0", "1-3"]


def test_more_than_what_had_landed_is_written_and_may_overlap(
    store: Store, opened: uuid.UUID
) -> None:
    store.publish_all([item(opened, 0, "abc")])

    assert store.publish_all([item(opened, 0, "abcdef")]) == [WRITTEN]

    assert Body(store.livelog.read({opened: CLAIM})[opened]).text == "abcdef"


@pytest.mark.parametrize("lost", ["all", "the end"])
def test_what_does_not_continue_the_log_is_missing_and_not_announced(
    store: Store, opened: uuid.UUID, heard: Callable[[], list[str]], lost: str
) -> None:
    if lost == "all":
        store.redis.flushdb()

    outcome = store.publish_all([item(opened, 2, "c")])

    assert outcome == [MISSING]
    assert heard() == []
    assert ids(store, opened) == ([] if lost == "all" else ["1-0"])


def test_the_first_text_on_a_log_that_was_never_opened_is_missing(store: Store) -> None:
    assert store.publish_all([item(uuid.uuid4(), 0, "a")]) == [MISSING]


def test_an_older_attempts_entries_do_not_count_as_ones_own(
    store: Store, opened: uuid.UUID
) -> None:
    store.publish_all([item(opened, 0, "abc")])

    assert store.publish_all([item(opened, 0, "abc", attempt=2)]) == [MISSING]


def test_a_confirmed_owner_begins_again_behind_what_is_saved(
    store: Store, opened: uuid.UUID, heard: Callable[[], list[str]]
) -> None:
    store.redis.flushdb()

    assert store.publish_all([item(opened, 2, "c", force=True)]) == [WRITTEN]
    assert store.publish_all([item(opened, 3, "d")]) == [WRITTEN]

    assert ids(store, opened) == ["1-3", "1-4"]
    assert len(heard()) == 2


def test_a_fenced_attempt_writes_nothing_even_with_force(
    store: Store, opened: uuid.UUID, heard: Callable[[], list[str]]
) -> None:
    store.publish_all([item(opened, 0, "ab")])
    store.livelog.fence(opened, CLAIM, 1)
    before = ids(store, opened)

    zombies = [item(opened, 2, "c"), item(opened, 2, "c", force=True), item(opened, 0, "ab")]

    assert store.publish_all(zombies) == [FENCED] * 3
    assert ids(store, opened) == before
    assert len(heard()) == 1


def test_of_two_that_publish_at_once_the_log_has_an_order(store: Store, opened: uuid.UUID) -> None:
    writer = body_of("0123456789" * 10)

    def publish(number: int) -> list[PublishResult]:
        items = [Publication(opened, CLAIM, 1, writer.since(0), 0) for _ in range(5)]
        return store.publish_all(items if number else items[:1])

    said, errors = at_once(4, publish)

    assert errors == []
    assert [outcome for outcomes in said for outcome in outcomes].count(WRITTEN) == 1
    assert Body(store.livelog.read({opened: CLAIM})[opened]).text == writer.text


def test_a_redis_that_has_forgotten_the_script_is_redis_down_until_one_connects_anew(
    store: Store, opened: uuid.UUID
) -> None:
    with closing(store.livelog.publish_connection()) as line:
        assert publish_on(line, [item(opened, 0, "a")]) == [WRITTEN]
        store.redis.script_flush()
        with pytest.raises(RedisDown):
            publish_on(line, [item(opened, 1, "b")])

    assert store.publish_all([item(opened, 1, "b"), item(opened, 2, "c")]) == [WRITTEN] * 2


@pytest.mark.parametrize("reply", ["odd", "", None, 1, [], ["written"], ReplyError("OOM")])
def test_a_reply_that_is_no_result_is_redis_down(
    store: Store, opened: uuid.UUID, monkeypatch: pytest.MonkeyPatch, reply: Any
) -> None:
    with closing(store.livelog.publish_connection()) as line:
        monkeypatch.setattr(line._reader, "feed", lambda data: [reply])

        with pytest.raises(RedisDown):
            publish_on(line, [item(opened, 0, "a")])


# --- what is kept, and how long -------------------------------------------------------------------


def test_only_what_postgres_may_not_have_is_kept(store: Store, opened: uuid.UUID) -> None:
    for place in range(10):
        store.publish_all([item(opened, place, "x")])

    store.publish_all([item(opened, 10, "x", trim=7)])

    # The entry that ends just where Postgres does stays: a reader sees that nothing is between.
    assert ids(store, opened) == ["1-7", "1-8", "1-9", "1-10", "1-11"]


def test_trimming_never_takes_the_newest_entry(store: Store, opened: uuid.UUID) -> None:
    store.publish_all([item(opened, 0, "abc", trim=3)])
    assert ids(store, opened) == ["1-3"]

    store.publish_all([item(opened, 3, "d", trim=3)])
    assert ids(store, opened) == ["1-3", "1-4"]


def test_a_log_goes_by_itself_some_time_after_its_last_entry(
    store: Store, opened: uuid.UUID
) -> None:
    key = f"outlive:log:{opened}:{CLAIM}"
    assert 59_000 < store.redis.pttl(key) <= 60_000

    store.redis.pexpire(key, 1000)
    store.publish_all([item(opened, 0, "a")])
    assert 59_000 < store.redis.pttl(key) <= 60_000

    store.redis.pexpire(key, 1000)
    store.livelog.fence(opened, CLAIM, 1)
    assert 59_000 < store.redis.pttl(key) <= 60_000


def test_the_log_of_an_ended_message_stays_a_moment(store: Store, opened: uuid.UUID) -> None:
    long_lived = LiveLog(store.redis_url, ttl=3600)
    publish_all(long_lived, [item(opened, 0, "a")])

    long_lived.notify_ended(opened, CLAIM)

    assert 0 < store.redis.pttl(f"outlive:log:{opened}:{CLAIM}") <= ENDED_TTL


# --- open, fence, read ----------------------------------------------------------------------------


def test_while_open_is_the_top_nothing_was_ever_published(store: Store, opened: uuid.UUID) -> None:
    assert store.livelog.fence(opened, CLAIM, 1) == (True, [])
    assert ids(store, opened) == ["1-0", "2-0"]


def test_a_second_fence_finds_the_same(store: Store, opened: uuid.UUID) -> None:
    store.livelog.fence(opened, CLAIM, 1)

    assert store.livelog.fence(opened, CLAIM, 1) == (True, [])


def test_after_one_character_it_is_not_untouched_and_the_text_is_there(
    store: Store, opened: uuid.UUID
) -> None:
    store.publish_all([item(opened, 0, "a"), item(opened, 1, "b", trim=1)])

    untouched, published = store.livelog.fence(opened, CLAIM, 1)

    assert not untouched
    assert Body(published).text == "ab"
    assert store.livelog.fence(opened, CLAIM, 1) == (untouched, published)


def test_a_missing_log_proves_nothing_but_can_be_fenced(store: Store) -> None:
    message_id = uuid.uuid4()

    assert store.livelog.fence(message_id, CLAIM, 1) == (False, [])

    assert store.publish_all([item(message_id, 0, "a", force=True)]) == [FENCED]
    assert store.livelog.fence(message_id, CLAIM, 1) == (False, [])


def test_the_open_of_an_older_attempt_proves_nothing(store: Store, opened: uuid.UUID) -> None:
    store.livelog.fence(opened, CLAIM, 1)

    assert store.livelog.fence(opened, CLAIM, 3) == (False, [])


def test_every_attempt_opens_anew_above_the_fence(store: Store, opened: uuid.UUID) -> None:
    store.livelog.fence(opened, CLAIM, 1)

    store.open(opened, CLAIM, 3)

    assert store.livelog.fence(opened, CLAIM, 3) == (True, [])
    store.open(opened, CLAIM, 1)
    assert ids(store, opened) == ["1-0", "2-0", "3-0", "4-0"]


def test_reading_gives_text_only(store: Store, opened: uuid.UUID) -> None:
    store.publish_all([item(opened, 0, "a")])
    store.livelog.fence(opened, CLAIM, 1)

    assert store.livelog.read({opened: CLAIM})[opened] == [Delta(0, 0, "text", "a")]
    assert store.livelog.read({(nobodys := uuid.uuid4()): CLAIM}) == {nobodys: []}


# --- listening ------------------------------------------------------------------------------------


@pytest.fixture
def subscription(store: Store) -> Iterator[Subscription]:
    one = store.livelog.subscription()
    yield one
    one.close()


def test_a_subscription_is_confirmed_before_anything_is_heard(
    store: Store, subscription: Subscription, opened: uuid.UUID
) -> None:
    other = uuid.uuid4()
    subscription.subscribe(message_channel(opened), message_channel(other))
    confirmed = [subscription.listen(5) for _ in range(2)]

    store.livelog.notify_ended(opened, CLAIM)

    assert [(one.kind, one.channel) for one in confirmed if one] == [
        ("subscribe", message_channel(opened)),
        ("subscribe", message_channel(other)),
    ]
    woken = subscription.listen(5)
    assert woken == PubSubMessage("message", message_channel(opened), "{}")
    assert decode(woken.payload) == Payload(None, ())


def test_after_giving_a_channel_up_nothing_more_is_heard_of_it(
    store: Store, subscription: Subscription, opened: uuid.UUID
) -> None:
    subscription.subscribe(message_channel(opened))
    subscription.unsubscribe(message_channel(opened))
    assert [getattr(subscription.listen(5), "kind", "") for _ in range(2)] == [
        "subscribe",
        "unsubscribe",
    ]

    store.livelog.notify_ended(opened, CLAIM)
    subscription.ping()

    assert subscription.listen(5) == PubSubMessage("pong", "", "")


def test_silence_is_none_and_costs_nothing(
    store: Store, subscription: Subscription, opened: uuid.UUID
) -> None:
    subscription.subscribe(message_channel(opened))
    subscription.listen(5)

    assert [subscription.listen(0.01) for _ in range(3)] == [None] * 3

    store.publish_all([item(opened, 0, "a")])
    heard = subscription.listen(5)
    assert heard is not None
    assert decode(heard.payload) == Payload(CLAIM, [Delta(0, 0, "text", "a")])


def test_a_ping_is_answered_with_and_without_channels(
    subscription: Subscription, opened: uuid.UUID
) -> None:
    subscription.ping()
    assert subscription.listen(5) == PubSubMessage("pong", "", "")

    subscription.subscribe(message_channel(opened))
    subscription.ping()
    assert [getattr(subscription.listen(5), "kind", "") for _ in range(2)] == ["subscribe", "pong"]


def test_a_nudge_reaches_the_workers_and_the_messages_followers(
    store: Store, subscription: Subscription
) -> None:
    message_id = uuid.uuid4()
    subscription.subscribe(STOP_CHANNEL, message_channel(message_id))
    assert [getattr(subscription.listen(5), "kind", "") for _ in range(2)] == ["subscribe"] * 2

    store.livelog.notify_stop(message_id)

    assert subscription.listen(5) == PubSubMessage("message", STOP_CHANNEL, str(message_id))
    assert subscription.listen(5) == PubSubMessage("message", message_channel(message_id), "{}")


def test_a_connection_that_was_cut_is_redis_down(
    store: Store, subscription: Subscription, opened: uuid.UUID
) -> None:
    subscription.subscribe(message_channel(opened))
    subscription.listen(5)

    store.redis.client_kill_filter(_type="pubsub")

    with pytest.raises(RedisDown):
        subscription.listen(5)


def test_who_listens_is_told_when_it_is_closed(
    subscription: Subscription, opened: uuid.UUID
) -> None:
    subscription.subscribe(message_channel(opened))
    subscription.listen(5)

    def act(number: int) -> None:
        if number:
            subscription.listen(30)
        else:
            subscription.close()

    begun = time.monotonic()
    _, errors = at_once(2, act)

    assert [type(error) for error in errors] == [RedisDown]
    assert time.monotonic() - begun < 5


def test_a_closed_subscription_stays_closed(subscription: Subscription, opened: uuid.UUID) -> None:
    subscription.close()

    with pytest.raises(RedisDown):
        subscription.subscribe(message_channel(opened))
    with pytest.raises(RedisDown):
        subscription.ping()
    with pytest.raises(RedisDown):
        subscription.listen(0.1)


# --- a Redis that says what a story wants, in pieces ----------------------------------------------


class Dribbling:
    """A server that sends given pieces, one each time it is told to."""

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"redis://127.0.0.1:{self._listener.getsockname()[1]}/0"
        self._peers: list[socket.socket] = []
        self._thread = threading.Thread(target=self._accept)
        self._thread.start()

    def _accept(self) -> None:
        """Greet one client: OK to each command of its handshake."""
        peer, _ = self._listener.accept()
        self._peers.append(peer)

    def greet(self) -> None:
        self._thread.join()
        peer = self._peers[0]
        peer.settimeout(0.2)
        try:
            while asked := peer.recv(65536):
                peer.sendall(b"+OK\r\n" * max(1, asked.count(b"*")))
        except TimeoutError:
            pass

    def send(self, piece: bytes) -> None:
        self._peers[0].sendall(piece)

    def close(self) -> None:
        for one in (*self._peers, self._listener):
            one.close()


@pytest.fixture
def dribbling() -> Iterator[tuple[Dribbling, Subscription]]:
    server = Dribbling()
    greeter = threading.Thread(target=server.greet)
    greeter.start()
    subscription = Subscription(server.url)
    greeter.join()
    yield server, subscription
    subscription.close()
    server.close()


def test_a_reply_cut_at_any_byte_is_whole_after_any_number_of_timeouts(
    dribbling: tuple[Dribbling, Subscription],
) -> None:
    server, subscription = dribbling
    payload = '[[0,0,"text","é😀"]]'
    size = len(payload.encode())
    reply = f"*3\r\n$7\r\nmessage\r\n$1\r\nc\r\n${size}\r\n{payload}\r\n".encode()

    for place in range(1, len(reply)):
        server.send(reply[:place])
        assert subscription.listen(0.002) is None
        server.send(reply[place:] + b"+PONG\r\n")
        assert subscription.listen(5) == PubSubMessage("message", "c", payload)
        assert subscription.listen(5) == PubSubMessage("pong", "", "")


@pytest.mark.parametrize("nonsense", [b"HTTP/1.1 200 OK\r\n\r\n", b"*0\r\n", b"*1\r\n:1\r\n"])
def test_nonsense_is_redis_down(dribbling: tuple[Dribbling, Subscription], nonsense: bytes) -> None:
    server, subscription = dribbling

    server.send(nonsense)

    with pytest.raises(RedisDown):
        subscription.listen(5)


# --- a Redis of one's own, to be mistreated -------------------------------------------------------


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Redis]:
    with Redis(Path(tmp_path_factory.mktemp("redis"))) as redis:
        yield redis


@pytest.fixture
def own(server: Redis) -> Iterator[LiveLog]:
    """A live log on it that has connected before."""
    livelog = LiveLog(server.url, ttl=60)
    livelog.ping()
    yield livelog
    server.restart()


def verbs(livelog: LiveLog, message_id: uuid.UUID) -> dict[str, Callable[[], object]]:
    return {
        "publishing": livelog.publish_connection,
        "fence": lambda: livelog.fence(message_id, CLAIM, 1),
        "read": lambda: livelog.read({message_id: CLAIM})[message_id],
        "ended": lambda: livelog.notify_ended(message_id, CLAIM),
        "nudge": lambda: livelog.notify_stop(message_id),
        "ping": livelog.ping,
        "subscription": livelog.subscription,
    }


def test_a_redis_that_is_not_there_is_redis_down_for_every_verb(
    server: Redis, own: LiveLog
) -> None:
    server.kill()

    for use in verbs(own, uuid.uuid4()).values():
        with pytest.raises(RedisDown):
            use()


def test_a_frozen_redis_costs_every_verb_two_seconds_at_most(server: Redis, own: LiveLog) -> None:
    server.signal(signal.SIGSTOP)
    calls = list(verbs(own, uuid.uuid4()).values())

    def timed(number: int) -> float:
        begun = time.monotonic()
        with pytest.raises(RedisDown):
            calls[number]()
        return time.monotonic() - begun

    took, errors = at_once(len(calls), timed)
    server.signal(signal.SIGCONT)

    assert errors == []
    assert max(took) < 2 * TIMEOUT + 0.9


def test_a_frozen_redis_is_silence_for_a_listener(server: Redis, own: LiveLog) -> None:
    subscription = own.subscription()
    subscription.ping()
    assert subscription.listen(5) is not None
    server.signal(signal.SIGSTOP)

    subscription.ping()
    silence = subscription.listen(0.05)
    server.signal(signal.SIGCONT)

    assert silence is None
    assert subscription.listen(5) == PubSubMessage("pong", "", "")
    subscription.close()


def test_after_a_restart_the_same_live_log_goes_on(server: Redis, own: LiveLog) -> None:
    message_id = uuid.uuid4()
    open_log(own, message_id, CLAIM)
    publish_all(own, [item(message_id, 0, "a")])
    server.kill()
    server.start().wait()

    assert publish_all(own, [item(message_id, 0, "ab")]) == [WRITTEN]

    assert (
        Body(own.read({message_id: CLAIM})[message_id]).text == "ab"
    )  # the append-only file kept the rest


def test_a_full_redis_is_redis_down_and_still_wakes(server: Redis, own: LiveLog) -> None:
    message_id = uuid.uuid4()
    open_log(own, message_id, CLAIM)
    admin: Any = redis.Redis.from_url(server.url)
    admin.config_set("maxmemory", 1)
    admin.close()

    with pytest.raises(RedisDown):
        publish_all(own, [item(message_id, 0, "a")])
    with pytest.raises(RedisDown):
        own.fence(message_id, CLAIM, 1)

    own.notify_ended(message_id, CLAIM)
    own.notify_stop(message_id)


def test_a_notice_is_heard_and_the_next_one_too_when_its_connection_was_lost(
    store: Store,
) -> None:
    user = uuid.uuid4()
    with closing(store.livelog.subscription()) as subscription:
        subscription.subscribe(user_channel(user))
        assert subscription.listen(5) == PubSubMessage("subscribe", user_channel(user), "1")
        for _ in range(2):
            store.livelog.notify_user(user)
            store.livelog.notify_user(user)
            assert [subscription.listen(5) for _ in range(2)] == [
                PubSubMessage("message", user_channel(user), "{}")
            ] * 2
            store.redis.client_kill_filter(_type="normal", skipme=True)
